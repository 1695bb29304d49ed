"""Promises to helpdesks that speak only IMAP or POP3: Debian's Dovecot serves them our spool, with the file given."""

from __future__ import annotations

import grp
import imaplib
import os
import poplib
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from panel.config import ROOT
from panel.mail.maildir import Maildir
from tests.deliver.conftest import letter
from tests.running import free_port, wait_until
from tests.servers import dovecot

pytestmark = pytest.mark.dovecot
CONFIGURATION = ROOT / "docs/deploy/dovecot-spool.conf"
UUID = "5f0c3a52-6a1e-4a3e-9c57-0d8a4c6a2b11"
PASSWORD = "local password"
# What of a Dovecot of its own a test has to add: where it runs.
BESIDE = """
base_dir = {run}
state_dir = {run}
log_path = {log}
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service imap-login {{
  chroot =
}}
service pop3-login {{
  chroot =
}}
service stats {{
  chroot =
}}
default_internal_user = root
default_internal_group = root
default_login_user = {user}
first_valid_uid = 1
auth_failure_delay = 0
"""


@dataclass(frozen=True)
class Spool:
    maildir: Maildir
    imap_port: int
    pop3_port: int

    def put(self, *messages: bytes) -> None:
        for raw in messages:
            name = self.maildir.unique_name(len(raw), 1)
            self.maildir.write(name, raw)
            self.maildir.publish([name])

    def imap(self) -> imaplib.IMAP4:
        connection = imaplib.IMAP4("127.0.0.1", self.imap_port, timeout=60)
        connection.login(UUID, PASSWORD)
        return connection

    def files(self) -> list[str]:
        return sorted(
            path.name for folder in ("new", "cur") for path in (self.maildir.path / folder).iterdir()
        )


@pytest.fixture
def spool() -> Iterator[Spool]:
    if os.getuid() != 0 or not dovecot.installed():
        pytest.skip("needs root and Debian's dovecot-imapd and dovecot-pop3d")
    with tempfile.TemporaryDirectory(prefix="mailkeep-") as place:
        directory = Path(place)
        directory.chmod(0o755)
        user, group = pwd.getpwnam("mail"), grp.getgrnam("mail")
        for name in ("state", "run"):
            (directory / name).mkdir()
        shutil.chown(directory / "state", user.pw_uid, group.gr_gid)
        hashed = subprocess.run(
            ["doveadm", "pw", "-s", "SHA512-CRYPT", "-p", PASSWORD], capture_output=True, text=True
        )
        (directory / "users").write_text(f"{UUID}:{hashed.stdout.strip()}\n")
        maildir = Maildir(directory / "spool" / UUID, "mail")
        maildir.create()
        found = Spool(maildir, free_port(), free_port())
        text = CONFIGURATION.read_text()
        for here, there in (
            ("/var/spool/mailkeep", f"{directory}/spool"), ("/var/lib/mailkeep-dovecot", f"{directory}/state"),
            ("/etc/mailkeep/dovecot.users", f"{directory}/users"), ("helpdesk-mail", "mail"), ("= helpdesk", "= mail"),
            ("uid=helpdesk", "uid=mail"), ("1143", str(found.imap_port)), ("1110", str(found.pop3_port)),
        ):  # fmt: skip
            assert here in text
            text = text.replace(here, there)
        (directory / "conf").write_text(
            text + BESIDE.format(run=directory / "run", log=directory / "log", user="nobody")
        )
        process = subprocess.Popen(
            ["dovecot", "-F", "-c", str(directory / "conf")], stderr=subprocess.PIPE, text=True
        )
        try:
            wait_until(lambda: _answers(found.imap_port) or process.poll() is not None, "Dovecot")
            assert process.poll() is None, process.stderr and process.stderr.read()
            yield found
            assert not re.findall(r"(?:Error|Fatal|Panic): .*", (directory / "log").read_text())
        finally:
            process.terminate()
            process.communicate()


def _answers(port: int) -> bool:
    try:
        imaplib.IMAP4("127.0.0.1", port, timeout=2).shutdown()
    except OSError:
        return False
    return True


def test_a_helpdesk_fetches_and_expunges_by_imap_and_nothing_else_stays_in_the_spool(spool: Spool) -> None:
    spool.put(letter("one"), letter("two"))
    connection = spool.imap()
    assert connection.select("INBOX")[1] == [b"2"]
    _, unseen = connection.search(None, "UNSEEN")  # what FreeScout and GLPI ask for
    assert unseen == [b"1 2"]
    _, parts = connection.fetch("1", "(BODY[])")
    assert parts[0] is not None and parts[0][1] == letter("one")
    connection.store("1", "+FLAGS", r"(\Seen \Deleted)")
    connection.expunge()
    connection.logout()
    assert len(spool.files()) == 1
    assert sorted(path.name for path in spool.maildir.path.iterdir()) == ["cur", "new", "tmp"]


def test_mail_that_comes_later_is_seen_at_once_in_an_open_session(spool: Spool) -> None:
    connection = spool.imap()
    connection.select("INBOX")
    spool.put(letter("later"))
    wait_until(lambda: connection.noop() and connection.search(None, "ALL")[1] == [b"1"], "the message")
    connection.logout()


def test_a_helpdesk_takes_mail_by_pop3(spool: Spool) -> None:
    spool.put(letter("one"), letter("two"))
    connection = poplib.POP3("127.0.0.1", spool.pop3_port, timeout=60)
    connection.user(UUID)
    connection.pass_(PASSWORD)
    assert connection.stat()[0] == 2
    _, lines, _ = connection.retr(1)
    assert b"\r\n".join(lines) + b"\r\n" == letter("one")
    for number in (1, 2):
        connection.dele(number)
    connection.quit()
    assert spool.files() == []


def test_another_password_and_another_mailbox_are_refused(spool: Spool) -> None:
    for user, password in (
        (UUID, "wrong"),
        ("../" + UUID, PASSWORD),
        (UUID.replace("5f0c", "5f0d"), PASSWORD),
    ):
        connection = imaplib.IMAP4("127.0.0.1", spool.imap_port, timeout=60)
        with pytest.raises(imaplib.IMAP4.error):
            connection.login(user, password)
        connection.shutdown()
