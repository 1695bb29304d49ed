"""`flask collect`: what it prints, how it ends."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable

from panel import db
from panel.models import Account, Collection
from tests.collect.conftest import PostOffice, letter
from tests.running import wait_until

Cli = Callable[..., subprocess.CompletedProcess[str]]


def test_once_collects_all_that_is_due(post: PostOffice, cli: Cli) -> None:
    accounts = [post.add(letter(number)) for number in range(3)]
    done = cli("collect", "--once")
    assert done.returncode == 0, done.stderr
    *lines, summary = done.stdout.splitlines()
    assert sorted(lines) == sorted(f"{a.address}: 1 new." for a in accounts)
    assert summary == "3 mailboxes: 3 new messages."
    assert all(len(post.mail(a)) == 1 for a in accounts)
    assert cli("collect", "--once").stdout == "No mailbox is due.\n"
    Collection.update(next_due_at=0).execute()
    assert cli("collect", "--once").stdout == "No new mail in 3 mailboxes.\n"
    Collection.update(next_due_at=0).execute()
    done = cli("collect", "--once", "-v")
    assert sorted(done.stdout.splitlines()) == sorted(
        [*(f"{a.address}: no new mail." for a in accounts), "No new mail in 3 mailboxes."]
    )


def test_an_account_that_is_named_is_collected_before_it_is_due(post: PostOffice, cli: Cli) -> None:
    account, other = post.add(), post.add(letter(9))
    post.collect(account)
    post.deliver(account, letter(1))
    done = cli("collect", "--once", "--account", account.address)
    assert done.stdout == f"{account.address}: 1 new.\n"
    assert not post.spool(other).exists()


def test_a_failure_ends_with_status_1_and_names_the_account(post: PostOffice, cli: Cli) -> None:
    account = post.add()
    post.dovecot.add_user(post.user(account), "changed")
    done = cli("collect", "--once")
    assert done.returncode == 1
    assert done.stderr.startswith(f"{account.address}: localhost refused the username or password.")
    assert "Traceback" not in done.stderr


def test_json_tells_a_program_what_each_round_did(post: PostOffice, cli: Cli) -> None:
    good, bad = post.add(letter(1), letter(2)), post.add()
    post.dovecot.add_user(post.user(bad), "changed")
    done = cli("collect", "--once", "--json")
    assert (done.returncode, done.stderr) == (1, "")
    shown = json.loads(done.stdout)
    rounds = {each["account"]: each for each in shown.pop("rounds")}
    assert shown == {"mailboxes": 2, "delivered": 2, "skipped": 0, "failed": 1, "paused": None}
    assert rounds[good.address]["delivered"] == 2 and rounds[good.address]["error"] is None
    assert rounds[bad.address]["error"].startswith("localhost refused the username or password.")
    assert rounds[bad.address]["remedy"]
    assert cli("collect", "--json").returncode == 2


def test_the_summary_names_what_failed(post: PostOffice, cli: Cli) -> None:
    post.add(letter(1))
    post.dovecot.add_user(post.user(post.add()), "changed")
    done = cli("collect", "--once")
    assert done.returncode == 1
    assert done.stdout.endswith("2 mailboxes: 1 new message, 1 failed.\n")


def test_an_unknown_and_a_paused_account_are_refused(post: PostOffice, cli: Cli) -> None:
    account = post.add()
    Account.update(paused_at=db.now()).execute()
    done = cli("collect", "--once", "--account", account.address)
    assert (done.returncode, "is paused" in done.stderr) == (3, True)
    done = cli("collect", "--once", "--account", "nobody@example.org")
    assert (done.returncode, "There is no mailbox" in done.stderr) == (3, True)


def test_without_once_it_goes_on_until_ctrl_c(post: PostOffice) -> None:
    account = post.add(letter(1), begin="all")
    Account.update(interval=1).execute()
    code = "from app import app\nfrom panel.collect import cli\ncli.TICK_SECONDS = 0.2\napp.cli.main(['collect'])"
    process = post._start(["-c", code], {})
    new = post.spool(account) / "new"
    wait_until(lambda: new.exists() and len(list(new.iterdir())) == 1, "the first message")
    post.deliver(account, letter(2))
    wait_until(lambda: len(list(new.iterdir())) == 2, "the second message")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    stopped = "Stopped. The next start continues unfinished rounds."
    assert stopped in output.splitlines(), output  # after it a round may print its own line still
