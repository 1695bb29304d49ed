"""What one install has on disk before anything runs: data directory, secret key, database."""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from panel import db, durable, identity
from panel.config import SHORTEST_SECRET_KEY, Settings
from panel.errors import DataDirError, NoInstall, NotTheOwner, SettingsError
from panel.models import schema
from panel.secret import Secret

LOCK = "install.lock"


def prepare(settings: Settings) -> list[str]:
    """Make or upgrade the install that `settings` name; several at once wait for each other.

    Returns the names of the migrations that were applied. Raises DataDirError,
    NotTheOwner, SettingsError or DatabaseError, each before anything is half made.
    """
    os.umask(0o077)
    _make_data_dir(settings.data_dir)
    require_owner(settings)
    with _locked(settings.data_dir / LOCK):
        read_secret_key(settings, create=True)
        database = db.connect(settings.database_url)
        db.database.initialize(database)
        with db.explained():
            database.connect(reuse_if_open=True)
        try:
            applied = schema.upgrade(database)
            with db.explained():
                identity.adopt(settings.data_dir)
            return applied
        finally:
            database.close()


def require(settings: Settings) -> None:
    """Raise NoInstall, NotTheOwner or DatabaseError unless a command can work on this install."""
    if not settings.data_dir.is_dir():
        raise _nothing_there(settings)
    require_owner(settings)
    path = Path(settings.database_url.removeprefix("sqlite:///"))
    if not path.exists():
        raise _nothing_there(settings)
    with db.explained(), db.database.connection_context():
        schema.check(db.database.obj)


def require_owner(settings: Settings) -> None:
    """Raise NotTheOwner where another Unix user, root included, works on the data directory.

    Files that root left behind would be unreadable for the server, and the key file refused.
    """
    import pwd

    owner = settings.data_dir.stat().st_uid
    if owner == os.geteuid():
        return
    try:
        name = pwd.getpwuid(owner).pw_name
    except KeyError:
        name = f"#{owner}"
    raise NotTheOwner(
        f"The data directory {settings.data_dir} belongs to another user ({name}).",
        f"Run the command as that user: sudo -u '{name}' …",
    )


def read_secret_key(settings: Settings, create: bool = False) -> Secret | None:
    """The key that signs cookies and tasks: PANEL_SECRET_KEY, or the content of <data>/secret-key.

    With `create` a missing file is made, never over one that another process has
    just made. Raises SettingsError for an empty or short one. None: no install yet.
    """
    if settings.secret_key is not None:
        return settings.secret_key
    path = settings.data_dir / "secret-key"
    if create and not path.exists():
        durable.write_new(path, f"{secrets.token_hex(32)}\n".encode())  # the loser reads the winner's
    try:
        text = path.read_text("ascii").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError):
        raise SettingsError(f"The file {path} cannot be read.", "Check its owner and permissions.") from None
    if len(text) < SHORTEST_SECRET_KEY:
        raise SettingsError(
            f"The file {path} is empty or too short to sign anything with.",
            "Remove it: the next start makes a new one, and everybody signs in again.",
        )
    return Secret(text)


def _nothing_there(settings: Settings) -> NoInstall:
    return NoInstall(
        f"Mailkeep is not set up in {settings.data_dir}.",
        "Start script/server once, run flask setup, or set PANEL_DATA_DIR to where it is.",
    )


def _make_data_dir(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.stat()
        if found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) != 0o700:
            path.chmod(0o700)
        (path / LOCK).touch(mode=0o600)
    except OSError as error:
        raise DataDirError(
            f"The data directory {path} cannot be made or written ({(error.strerror or '').lower()}).",
            "Correct PANEL_DATA_DIR, or give the directory to the user that runs Mailkeep.",
        ) from None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
