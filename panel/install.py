"""The install on disk: data directory, secret key, database."""

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
from panel.program import owner_of
from panel.secret import Secret
from panel.wording import reason

LOCK = "install.lock"


def prepare(settings: Settings) -> list[str]:
    """Create or upgrade the install; concurrent calls wait for each other.

    Returns the names of the applied migrations. Raises DataDirError, NotTheOwner, SettingsError or
    DatabaseError; nothing is left half done.
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
    """Raise NoInstall, NotTheOwner or DatabaseError unless this install is usable."""
    if not settings.data_dir.is_dir():
        raise _nothing_there(settings)
    require_owner(settings)
    path = Path(settings.database_url.removeprefix("sqlite:///"))
    if not path.exists():
        raise _nothing_there(settings)
    with db.explained(), db.database.connection_context():
        schema.check(db.database.obj)


def require_owner(settings: Settings) -> None:
    """Raise NotTheOwner for any Unix user but the data directory's owner, root included.

    The server could not read files that root leaves behind, and would refuse the key file.
    """
    if settings.data_dir.stat().st_uid == os.geteuid():
        return
    name = owner_of(settings.data_dir)
    raise NotTheOwner(
        f"The data directory {settings.data_dir} belongs to another user ({name}).",
        f"Run the command as that user: sudo -u '{name}' …",
        owner=name,
    )


def read_secret_key(settings: Settings, create: bool = False) -> Secret | None:
    """The key that signs cookies and tasks: PANEL_SECRET_KEY, or the content of <data>/secret-key.

    None where there is no file yet; `create` makes one, unless another process was faster.
    Raises SettingsError for an empty or short one, NotTheOwner for whom it is not.
    """
    if settings.secret_key is not None:
        return settings.secret_key
    path = settings.data_dir / "secret-key"
    if create and not path.exists():
        durable.write_new(path, f"{secrets.token_hex(32)}\n".encode())  # a race's loser reads the winner's
    try:
        text = path.read_text("ascii").strip()
    except FileNotFoundError:
        return None
    except PermissionError:
        require_owner(settings)
        raise _unreadable(path) from None
    except (OSError, UnicodeDecodeError):
        raise _unreadable(path) from None
    if len(text) < SHORTEST_SECRET_KEY:
        raise SettingsError(
            f"The file {path} is empty or too short to sign anything with.",
            "Delete it. The next start creates a new one, and everyone has to sign in again.",
        )
    return Secret(text)


def _unreadable(path: Path) -> SettingsError:
    return SettingsError(f"The file {path} cannot be read.", "Check its owner and permissions.")


def _nothing_there(settings: Settings) -> NoInstall:
    return NoInstall(
        f"Mailkeep is not set up in {settings.data_dir}.",
        "Start script/server once, run flask setup, or point PANEL_DATA_DIR to the existing install.",
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
            f"The data directory {path} cannot be created or written ({reason(error)}).",
            "Correct PANEL_DATA_DIR, or make the user that runs Mailkeep the owner of the directory.",
        ) from None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
