"""An install with accounts, without web or worker."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from panel import create_app, db
from panel.audit import Actor
from panel.config import Settings
from panel.models import Account, Endpoint
from panel.secret import Secret
from panel.vault import backup_proof, credential, rotation, turn_off, turn_on, unfinished
from panel.vault.keystore import KeyStore
from panel.vault.state import State
from panel.vault.vault import Vault
from tests import installs, warm
from tests.installs import BOTH
from tests.running import process_environ

ORPHANED = (
    "INSERT INTO endpoint (id, account_id, direction, protocol, host, port, security, username, auth_method,"
    " token_url, address, kind, sealed, clear, rev) SELECT ?, 'nobody', ?, protocol, host, port, security, username,"
    " auth_method, token_url, address, kind, ?, ?, rev FROM endpoint WHERE id = 1"
)


@dataclass(frozen=True)
class House:
    """One install, as a test holds it."""

    settings: Settings
    vault: Vault

    @property
    def keystore(self) -> KeyStore:
        return self.vault.keystore

    @property
    def data(self) -> Path:
        return self.settings.data_dir

    @property
    def key_file(self) -> Path:
        return self.settings.key_file

    @property
    def state(self) -> State:
        return self.vault.read(counts=True).state

    def add(self, password: str = "hunter2hunter2", **over: Any) -> Endpoint:
        account = Account.create(address=f"{Account.select().count()}@example.org", created_at=db.now())
        endpoint = new_endpoint(account, **over)
        endpoint.secret = Secret(password)
        endpoint.save()
        return Endpoint.get_by_id(endpoint.id)

    def enable(self) -> None:
        turn_on.turn_on(self.vault, BOTH, Actor("admin@example.org"))
        unfinished.resume(self.vault)

    def disable(self) -> None:
        turn_off.turn_off(self.vault, Actor(), in_shell=True)
        unfinished.resume(self.vault)

    def rotate(self) -> None:
        rotation.rotate(self.vault, Actor("admin@example.org"))
        unfinished.resume(self.vault)

    def prove(self) -> None:
        backup_proof.check(self.vault, self.key_file.read_bytes(), Actor("admin@example.org"))

    def opened(self, endpoint: Endpoint) -> str:
        row = Endpoint.get_by_id(endpoint.id)
        return credential.open_for(row, self.vault).secret.reveal()

    def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        return list(db.database.execute_sql(statement, values).fetchall())

    def orphan(self, number: int, direction: str, sealed: bytes | None, clear: str | None = None) -> None:
        """A row of no account, as `sqlite3 panel.db` leaves it: foreign keys are not enforced there."""
        with closing(sqlite3.connect(self.data / "panel.db")) as connection, connection:
            connection.execute(ORPHANED, (number, direction, sealed, clear))

    def row(self, endpoint: Endpoint) -> tuple[Any, Any, int]:
        return self.sql("SELECT clear, sealed, rev FROM endpoint WHERE id = ?", endpoint.id)[0]

    def times_stored(self, authorization_file: str) -> int:
        """How often `marker` stands in the files of the data directory, counted by another process."""
        script = (
            "import sys, pathlib; m = sys.argv[2].encode();"
            "print(sum(p.read_bytes().count(m) for p in pathlib.Path(sys.argv[1]).rglob('*') if p.is_file()))"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, str(self.data), authorization_file],
            capture_output=True,
            text=True,
            check=True,
        )
        return int(done.stdout)

    def files_with(self, authorization_file: str) -> list[str]:
        """Files under the data directory that hold `marker`, read by another process."""
        script = (
            "import sys, pathlib; m = sys.argv[2].encode();"
            "print('\\n'.join(p.name for p in pathlib.Path(sys.argv[1]).rglob('*')"
            " if p.is_file() and m in p.read_bytes()))"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, str(self.data), authorization_file],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.split()


def new_endpoint(account: Account, **over: Any) -> Endpoint:
    values: dict[str, Any] = {
        "direction": "in", "protocol": "imap", "host": "imap.example.org", "port": 993, "security": "tls",
        "username": account.address, "auth_method": "plain", "token_url": "",
        "address": account.address, "kind": "password",
    }  # fmt: skip
    return Endpoint(account=account, **{**values, **over})


def settings_in(directory: Path, **over: str) -> Settings:
    return Settings.load({"PANEL_DATA_DIR": str(directory / "data"), "PANEL_ENV_FILE": "/dev/null", **over})


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    settings = settings_in(tmp_path)
    installs.prepare(settings)
    create_app(settings)
    with db.database.connection_context():
        yield House(settings, Vault.of(settings, db.database))


def in_process(house: House, code: str, *arguments: str) -> subprocess.Popen[str]:
    """Run `code` in another process that works on the same install; `vault` and `keystore` are there by name."""
    head = (
        "import sys; from pathlib import Path; from panel import create_app, db; from panel.config import Settings;"
        "from panel.vault.vault import Vault; from panel.audit import Actor;"
        "from panel.vault import turn_off, rotation, turn_on, sweep, unfinished; from panel.vault.turn_on import Confirmations; from panel.models import *; from panel.secret import Secret;"
        "s = Settings.load({'PANEL_DATA_DIR': sys.argv[1], 'PANEL_ENV_FILE': '/dev/null'}); create_app(s);"
        "vault = Vault.of(s, db.database); keystore = vault.keystore; BOTH = Confirmations(True, True); db.database.connect(); actor = Actor('other');\n"
    )
    return warm.Popen(
        ["-c", head + code, str(house.data), *arguments],
        env=process_environ({}), text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
