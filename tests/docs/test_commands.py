"""Promise of the manual: every command in it works as it is written, in the order it is written.

Each page is played on a machine of its own. Install and Unattended begin with nothing but the code;
every other page begins where Unattended ends: set up, encrypted, three mailboxes, an agent.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from panel.config import ROOT
from panel.crypto.keyfile import KeyFile
from tests.docs.console import missing
from tests.docs.machine import Machine, names
from tests.docs.pages import Page, manual, page
from tests.servers.certificates import Authority
from tests.servers.dovecot import DovecotServer
from tests.servers.smtp import SmtpServer

pytestmark = pytest.mark.dovecot

FROM_NOTHING = ("install.md", "unattended.md")
PLAYED = [one.path.name for one in manual() if any(block.kind == "console" for block in one.blocks())]
PASSWORD = "correct horse battery"  # of the mailboxes, as the manual's own lines of JSON have it
LOGIN_PASSWORD = "a heron stands in the reeds"
MAILBOXES = ("support", "sales", "billing", "help", "orders", "north", "south")
WELCOME = b"From: a@example.com\r\nSubject: Welcome\r\n\r\nHello\r\n"


class Shop:
    """Makes machines, and the mail servers that all of them reach."""

    def __init__(self, folder: Path, dovecot: DovecotServer, smtp: SmtpServer, ca_file: Path) -> None:
        self._folder = folder
        self._ports = {993: dovecot.tls_port, 995: dovecot.pop3_port, 465: smtp.tls_port}
        self._settings = {
            "PANEL_MAIL_PORTS": ",".join(str(port) for port in self._ports.values()),
            "PANEL_MAIL_CA_FILE": str(ca_file),
        }
        self.used: list[Machine] = []

    def bare(self, name: str) -> Machine:
        machine = self._machine(name)
        machine.prepare()
        for login in ("dana", "kim", "noor"):
            self._secret(machine, login, LOGIN_PASSWORD)
        for mailbox in MAILBOXES:
            self._secret(machine, mailbox, PASSWORD)
        self._secret(machine, "key-passphrase", LOGIN_PASSWORD)
        self._secret(machine, "client-secret", "Value~of.a-client_secret")
        return machine

    def installed(self, name: str, other: Machine) -> Machine:
        machine = self._machine(name, warm=True)
        machine.copy_of(other)
        return machine

    def _machine(self, name: str, warm: bool = False) -> Machine:
        ports = {str(port): there for port, there in self._ports.items()}
        machine = Machine(self._folder / name, names(ports), self._settings, warm)
        self.used.append(machine)
        return machine

    def _secret(self, machine: Machine, name: str, password: str) -> None:
        (machine.folder / "srv/secrets" / name).write_text(f"{password}\n", "utf-8")


@pytest.fixture(scope="module")
def shop(
    tmp_path_factory: pytest.TempPathFactory, dovecot: DovecotServer, certificates: Authority
) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("machines")
    smtp = SmtpServer(certificates.good())
    for name in MAILBOXES:
        dovecot.add_user(f"{name}@example.org", PASSWORD)
        smtp.users[f"{name}@example.org".encode()] = PASSWORD.encode()
    dovecot.maildir("help@example.org", "Collected")
    for name in ("billing", "help"):
        dovecot.deliver(f"{name}@example.org", WELCOME)
    both = folder / "authorities.pem"
    both.write_bytes(dovecot.ca_file.read_bytes() + certificates.ca_file.read_bytes())
    shop = Shop(folder, dovecot, smtp, both)
    yield shop
    for machine in shop.used:
        machine.stop()
    smtp.stop()


@pytest.fixture(scope="module")
def installed(shop: Shop) -> Machine:
    """A machine on which unattended.md was played, and every mailbox collected once; the server is stopped."""
    machine = shop.bare("installed")
    machine.play(page("unattended.md"))
    deadline = time.monotonic() + 60
    while not all(line["last_success_at"] for line in accounts(machine)):
        assert time.monotonic() < deadline, (machine.folder / "mailkeep.log").read_text("utf-8")
        time.sleep(0.2)
    machine.stop()
    return machine


def accounts(machine: Machine) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(
        machine.bash(machine.there(".venv/bin/flask accounts list --json"))[1]
    )
    return found


@pytest.mark.parametrize("name", PLAYED)
def test_every_command_of_the_page_works_as_written(
    name: str, shop: Shop, request: pytest.FixtureRequest
) -> None:
    if name in FROM_NOTHING:
        machine = shop.bare(name)
    else:
        machine = shop.installed(name, request.getfixturevalue("installed"))
    try:
        assert machine.play(page(name)) > 0
    finally:
        machine.stop()


def lose_the_key(machine: Machine) -> None:
    (machine.data / "encryption-key.bin").unlink()


def open_the_key_to_all(machine: Machine) -> None:
    (machine.data / "encryption-key.bin").chmod(0o644)


def put_another_key(machine: Machine) -> None:
    path = machine.data / "encryption-key.bin"
    path.write_bytes(KeyFile.generate(bytes(16)).to_bytes())


def redirect_an_account(machine: Machine) -> None:
    where = "account_id = (SELECT uuid FROM account WHERE address = 'support@example.org')"
    machine.sql(f"UPDATE endpoint SET host = 'rogue.example.net' WHERE {where}")


def edit_the_state_row(machine: Machine) -> None:
    machine.sql("UPDATE encryption SET instance_id = randomblob(16)")


def plant_a_trigger(machine: Machine) -> None:
    machine.sql("CREATE TRIGGER planted AFTER UPDATE ON account BEGIN UPDATE endpoint SET host = 'h'; END")


TROUBLE = {
    "key-missing": (lose_the_key, "key-missing"),
    "key-unreadable": (open_the_key_to_all, "key-unreadable"),
    "key-wrong": (put_another_key, "key-wrong"),
    "inconsistent": (redirect_an_account, "inconsistent"),
    "lost": (lose_the_key, "key-missing"),
    "damaged-row": (edit_the_state_row, "key-wrong"),
    "changed-schema": (plant_a_trigger, "key-wrong"),
}


@pytest.mark.parametrize("name", TROUBLE)
def test_the_mend_of_every_trouble_of_the_key_mends_it(name: str, shop: Shop, installed: Machine) -> None:
    cause, state = TROUBLE[name]
    machine = shop.installed(f"state {name}".replace(" ", "-"), installed)
    cause(machine)
    if state == "inconsistent":
        machine.bash(machine.there(".venv/bin/flask encryption verify"))
    assert status(machine) == state
    try:
        assert machine.play(page("encryption.md"), f"state={name}") > 0
        assert status(machine) == "on"
    finally:
        machine.stop()


def status(machine: Machine) -> str:
    found: str = json.loads(machine.bash(machine.there(".venv/bin/flask encryption status --json"))[1])[
        "state"
    ]
    return found


def test_each_state_that_the_manual_plays_is_broken_by_a_test() -> None:
    notes = {b.note for b in page("encryption.md").blocks() if b.kind == "console" and b.note}
    assert notes == {f"state={name}" for name in TROUBLE}


WRONG = (
    "$ exit 3\n", "$ echo 1 of 2\n1 of 3\n", "$ echo a@example.org\nb@example.org\n", "$ echo one\nin /etc/two\n",
    """$ echo '{"state": "on"}'\n{"state": "off"}\n""", "$ printf '2\\n1\\n'\n1\n2\n", "$ echo A=1\nA=2\n",
)  # fmt: skip


def test_a_command_that_fails_or_prints_other_facts_fails_the_test(shop: Shop, tmp_path: Path) -> None:
    machine = shop.bare("wrong")
    for text in WRONG:
        path = tmp_path / "page.md"
        path.write_text(f"```console\n{text}```\n")
        with pytest.raises(AssertionError, match=r"page\.md:2"):
            machine.play(NamedPage(path))


def test_other_words_around_the_same_facts_are_no_failure() -> None:
    shown = 'Sealed 3 passwords in /var/lib/mailkeep.\n…\n  ok  a@example.org ("on"), …'
    assert missing(shown, 'All right: 3 in /var/lib/mailkeep, a@example.org is "on".') is None
    assert missing(shown, 'All right: 3 in /var/lib/mailkeep, a@example.org is "off".') == '"on"'


class NamedPage(Page):
    """A page outside the repository."""

    @property
    def name(self) -> str:
        return self.path.name


def test_what_is_for_a_real_machine_is_good_shell_and_names_files_that_are_there() -> None:
    for one in manual():
        for block in one.blocks():
            if (block.kind, block.note) != ("sh", "as-root"):
                continue
            done = subprocess.run(["sh", "-n"], input=block.text, text=True, capture_output=True)
            assert done.returncode == 0, f"{block}: {done.stderr}"
            for word in block.text.split():
                if word.startswith(("script/", "docs/")):
                    assert (ROOT / word).is_file(), f"{block}: {word}"


def test_python_in_the_manual_is_python_of_the_version_that_is_asked_for() -> None:
    for one in manual():
        for block in one.blocks():
            if block.kind == "python":
                compile(block.text, str(block), "exec", dont_inherit=True)
