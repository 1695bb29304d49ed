"""Setup: the first administrator is created once, with a one-time token from the server's files or log.

The later steps belong to that administrator. Their progress shows in the install itself (a key, a mailbox);
only skipped steps are stored.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
from enum import IntEnum
from pathlib import Path

from panel import db, durable
from panel.audit import record
from panel.config import Settings
from panel.errors import AlreadySetUp
from panel.models import LISTED, Account
from panel.models.install import SetupState
from panel.people import service as people
from panel.people.service import PersonInfo
from panel.secret import Secret
from panel.vault.state import State
from panel.vault.vault import Vault

TOKEN_FILE = "setup-token"  # noqa: S105 - a file's name
TOKEN_BYTES = 32

logger = logging.getLogger("mailkeep.setup")


def open_url(settings: Settings) -> str | None:
    """The path of the setup page with its one-time token; None once setup is closed.

    The first call creates the token, which stays until it has been used: its value is in
    <data>/setup-token, its hash in the database. If the two do not match, a new one replaces both.
    """
    path = settings.data_dir / TOKEN_FILE
    with db.transaction():
        row = _row()
        if not _is_open(row):
            _remove(path)
            return None
        token = _read(path)
        if not _matches(token, row):
            token = secrets.token_urlsafe(TOKEN_BYTES)
            durable.replace(path, f"{token}\n".encode())
            _update(token_hash=_hash(token))
    return f"/setup/{token}"


def require_open() -> None:
    """Raise AlreadySetUp once an administrator exists."""
    if not _is_open(_row()):
        raise AlreadySetUp("Mailkeep is set up already.", "Sign in, or ask an administrator.")


def check(token: str) -> bool:
    """Whether setup is open and `token` is its token."""
    row = _row()
    return _is_open(row) and _matches(token, row)


def create_admin(
    settings: Settings, name: str, email: str, password: Secret, address: str | None
) -> PersonInfo:
    """Create the first administrator. From the shell (`address` None) this closes setup too.

    Of simultaneous calls one succeeds. Raises AlreadySetUp for the others, BadInput as `people.service.add`.
    """
    require_open()
    new = people.prepare(email, name, "admin", password)  # slow on purpose, so before the transaction
    with db.transaction():
        require_open()
        admin = people.insert(new)
        in_shell = address is None
        _update(closed_at=db.now() if in_shell else None, token_hash=None, admin_id=admin.id)
        record("set up", admin.email, who=None if in_shell else admin.email, address=address or "")
    _remove(settings.data_dir / TOKEN_FILE)
    return admin


# -- the later steps -----------------------------------------------------------------


class Step(IntEnum):
    """The steps of setup, in order. `FINISH`: nothing is left to do."""

    CHECKS = 1
    ADMIN = 2
    ENCRYPTION = 3
    MAILBOX = 4
    FINISH = 5

    @property
    def title(self) -> str:
        return TITLES[self - 1]


TITLES = ("Checks", "First administrator", "Encryption", "First mailbox", "Finish")


def step_of(person_id: int, vault: Vault, row: SetupState | None = None) -> Step | None:
    """The current step of this person's setup; None if it is finished or belongs to another person."""
    row = row or _row()
    if row.closed_at is not None or row.admin_id is None or row.admin_id != person_id:
        return None
    if row.encryption_later_at is None and vault.latest().state is State.OFF:
        return Step.ENCRYPTION
    if row.mailbox_later_at is None and not Account.select().where(LISTED).exists():
        return Step.MAILBOX
    return Step.FINISH


def skip(step: Step) -> None:
    """Leave encryption or the first mailbox for later."""
    columns = {Step.ENCRYPTION: "encryption_later_at", Step.MAILBOX: "mailbox_later_at"}
    _update(**{columns[step]: db.now()})


def finish(email: str, address: str) -> None:
    """Close setup for good. Of simultaneous calls one is recorded."""
    still_open = (SetupState.id == 1) & SetupState.closed_at.is_null()
    with db.transaction():
        if SetupState.update(closed_at=db.now()).where(still_open).execute():
            record("setup finished", email, who=email, address=address)


def _update(**columns: object) -> None:
    SetupState.update(**columns).where(SetupState.id == 1).execute()


def _row() -> SetupState:
    row: SetupState = SetupState.get_by_id(1)
    return row


def _is_open(row: SetupState) -> bool:
    return row.closed_at is None and row.admin_id is None and not people.an_admin_exists()


def _matches(token: str | None, row: SetupState) -> bool:
    if not token or row.token_hash is None:
        return False
    return hmac.compare_digest(_hash(token), bytes(row.token_hash))


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def _read(path: Path) -> str | None:
    try:
        return path.read_text("ascii").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        return None


def _remove(path: Path) -> None:
    """Remove the token file. If that fails, its token is no longer valid anyway."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("%s cannot be removed (%s); its token is no longer valid", path.name, error.strerror)
