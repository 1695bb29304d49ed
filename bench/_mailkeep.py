"""Mailkeep's own sweep, for `bench.sweep`."""

from __future__ import annotations

import uuid
from pathlib import Path

from bench._programs import passwords
from panel import create_app, db, install
from panel.audit import Actor
from panel.config import Settings
from panel.vault import rotation, sweep, turn_on
from panel.vault.keystore import KeyStore
from panel.vault.snapshot import look
from panel.vault.state import State

ACTOR = Actor("bench")


class Mailkeep:
    """An install with one mailbox a row."""

    def __init__(self, directory: Path) -> None:
        self.settings = Settings.load(
            {"PANEL_DATA_DIR": str(directory / "data"), "PANEL_ENV_FILE": "/dev/null"}
        )
        self.keystore = KeyStore.of(self.settings)
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
                    " username, auth_method, token_url, address)"
                    " VALUES (?, 1, ?, 'in', 'imap', 'imap.example.org', 993, 'tls', ?, 'plain', '', ?)",
                    (secret, key, name, name),
                )

    def open(self) -> None:
        """Connect."""
        create_app(self.settings)
        db.database.connect(reuse_if_open=True)

    def begin(self, phase: str) -> None:
        """The key file; before a rotation every record is opened once."""
        if phase == "enable":
            turn_on.enable(self.keystore, ACTOR)
        else:
            rotation.rotate(self.keystore, ACTOR)

    def enable(self) -> None:
        """The sweep, with its progress shown."""
        self._sweep()

    def rotate(self) -> None:
        """The same sweep: the key file says what it is to do."""
        self._sweep()

    def _sweep(self) -> None:
        report = sweep.run(self.keystore, lambda done, total: None)
        if report.failures:
            raise SystemExit(f"{len(report.failures)} records did not open.")

    def finish(self) -> None:
        """Retire the old key and remove old values from the database's files."""
        turn_on.resume(self.keystore)
        if look(self.keystore).state is not State.ON:
            raise SystemExit(f"The state is {look(self.keystore).state}.")

    def check(self) -> int:
        """How many open."""
        verdict = sweep.verify(self.keystore)
        return verdict.opened if look(self.keystore).clear == 0 else 0
