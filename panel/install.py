"""What one install has on disk before anything runs: data directory, secret key, database."""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from panel import db
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
            return schema.upgrade(database)
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
        _write_new(path, secrets.token_hex(32) + "\n")
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


def _write_new(path: Path, text: str) -> None:
    """Make a private file with `text`, whole or not at all; an existing one stays."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(fd, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return  # the winner's is read
    finally:
        temporary.unlink()
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make the names in `path` durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
