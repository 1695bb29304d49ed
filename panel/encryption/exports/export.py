"""Exporting the key to keep it elsewhere, and importing it where it was lost. In a shell only.

What leaves is an age file or a recovery sheet, read back and compared before it is handed out.
A backup is verified only when a copy comes back: `key check`, the page, or an import.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from panel import db, durable
from panel.audit import Actor
from panel.config import Settings
from panel.crypto.keyfile import KeyFile, fingerprint
from panel.encryption.exports import age, copies, sheet_page
from panel.encryption.exports.sheet_page import About
from panel.errors import BadCopy, Refused
from panel.secret import Secret
from panel.vault import backup_proof
from panel.vault.files import typed
from panel.vault.state import RowFacts, State
from panel.vault.vault import Vault
from panel.wording import reason

EXPORTED = "encryption key exported"
IMPORTED = "encryption key restored"


# -- export ------------------------------------------------------------------------


@dataclass(frozen=True)
class Made:
    """An export that reads back as today's key file. `form`: what it is, for Activity."""

    form: str
    fingerprint: str
    content: bytes = field(repr=False)


def as_age(vault: Vault, passphrase: Secret) -> Made:
    """Today's key file under `passphrase`, as an age file. Raises Refused, BadInput for a weak passphrase."""
    age.require_strong(passphrase)
    return _made("age file", vault, lambda file: age.seal(file.to_bytes(), passphrase), passphrase)


def as_sheet(vault: Vault, about: About) -> Made:
    """Today's key file as a page to print, in clear text. Raises Refused."""
    return _made("recovery sheet", vault, lambda file: sheet_page.html(file, about), None)


def _made(form: str, vault: Vault, make: Callable[[KeyFile], bytes], passphrase: Secret | None) -> Made:
    file = _exportable(vault)
    made = make(file)
    if copies.read(made, passphrase) != file.to_bytes():
        raise Refused("The export does not read back as it was; nothing was written.", "Run: flask doctor")
    return Made(form, fingerprint(file.primary.id), made)


def _exportable(vault: Vault) -> KeyFile:
    """The key file, where a copy of it would be good for something."""
    now = vault.read()
    if now.disk.error is not None:
        raise Refused(now.disk.error.message, now.disk.error.remedy)
    if now.file is None:
        raise Refused("There is no key file here to export.", "Run: flask encryption status")
    if now.is_wrong:
        raise Refused(now.reason, "Run: flask encryption status")
    if now.file.decrypt_id is not None:
        raise Refused("Encryption is being turned off.", "Wait until that is done, or cancel it.")
    return now.file


def require_apart(target: Path, vault: Vault, settings: Settings) -> None:
    """Raise Refused where `target` would lie with the database or the key itself: that protects nothing."""
    directory = target.parent.resolve()
    database = Path(settings.database_url.removeprefix("sqlite:///"))
    for place in (vault.keystore.data_dir, vault.keystore.path.parent, database.parent, settings.mail_spool):
        if directory.is_relative_to(place.resolve()):
            raise Refused(
                f"{target} would lie with the database or the key file, and be lost or stolen with it.",
                "Name a place on another disk or machine.",
            )


def hand_out(made: Made, target: Path | None, actor: Actor) -> None:
    """Record in Activity that the key left, and in which form; write it to `target`, unless that is None.

    Raises Refused where it cannot be written; nothing is recorded then.
    """
    with db.transaction():
        actor.record(EXPORTED, made.fingerprint, made.form)
        if target is not None:
            _write(target, made.content)


def _write(target: Path, content: bytes) -> None:
    """Write a durable, private (0600) file of a free name, and read it back; on failure none stays."""
    try:
        durable.write(target, content)
        with _removed_on_failure(target):
            durable.sync_directory(target.parent)
            if target.read_bytes() != content:
                raise OSError(None, "it reads back differently")
    except FileExistsError:
        raise Refused(f"{target} exists already and is not overwritten.", "Name another file.") from None
    except OSError as error:
        raise Refused(
            f"The file {target} could not be written ({reason(error)}); nothing was exported.",
            "Make room or correct the directory's permissions, or name another place.",
        ) from None


@contextmanager
def _removed_on_failure(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError:
        with suppress(OSError):
            path.unlink()
        raise


# -- import ------------------------------------------------------------------------


def put_back(vault: Vault, copy: bytes, actor: Actor) -> bool:
    """Put the key file `copy` in its place, where it is missing; False where it is there already.

    Takes keys, never flags. The copy is good then, so the backup counts as verified.
    Raises BadCopy, Refused; nothing is changed then, and no file is ever overwritten.
    """
    given = backup_proof.parse(copy)
    with vault.changing():
        now = vault.read(counts=True)
        if now.disk.error is not None:
            raise Refused(now.reason, f"{now.remedy} Or move it away: {_moved_away(vault)}")
        if now.file is not None:
            return _already(now.file, given, vault)
        if now.state is not State.KEY_MISSING:
            raise Refused(
                "Encryption is off, and no key is missing here.",
                "Turn encryption on. An older database's key comes in with: flask encryption key add FILE",
            )
        file = given.without_decrypting_flag() if given.decrypt_id is not None else given
        _require_fitting(file, now.row)
        if not vault.keystore.create(file):
            raise Refused("A key file is in place already.", "Run: flask encryption status")
        actor.record(IMPORTED, fingerprint(file.primary.id))
        if file == given:
            backup_proof.note(file, actor)
    return True


def _already(present: KeyFile, given: KeyFile, vault: Vault) -> bool:
    if present == given:
        return False
    if present.instance_id != given.instance_id:
        raise BadCopy(
            "The copy is the key file of another install, and there is a key file here.",
            f"If the one here is the wrong one, move it away first: {_moved_away(vault)}",
        )
    raise Refused(
        "Another key file is in place here; it was not touched.",
        "To add the copy's keys: flask encryption key add FILE. "
        f"To use the copy instead, first: {_moved_away(vault)}",
    )


def _moved_away(vault: Vault) -> str:
    return f"mv {typed(vault.keystore.path)} {typed(vault.keystore.path)}.away"


def _require_fitting(file: KeyFile, row: RowFacts) -> None:
    if row.damaged:
        raise Refused(
            "The database does not have exactly one encryption row.",
            "Restore the database (docs/encryption.md, “A damaged state row”).",
        )
    if file.instance_id != row.instance_id:
        raise BadCopy("The copy is the key file of another install.", "Use a copy of this one's.")
    if row.active_key_id is not None and file.find(row.active_key_id) is None:
        raise BadCopy(
            f"The copy is out of date: it lacks key {fingerprint(row.active_key_id)}, which is in use.",
            "Use a copy from after the key was changed, or restore the database that goes with this one.",
        )
