"""Promises to the helpdesk: another Unix user takes the mail away while it comes in, and none of it returns.

Real parts: a user and a group made for this test, the worker of a running server, a real Dovecot.
"""

from __future__ import annotations

import grp
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from panel import create_app, db, install
from panel.collect import due
from panel.config import Settings
from panel.errors import SpoolError
from panel.health import checks, mail
from panel.models import Account, Message
from tests.collect.conftest import PostOffice, letter
from tests.running import Environ, PanelServer, wait_until
from tests.servers.dovecot import DovecotServer

pytestmark = pytest.mark.dovecot

TAKE = """
while ! cd "$1" 2>/dev/null; do sleep 0.05; done
while :; do
    for file in */new/*; do
        [ -e "$file" ] && cat "$file" >/dev/null && mv "$file" "$2/"
    done
    sleep 0.02
done
"""


@dataclass(frozen=True)
class Helpdesk:
    """A Unix user that may do nothing here but what membership of `group` allows."""

    user: str
    group: str
    taken: Path  # a directory of its own

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        process = self._start(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def start_taking(self, spool: Path) -> subprocess.Popen[str]:
        """Move every message out of every new/ into `taken`, as soon as it is there."""
        return self._start("sh", "-c", TAKE, "sh", str(spool), str(self.taken))

    def mail(self) -> list[bytes]:
        """What it has, sorted."""
        return sorted(path.read_bytes() for path in self.taken.iterdir())

    def _start(
        self, *command: str, stdout: int | None = None, stderr: int | None = None
    ) -> subprocess.Popen[str]:
        found = pwd.getpwnam(self.user)
        return subprocess.Popen(
            command,
            cwd="/",
            process_group=0,
            text=True,
            user=found.pw_uid,
            group=found.pw_gid,
            extra_groups=[grp.getgrnam(self.group).gr_gid],
            stdout=stdout,
            stderr=stderr,
        )


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every user may enter: what keeps one out of the data directory is its own mode."""
    path = Path(tempfile.mkdtemp(prefix="mailkeep-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def helpdesk(place: Path) -> Iterator[Helpdesk]:
    if os.getuid() != 0 or shutil.which("useradd") is None:
        pytest.skip("needs root and useradd: a second Unix user takes the mail away")
    name = f"mk{secrets.token_hex(4)}"
    subprocess.run(["groupadd", f"{name}g"], check=True)
    subprocess.run(["useradd", "--no-create-home", "--user-group", "--groups", f"{name}g", name], check=True)
    taken = place / "taken"
    taken.mkdir()
    shutil.chown(taken, name)
    yield Helpdesk(name, f"{name}g", taken)
    gone = ["userdel", name]  # refused as long as one of the user's processes is ending
    wait_until(lambda: subprocess.run(gone, stderr=subprocess.DEVNULL).returncode == 0, "userdel")
    subprocess.run(["groupdel", f"{name}g"], check=True)


@pytest.fixture
def post(place: Path, environ: Environ, helpdesk: Helpdesk, dovecot: DovecotServer) -> Iterator[PostOffice]:
    """An install whose spool lies outside its data directory and belongs to the helpdesk's group."""
    environ |= {
        "PANEL_DATA_DIR": str(place / "data"),
        "PANEL_MAIL_SPOOL": str(place / "spool"),
        "PANEL_MAIL_GROUP": helpdesk.group,
        "PANEL_MAIL_CA_FILE": str(dovecot.ca_file),
        "PANEL_MAIL_PORTS": str(dovecot.tls_port),
    }
    settings = Settings.load(environ)
    install.prepare(settings)
    create_app(settings)
    with db.database.connection_context():
        yield PostOffice(environ, settings, dovecot)


@pytest.fixture
def taker(post: PostOffice, helpdesk: Helpdesk) -> Iterator[None]:
    """The helpdesk takes mail away all the time."""
    process = helpdesk.start_taking(post.settings.mail_spool)
    yield
    assert process.poll() is None, "the taker ended"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture
def server(post: PostOffice, place: Path) -> Iterator[PanelServer]:
    server = PanelServer(post.environ, place / "server.log")
    server.start()
    yield server
    server.stop()


def one_more_round(post: PostOffice, account: Account) -> None:
    """Wait until the worker has ended one that began after this."""
    due.make_due(account.uuid)
    wait_until(lambda: post.row(account).next_due_at and not post.row(account).problem, "a round")


def mode(path: Path) -> str:
    found = path.stat()
    return f"{stat.S_IMODE(found.st_mode):o} {grp.getgrgid(found.st_gid).gr_name}"


def test_directories_and_files_are_the_groups_and_nobody_elses(post: PostOffice, helpdesk: Helpdesk) -> None:
    account = post.add(letter(1))
    post.collect(account)
    spool = post.spool(account)
    [message] = (spool / "new").iterdir()
    assert mode(post.settings.mail_spool) == f"2750 {helpdesk.group}"
    assert mode(spool) == f"2750 {helpdesk.group}"  # or a link could be put into the place of new/
    assert mode(spool / "tmp") == f"2700 {helpdesk.group}"
    for directory in (spool / "new", spool / "cur"):
        assert mode(directory) == f"2770 {helpdesk.group}"
    assert mode(message) == f"660 {helpdesk.group}"


def test_that_user_cannot_lead_the_collector_out_of_the_spool(post: PostOffice, helpdesk: Helpdesk) -> None:
    account = post.add(letter(1))
    post.collect(account)
    spool, data = post.spool(account), post.settings.data_dir
    for name in ("new", "cur", "tmp"):
        assert helpdesk.run("mv", str(spool / name), str(spool / "gone")).returncode != 0
        assert helpdesk.run("ln", "-s", str(data), str(spool / f"{name}2")).returncode != 0
    before = sorted(path.name for path in data.iterdir())
    (spool / "tmp").rename(spool / "was-tmp")
    (spool / "tmp").symlink_to(data)  # as an older Mailkeep would have let him
    with pytest.raises(SpoolError):
        post.collect(account)
    assert mode(data).startswith("700 ")
    assert sorted(path.name for path in data.iterdir()) == before


def test_that_user_reads_takes_and_deletes_mail_and_can_read_nothing_in_the_data_directory(
    post: PostOffice, helpdesk: Helpdesk
) -> None:
    account = post.add(letter(1), letter(2))
    post.encrypt()
    post.collect(account)
    first, second = sorted((post.spool(account) / "new").iterdir())
    assert helpdesk.run("cat", str(first)).returncode == 0
    assert helpdesk.run("mv", str(first), str(helpdesk.taken)).returncode == 0
    assert helpdesk.run("rm", str(second)).returncode == 0
    assert helpdesk.run("ls", str(post.settings.data_dir)).returncode != 0
    private = [path for path in post.settings.data_dir.rglob("*") if path.is_file()]
    assert {"panel.db", "encryption-key.bin", "secret-key"} <= {path.name for path in private}
    for path in private:
        assert "Permission denied" in helpdesk.run("cat", str(path)).stderr, path
        assert helpdesk.run("sh", "-c", 'echo x >>"$1"', "sh", str(path)).returncode != 0, path


def test_a_stranger_outside_the_group_gets_at_no_mail(post: PostOffice) -> None:
    account = post.add(letter(1))
    post.collect(account)
    [message] = (post.spool(account) / "new").iterdir()
    for command in (["cat", str(message)], ["ls", str(post.settings.mail_spool)]):
        done = subprocess.run(command, capture_output=True, text=True, user="nobody", extra_groups=[])
        assert "Permission denied" in done.stderr


def test_mail_is_taken_while_it_comes_in_and_never_returns(
    post: PostOffice, helpdesk: Helpdesk, taker: None, server: PanelServer
) -> None:
    sent = [letter(number) for number in range(300)]
    account = post.add(*sent[:200])
    wait_until(lambda: len(helpdesk.mail()) == 200, lambda: f"200 messages:\n{server.log}")
    post.deliver(account, *sent[200:])
    due.make_due(account.uuid)
    wait_until(lambda: len(helpdesk.mail()) == 300, lambda: f"300 messages:\n{server.log}")
    one_more_round(post, account)

    server.restart()
    one_more_round(post, account)
    assert helpdesk.mail() == sorted(sent)

    server.stop()
    post.dovecot.new_uidvalidity(post.user(account))
    before = post.row(account).uidvalidity
    server.start()
    one_more_round(post, account)
    assert post.row(account).uidvalidity != before
    assert helpdesk.mail() == sorted(sent)
    assert post.mail(account) == []
    assert "Traceback" not in server.log


def test_mail_that_is_deleted_instead_of_moved_does_not_return_either(
    post: PostOffice, helpdesk: Helpdesk, server: PanelServer
) -> None:
    account = post.add(*[letter(number) for number in range(5)])
    new = post.spool(account) / "new"
    wait_until(lambda: new.exists() and len(list(new.iterdir())) == 5, "the mail")
    assert helpdesk.run("find", str(new), "-type", "f", "-delete").returncode == 0
    one_more_round(post, account)
    server.restart()
    one_more_round(post, account)
    assert post.mail(account) == []


def test_with_the_whole_server_killed_again_and_again_each_message_is_taken_once(
    post: PostOffice, helpdesk: Helpdesk, taker: None, server: PanelServer
) -> None:
    sent = [letter(number, b"x" * 20_000 + b"\r\n") for number in range(600)]
    account = post.add(*sent)
    for part in (20, 200, 400):
        wait_until(lambda part=part: len(list(helpdesk.taken.iterdir())) >= part, f"{part} messages")
        server.kill()
        time.sleep(0.3)  # the helpdesk goes on meanwhile
        server.start()
        due.make_due(account.uuid)
    wait_until(lambda: post.row(account).last_success_at is not None, lambda: f"a whole round:\n{server.log}")
    one_more_round(post, account)
    new = post.spool(account) / "new"
    wait_until(lambda: not any(new.iterdir()), "the last of it to be taken")
    assert helpdesk.mail() == sorted(sent)
    assert Message.select().where(Message.ready).count() == 0


def test_a_helpdesk_that_stops_taking_is_named_on_the_page_and_by_doctor(
    post: PostOffice, server: PanelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail, "MANY_UNREAD", 2)
    account = post.add(*[letter(number) for number in range(3)])
    new = post.spool(account) / "new"
    wait_until(lambda: new.exists() and len(list(new.iterdir())) == 3, "the mail")

    def named(deep: bool) -> list[str]:
        found = checks.run(checks.gather(post.settings, post.vault, deep=deep))
        return [check.message for check in found if check.check == f"mail spool of {account.address}"]

    [says] = named(deep=True)
    assert f"mail for {account.address}: 3 messages in {new}" in says
    post.sql("UPDATE heartbeat SET kept_at = NULL")  # the worker counts every few minutes: now
    wait_until(lambda: named(deep=False) == [says], "the worker to count")


def test_a_spool_that_the_group_cannot_get_into_is_named(post: PostOffice, helpdesk: Helpdesk) -> None:
    spool = post.settings.mail_spool
    spool.mkdir()
    spool.chmod(0o700)  # made beforehand, by somebody who did not think of the group

    def named() -> list[str]:
        found = checks.run(checks.gather(post.settings, post.vault))
        return [check.remedy for check in found if check.check == "mail spool" and not check.ok]

    [remedy] = named()
    assert helpdesk.run("ls", str(spool)).returncode != 0
    subprocess.run(["sh", "-c", remedy.removeprefix("Run: ")], check=True)
    assert helpdesk.run("ls", str(spool)).returncode == 0
    assert named() == []
    spool.parent.chmod(0o700)
    assert "chmod" in named()[0]
    assert helpdesk.run("ls", str(spool)).returncode != 0
