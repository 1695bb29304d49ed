"""The worker of a running server collects by itself, and goes on after a kill."""

from __future__ import annotations

from pathlib import Path

from tests.collect.conftest import PostOffice, letter
from tests.running import PanelServer, wait_until


def test_a_running_server_collects_what_is_due(post: PostOffice, tmp_path: Path) -> None:
    accounts = [post.add(letter(number)) for number in range(3)]
    server = PanelServer(post.environ, tmp_path / "server.log")
    server.start()
    try:
        for account in accounts:
            new = post.spool(account) / "new"
            wait_until(lambda new=new: new.exists() and any(new.iterdir()), 20, "mail in the spool")
        wait_until(lambda: all(post.row(a).last_success_at for a in accounts), 10, "the rounds to be noted")
    finally:
        server.stop()
    assert [post.mail(account) for account in accounts] == [[letter(number)] for number in range(3)]
    assert not any(post.row(account).leased_by for account in accounts)
    assert "Traceback" not in server.log
