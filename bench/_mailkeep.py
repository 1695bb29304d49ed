"""Mailkeep itself: its sweep for `bench.sweep`, its pages for `bench.pages`."""

from __future__ import annotations

import uuid
from pathlib import Path

from bench._programs import Program, passwords
from bench._sites import PASSWORD, Wsgi, sign_in
from panel import create_app, db, install
from panel.audit import Actor
from panel.config import Settings
from panel.health import heartbeat
from panel.secret import Secret
from panel.setup import service as setup
from panel.vault import rotation, sweep, turn_on, unfinished, verification
from panel.vault.state import State
from panel.vault.vault import Vault
from tests.installs import BOTH

ACTOR = Actor("bench")


class Mailkeep(Program):
    """An install with one mailbox a row."""

    def __init__(self, directory: Path) -> None:
        self.settings = Settings.load(
            {"PANEL_DATA_DIR": str(directory / "data"), "PANEL_ENV_FILE": "/dev/null"}
        )
        self.vault = Vault.of(self.settings, db.database)
        self.database = self.settings.data_dir / "panel.db"

    def seed(self, rows: int) -> None:
        """Make the install, the rows by SQL: saving them is another question."""
        install.prepare(self.settings)
        self.open()
        with db.transaction():
            cursor = db.database.connection().cursor()
            for number, name, secret in passwords(rows):
                key = str(uuid.uuid5(uuid.NAMESPACE_URL, str(number)))
                cursor.execute(
                    "INSERT INTO account (uuid, address, folder, begin, interval, created_at)"
                    " VALUES (?, ?, 'INBOX', 'now', 300, 0)",
                    (key, name),
                )
                cursor.execute(
                    "INSERT INTO endpoint (clear, rev, account_id, direction, protocol, host, port, security,"
                    " username, auth_method, token_url, address, kind)"
                    " VALUES (?, 1, ?, 'in', 'imap', 'imap.example.org', 993, 'tls', ?, 'plain', '', ?,"
                    " 'password')",
                    (secret, key, name, name),
                )

    def open(self) -> None:
        create_app(self.settings)
        db.database.connect(reuse_if_open=True)

    def begin(self, phase: str) -> None:
        """The key file; before a rotation every record is opened once."""
        if phase == "enable":
            turn_on.turn_on(self.vault, BOTH, ACTOR)
        else:
            rotation.rotate(self.vault, ACTOR)

    def enable(self) -> None:
        """The sweep, with its progress shown."""
        self._sweep()

    def rotate(self) -> None:
        """The same sweep: the key file says what it is to do."""
        self._sweep()

    def _sweep(self) -> None:
        report = sweep.run(self.vault, lambda done, total: None)
        if report.failures:
            raise SystemExit(f"{len(report.failures)} records did not open.")

    def finish(self) -> None:
        """Retire the old key and remove old values from the database's files."""
        unfinished.resume(self.vault)
        if self.vault.latest().state is not State.ON:
            raise SystemExit(f"The state is {self.vault.latest().state}.")

    def check(self) -> int:
        verdict = verification.run(self.vault)
        return verdict.opened if self.vault.latest().clear == 0 else 0


class MailkeepSite(Mailkeep):
    """Its pages, with encryption on and every mailbox collected just now; every thousandth fails."""

    def fill(self, mailboxes: int) -> str:
        """Make the install as `bench.sweep` does, encrypt, and sign in."""
        self.seed(mailboxes)
        self.begin("enable")
        self.enable()
        self.finish()
        with db.transaction():
            db.database.execute_sql(
                "INSERT INTO collection (account_id, last_uid, begin_below, last_success_at, permanent,"
                " failures, next_due_at, waits, leased_until, problem)"
                " SELECT uuid, 1, 0, ?, 0, 0, ?, 7200, 0,"
                " CASE WHEN rowid % 1000 = 1 THEN 'The mail server refused the password.' END FROM account",
                (db.now(), db.now() + 7200),
            )
            heartbeat.beat()
        setup.create_admin(self.settings, "Ada", "ada@example.org", Secret(PASSWORD), None)
        db.database.close()
        return sign_in(self.application(), "/login", email="ada@example.org", password=PASSWORD)

    def application(self) -> Wsgi:
        """Flask's own, with its connections pooled as `panel.serve` has them."""
        app = create_app(self.settings)
        db.database.obj.pool_connections()
        return app
