"""The worker of a running server collects by itself, with sealed passwords too, and goes on after a kill."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.collect.conftest import PostOffice, letter
from tests.house.processes import child
from tests.running import PanelServer, wait_until

MANY = 400


@pytest.fixture
def server(post: PostOffice, tmp_path: Path) -> Iterator[PanelServer]:
    """Not started yet."""
    server = PanelServer(post.environ, tmp_path / "server.log")
    yield server
    server.stop()


def test_a_running_server_collects_what_is_due(post: PostOffice, server: PanelServer) -> None:
    accounts = [post.add(letter(number)) for number in range(3)]
    post.encrypt()
    server.start()
    for account in accounts:
        new = post.spool(account) / "new"
        wait_until(lambda new=new: new.exists() and any(new.iterdir()), "mail in the spool")
    wait_until(lambda: all(post.row(a).last_success_at for a in accounts), "the rounds to be noted")
    server.stop()
    assert [post.mail(account) for account in accounts] == [[letter(number)] for number in range(3)]
    assert not any(post.row(account).leased_by for account in accounts)
    assert "Traceback" not in server.log


def test_with_the_key_away_it_waits_and_goes_on_by_itself(post: PostOffice, server: PanelServer) -> None:
    account = post.add(letter(1))
    post.encrypt()
    key, away = post.settings.key_file, post.settings.data_dir / "away.bin"
    key.rename(away)
    server.start()
    wait_until(lambda: "collecting paused" in server.log, "the pause in the log")
    assert not (post.spool(account) / "new").exists()
    away.rename(key)
    new = post.spool(account) / "new"
    wait_until(lambda: new.exists() and any(new.iterdir()), "mail in the spool")


def test_the_worker_killed_again_and_again_loses_and_doubles_nothing(
    post: PostOffice, server: PanelServer
) -> None:
    account = post.add(*[letter(number) for number in range(MANY)])
    post.encrypt()
    new = post.spool(account) / "new"
    server.start()
    for share in (0, MANY // 8, MANY // 3):
        wait_until(lambda share=share: new.exists() and len(list(new.iterdir())) >= share, "some mail")
        os.kill(child(server, "worker"), signal.SIGKILL)
    wait_until(lambda: len(list(new.iterdir())) >= MANY, "all mail")
    wait_until(lambda: post.row(account).last_success_at, "the round to be noted")
    server.stop()
    assert post.mail(account) == sorted(letter(number) for number in range(MANY))
