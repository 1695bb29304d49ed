"""The key file on the disk, and the small files beside it.

Nothing here decides what a key may be used for: it reads and writes whole files
so that a crash at any instant leaves the old one or the new one. No file that
holds a key is ever overwritten in place or removed without a durable copy.
"""

from __future__ import annotations

import glob
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from panel.config import Settings
from panel.crypto.keyfile import KEY_ID_BYTES, LARGEST, KeyFile, NotAKeyFile, fingerprint
from panel.durable import sync_directory
from panel.errors import DamagedKeyFile, KeyFileError, Refused
from panel.program import owner_of
from panel.vault.files import (
    content_if_any,
    durable_beside,
    explained,
    flocked,
    read_private,
    remove,
    require_open_files,
    typed,
)
from panel.wording import reason

EXPECTED_KEY = "encryption-expected"
LOCK = "encryption-key.lock"
AUTHORIZATION_FILE = "can-disable-encryption.txt"
LARGEST_AUTHORIZATION = 4096


@dataclass(frozen=True)
class AuthorizationFile:
    """The file that shows access to the file system: its text and its age."""

    text: str
    modified: float  # Unix time, seconds


@dataclass(frozen=True)
class KeyStore:
    """Where this server keeps its key file (`path`) and the files that go with it (`data_dir`)."""

    path: Path
    data_dir: Path

    @classmethod
    def of(cls, settings: Settings) -> KeyStore:
        return cls(settings.key_file, settings.data_dir)

    @property
    def owner(self) -> str:
        """The Unix user that all of it belongs to, for the commands shown to people."""
        return owner_of(self.data_dir)

    def put_back(self, copy: str = "BACKUP") -> str:
        """What to type to put `copy`, a path fit for a shell, in the key file's place."""
        return f"install -m 600 -o {self.owner} {copy} {typed(self.path)}"

    # -- the key file --------------------------------------------------------------

    def read(self) -> KeyFile | None:
        """The key file as it is now; None where there is none.

        Raises KeyFileError, with what to type against it, for a file that is damaged, or that others could
        have read or put there. Never cached: each save and each sweep reads it.
        """
        data = read_private(self.path, LARGEST, self.data_dir)
        return None if data is None else self._parse(self.path, data)

    def create(self, file: KeyFile, path: Path | None = None) -> bool:
        """Write `file` durably under a name that is free; False where the name is taken.

        Raises Refused where the disk does not take it; nothing is changed then.
        """
        path = path or self.path
        with self._written(path, file) as temporary:
            try:
                os.link(temporary, path)
            except FileExistsError:
                return False
            sync_directory(path.parent)
        return True

    def replace(self, old: KeyFile, new: KeyFile) -> None:
        """Put `new` in the place of `old`. Call it under `locked()` and the lock of the state row.

        Raises Refused where the file is not `old` any more; its generation alone could be a coincidence.
        """
        with self._held():
            self._require_unchanged(old)
            with self._written(self.path, new) as temporary:
                temporary.rename(self.path)
                sync_directory(self.path.parent)

    def retire(self, file: KeyFile) -> Path:
        """Move the key file aside, with its flag taken off, and return the copy's path.

        The copy is durable before the original goes; repeated after a crash it
        ends in the same place.
        """
        copy = self._beside(f"retired-{fingerprint(file.primary.id)}-{file.generation}")
        unflagged = file.without_decrypting_flag()
        with self._held():
            self._require_unchanged(file)
            if not self.create(unflagged, copy) and self._holds(copy) != unflagged:
                raise Refused(f"Another file is in the way: {copy}.", "Move it elsewhere, then press resume.")
            remove(self.path)
        return copy

    def _require_unchanged(self, file: KeyFile) -> None:
        if self.read() != file:
            raise Refused("The key file was changed by another process.", "Reload the page.")

    def set_aside_unused(self, file: KeyFile) -> Path:
        """Move aside a key file that lost the race of two servers; it has sealed nothing."""
        copy = self._beside(f"unused-{fingerprint(file.primary.id)}")
        self.create(file, copy)
        remove(self.path)
        return copy

    def set_aside_lost(self) -> Path | None:
        """Move aside whatever stands under the key file's name, unopened; the path that it has now."""
        if not os.path.lexists(self.path):
            return None
        aside = self._beside(f"set-aside-{secrets.token_hex(4)}")
        with explained(self.path):
            self.path.rename(aside)
            sync_directory(self.path.parent)
        return aside

    def here(self) -> Iterator[tuple[Path, KeyFile]]:
        """Every intact key file beside the key file's name, whatever its owner, mode and end of the name.

        Raises Refused where that directory is not there (a key may be on a disk that
        is not mounted), or where one of them cannot be read: it may be the key.
        """
        directory = self.path.parent
        if not directory.is_dir():
            raise Refused(f"The directory {directory} is not there.", "Mount it, or create it.")
        for path in sorted(directory.glob(f"{glob.escape(self.path.stem)}*")):
            data = content_if_any(path, LARGEST + 1)
            with suppress(NotAKeyFile):
                yield path, KeyFile.from_bytes(data)

    def version(self) -> tuple[object, ...]:
        """What changes whenever `read` or `expected_key` may find something else: cheaper than either."""
        files = (self.path, self.data_dir / EXPECTED_KEY)
        owners = (self.path.parent, self.data_dir)  # `read_private` looks at them
        return tuple(map(_identity, files)) + tuple(_identity(path)[:2] for path in owners)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time changes the key file. Always taken before the lock of the state row."""
        with flocked(self.data_dir / LOCK):
            yield

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Lock against another data directory that names the same key file. Call it under `locked()`."""
        beside, ours = self.path.with_name(f"{self.path.stem}.lock"), self.data_dir / LOCK
        if beside.exists() and ours.exists() and beside.samefile(ours):
            yield  # the usual case: it is the lock that is held already
            return
        with flocked(beside):
            yield

    def clean(self) -> None:
        """At start: remove what a killed write left behind. A temporary file was never used."""
        with self.locked():
            for directory, begin in ((self.path.parent, self.path.stem), (self.data_dir, "encryption-")):
                for path in directory.glob(f".{glob.escape(begin)}*.tmp"):
                    path.unlink(missing_ok=True)

    # -- the expected key: which key this server expects ----------------------------------

    def expected_key(self) -> bytes | None:
        """The key id that this server has sealed under; None if it never has.

        One that cannot be read still counts: it comes back as an empty id.
        """
        path = self.data_dir / EXPECTED_KEY
        try:
            data = bytes.fromhex(path.read_text("ascii").strip())
        except FileNotFoundError:
            return None
        except OSError as error:
            require_open_files(error)
            return b""
        except ValueError:
            return b""
        return data if len(data) == KEY_ID_BYTES else b""

    def expect(self, key_id: bytes) -> None:
        """Note durably, before the first seal under it, that this server expects `key_id`."""
        if self.expected_key() == key_id:
            return
        path = self.data_dir / EXPECTED_KEY
        with durable_beside(path, key_id.hex().encode() + b"\n") as temporary:
            temporary.rename(path)
            sync_directory(self.data_dir)

    def forget_expected_key(self) -> None:
        """Remove the expected key: only where the key file is gone and a retired copy holds its key."""
        expected_key = self.expected_key()
        if expected_key is None or self.read() is not None or self.retired_copy_of(expected_key) is None:
            return
        remove(self.data_dir / EXPECTED_KEY)

    def abandon_expected_key(self) -> None:
        """Remove the expected key although no copy of it is here: the last step of forgetting a lost key.

        It stays where a key file has come meanwhile: that one may be in use already.
        """
        if not os.path.lexists(self.path):
            remove(self.data_dir / EXPECTED_KEY)

    def retired_copy_of(self, key_id: bytes) -> Path | None:
        """The retired copy beside the key file's name that holds `key_id`, if there is one."""
        for path in sorted(self.path.parent.glob(f"{glob.escape(self.path.stem)}.retired-*.bin")):
            file = self._holds(path)
            if file is not None and file.find(key_id) is not None:
                return path
        return None

    # -- the authorization file: proof of access to the file system ----------------------

    @property
    def authorization_path(self) -> Path:
        """Where the authorization file must be made."""
        return self.data_dir / AUTHORIZATION_FILE

    def authorization_file(self) -> AuthorizationFile | None:
        """The authorization file, by the key file's rules of owner and mode; None where there is none.

        Raises KeyFileError for one that another user could have made.
        """
        data = read_private(self.authorization_path, LARGEST_AUTHORIZATION, self.data_dir)
        if data is None:
            return None
        return AuthorizationFile(data.decode("utf-8", "replace"), self.authorization_path.stat().st_mtime)

    def key_file_modified(self) -> float:
        """When the key file was last written (Unix time, seconds). Raises Refused where it is gone."""
        with explained(self.path):
            return self.path.stat().st_mtime

    def delete_authorization_file(self) -> None:
        """Remove it, durably: it is good for one use. Symbolic links are removed, not followed."""
        try:
            self.authorization_path.unlink()
        except FileNotFoundError:
            return
        except OSError as error:
            raise Refused(
                f"The file {self.authorization_path} cannot be removed ({reason(error)}).",
                "Remove it by hand.",
            ) from None
        sync_directory(self.data_dir)

    # -- reading and writing safely ------------------------------------------------------

    def _parse(self, path: Path, data: bytes) -> KeyFile:
        try:
            return KeyFile.from_bytes(data)
        except NotAKeyFile as error:
            raise DamagedKeyFile(
                f"The file {path} is no intact key file: {error}.", "Put it back from its backup."
            ) from None

    def _holds(self, path: Path) -> KeyFile | None:
        """What a copy holds, or None where it is no intact key file of ours."""
        try:
            data = read_private(path, LARGEST, self.data_dir)
            return None if data is None else KeyFile.from_bytes(data)
        except (KeyFileError, NotAKeyFile):
            return None

    def _beside(self, what: str) -> Path:
        return self.path.with_name(f"{self.path.stem}.{what}.bin")

    @contextmanager
    def _written(self, path: Path, file: KeyFile) -> Iterator[Path]:
        """`file` in a durable temporary file beside `path`, read back and found the same."""
        with durable_beside(path, file.to_bytes()) as temporary:
            if self._holds(temporary) != file:
                raise Refused(
                    f"The key file could not be written to {path.parent} as it should; nothing was changed.",
                    "Check the disk and the directory's permissions (chmod go-w), then try again.",
                )
            yield temporary


def _identity(path: Path) -> tuple[int, ...]:
    """Mode, owner, inode, size and times in nanoseconds; zeros where there is nothing to be seen."""
    try:
        found = path.lstat()
    except OSError:
        return (0, 0)
    return found.st_mode, found.st_uid, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
