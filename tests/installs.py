"""An install for tests: what `install.prepare` makes, made once in a run and copied.

The copy has ids and a secret key of its own, as any two installs have. Tests of how
an install is made or upgraded call `install.prepare` (tests/house/test_install.py, tests/models).
"""

from __future__ import annotations

import functools
import secrets
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from panel import identity, install
from panel.config import Settings
from panel.models import encryption
from panel.models import install as install_tables
from panel.vault.turn_on import Confirmations

BOTH = Confirmations(understands_key_loss=True, backup_prepared=True)

MADE = {"panel.db", "secret-key", identity.FILE, install.LOCK}


def prepare(settings: Settings) -> None:
    """Make the install that `settings` name. Where that is no plain new one, the long way."""
    plain = _settings(settings.data_dir)
    if settings.data_dir.exists() or not _same_places(settings, plain):
        install.prepare(settings)
        return
    shutil.copytree(_made_once().name, settings.data_dir)
    (settings.data_dir / "secret-key").write_text(secrets.token_hex(32) + "\n", "ascii")
    copy_id = secrets.token_bytes(install_tables.ID_BYTES)
    (settings.data_dir / identity.FILE).write_text(copy_id.hex() + "\n", "ascii")
    instance_id = secrets.token_bytes(encryption.ID_BYTES)
    with closing(sqlite3.connect(settings.data_dir / "panel.db")) as database, database:
        database.execute("PRAGMA secure_delete = on")
        for statement, new in (
            ("UPDATE encryption SET instance_id = ?", instance_id),
            ("UPDATE this_copy SET copy_id = ?", copy_id),
        ):
            assert database.execute(statement, [new]).rowcount == 1


def _same_places(one: Settings, other: Settings) -> bool:
    return (one.database_url, one.secret_key) == (other.database_url, other.secret_key)


@functools.cache
def _made_once() -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory(prefix="install-")
    install.prepare(_settings(Path(folder.name)))
    assert {path.name for path in Path(folder.name).iterdir()} == MADE  # closed: all is in the one file
    return folder


def _settings(directory: Path) -> Settings:
    return Settings.load({"PANEL_DATA_DIR": str(directory), "PANEL_ENV_FILE": "/dev/null"})
