"""Promises of what is recorded: each step with key, mailboxes, people and sign-in, by whom, from where, no secret."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Callable

import pytest
from flask import Flask

from panel import db
from panel.audit import Actor, record
from panel.models import Activity
from panel.vault import backup_proof, turn_off, turn_on, unfinished
from tests.encryption.conftest import House
from tests.installs import BOTH
from tests.sign_in.browser import PASSWORD, WRONG, Browser, add_person

NEW = "another long phrase 🐑 MARKER"
MAILBOX = "mailbox MARKER password"
FROM = "192.0.2.7"
ADMIN, OTHER = "ada@example.org", "bob@example.org"


@pytest.fixture
def admin(app: Flask) -> Browser:
    add_person()
    browser = Browser(app, FROM)
    browser.sign_in()
    return browser


def events() -> list[tuple[str, str, str, str]]:
    """what, subject, who, from where."""
    with db.database.connection_context():
        return [(r.what, r.subject, r.who, r.address) for r in Activity.select().order_by(Activity.id)]


def test_every_step_of_signing_in_and_of_the_profile(app: Flask, admin: Browser) -> None:
    admin.post("/profile", on="/profile", name="Ada L.")
    admin.post("/profile/password", on="/profile", old=PASSWORD, password=NEW)
    admin.post("/profile/sessions", on="/profile")
    admin.post("/logout", on="/profile")
    stranger = Browser(app, "198.51.100.9")
    stranger.sign_in(password=WRONG)
    stranger.sign_in(email="MARKER typed into the wrong field")
    assert [event for event in events() if not event[0].startswith("person")] == [
        ("signed in", ADMIN, ADMIN, FROM),
        ("name changed", ADMIN, ADMIN, FROM),
        ("login password changed", ADMIN, ADMIN, FROM),
        ("other sessions signed out", ADMIN, ADMIN, FROM),
        ("signed out", ADMIN, ADMIN, FROM),
        ("sign-in failed", ADMIN, "unknown", "198.51.100.9"),
        ("sign-in failed", "unknown", "unknown", "198.51.100.9"),
    ]


def test_every_step_with_people(admin: Browser) -> None:
    fields = {"email": OTHER, "name": "Bob", "role": "agent", "password": NEW}
    admin.post("/people/new", on="/people/new", **fields)
    page = "/people/2"
    admin.post(page, **fields | {"role": "user"})
    admin.post(f"{page}/disable", on=page)
    admin.post(f"{page}/enable", on=page)
    admin.post(f"{page}/password", on=page, password=NEW)
    made = [event for event in events() if event[1] == OTHER]
    assert made == [
        (what, OTHER, ADMIN, FROM)
        for what in (
            "person added", "role changed", "person disabled", "person enabled", "login password changed",
        )
    ]  # fmt: skip


def test_every_step_with_the_key(house: House, caplog: pytest.LogCaptureFixture) -> None:
    actor = Actor(ADMIN, FROM)
    with db.database.connection_context():
        house.add(MAILBOX)
        turn_on.turn_on(house.vault, BOTH, actor)
        unfinished.resume(house.vault)
        nonce = backup_proof.nonce()
        backup_proof.verify(house.vault, nonce, proof_of(house, nonce).split()[0], actor)
        held = house.key_file.read_bytes()
        house.key_file.unlink()
        unfinished.settle(house.vault)
        house.key_file.write_bytes(held)
        house.key_file.chmod(0o600)
        unfinished.settle(house.vault)
        turn_off.turn_off(house.vault, actor, in_shell=True)
        turn_off.cancel(house.vault, actor)
        unfinished.resume(house.vault)
        turn_off.turn_off(house.vault, actor, in_shell=True)
        unfinished.resume(house.vault)
    found = [(what, who, address) for what, _, who, address in events()]
    for what in ("key file created", "key backup verified", "turning off encryption started",
                 "turning off encryption cancelled"):  # fmt: skip
        assert (what, ADMIN, FROM) in found
    warnings = [each.message for each in caplog.records if each.name == "mailkeep.activity"]
    assert [line.partition(":")[0] for line in warnings] == ["collecting paused"]  # the others are no warning
    for what in ("passwords encrypted", "collecting paused", "collecting resumed", "encryption turned off"):
        assert (what, "worker", "") in found


def proof_of(house: House, nonce: str) -> str:
    command = f'{{ printf %s "{nonce}"; cat "{house.key_file}"; }} | sha256sum'
    return subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout


def test_every_step_with_accounts_in_the_shell(
    cli: Callable[..., subprocess.CompletedProcess[str]], app: Flask
) -> None:
    box = "support@example.org"
    server = ["--protocol", "imap", "--host", "imap.example.org", "--port", "993", "--security", "tls",
              "--username", box, "--password-file", "-"]  # fmt: skip
    assert cli("accounts", "add", box, *server, stdin=MAILBOX).returncode == 0
    assert cli("accounts", "pause", box).returncode == 0
    assert cli("accounts", "resume", box).returncode == 0
    assert cli("accounts", "set-password", box, "--password-file", "-", stdin=MAILBOX).returncode == 0
    assert cli("accounts", "remove", box, "--yes").returncode == 0
    found = events()
    assert [what for what, *_ in found] == [
        "mailbox added", "mailbox paused", "mailbox resumed", "mailbox changed", "mailbox removed",
    ]  # fmt: skip
    assert all(subject == box and who.startswith("shell (") for _, subject, who, _ in found)
    with db.database.connection_context():
        assert not [row for row in Activity.select() if "MARKER" in row.detail]


def test_an_event_is_written_to_the_log_too_one_line_each(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), db.database.connection_context():
        record("mailbox added", "a@example.org", "a detail", who=ADMIN, address=FROM)
    [line] = [line for line in caplog.messages if "mailbox added" in line]
    assert line.startswith("mailbox added: a@example.org")
    assert f"by {ADMIN} from {FROM}" in line


def test_no_value_of_a_secret_reaches_activity_or_log(
    admin: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        test_every_step_with_people(admin)
    with db.database.connection_context():
        rows = [str(row.__data__) for row in Activity.select()]
    assert not [text for text in (*rows, *caplog.messages) if "MARKER" in text or PASSWORD in text]
