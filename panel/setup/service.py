"""Set-up: the first administrator is made once, by whoever can read the server's files or its log.

The steps after that belong to that administrator, and what was reached shows in
the install itself: a key, an account. Only what was put off is written down.
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
from panel.models import Account
from panel.models.set_up import SetUp
from panel.people import service as people
from panel.people.service import Someone
from panel.secret import Secret
from panel.vault.state import State
from panel.vault.vault import Vault

TOKEN_FILE = "setup-token"  # noqa: S105 - a file's name
TOKEN_BYTES = 32

logger = logging.getLogger("mailkeep.setup")


def open_url(settings: Settings) -> str | None:
    """The path of the set-up page, with its one-time token; None once set-up is closed.

    The token is made at the first call and stays until it has been used: its
    value lies in <data>/setup-token, the database holds its hash. Where the two
    do not fit, a new one replaces both.
    """
    path = settings.data_dir / TOKEN_FILE
    with db.transaction():
        row = _row()
        if not _is_open(row):
            _remove(path)
            return None
        token = _read(path)
        if not _fits(token, row):
            token = secrets.token_urlsafe(TOKEN_BYTES)
            durable.replace(path, f"{token}\n".encode())
            _update(token_hash=_hash(token))
    return f"/setup/{token}"


def require_open() -> None:
    """Raise AlreadySetUp once there is an administrator."""
    if not _is_open(_row()):
        raise AlreadySetUp("Mailkeep is set up already.", "Sign in, or ask one of its administrators.")


def check(token: str) -> bool:
    """Whether `token` opens set-up now."""
    row = _row()
    return _is_open(row) and _fits(token, row)


def complete(settings: Settings, name: str, email: str, password: Secret) -> Someone:
    """In the shell: make the first administrator and close set-up for ever, both or neither.

    Of several at the same moment one succeeds. Raises AlreadySetUp for all
    others, BadInput as `people.service.add` does.
    """
    return _first_admin(settings, name, email, password, None)


def begin(settings: Settings, name: str, email: str, password: Secret, address: str) -> Someone:
    """On the page: make the first administrator, to whom the later steps belong. Raises as `complete`."""
    return _first_admin(settings, name, email, password, address)


def _first_admin(settings: Settings, name: str, email: str, password: Secret, address: str | None) -> Someone:
    require_open()
    new = people.prepare(email, name, "admin", password)  # slow on purpose, so before the transaction
    with db.transaction():
        require_open()
        someone = people.insert(new)
        closed_at = db.now() if address is None else None
        _update(closed_at=closed_at, token_hash=None, admin_id=someone.id)
        who = None if address is None else someone.email
        record("set up", someone.email, who=who, address=address or "")
    _remove(settings.data_dir / TOKEN_FILE)
    return someone


# -- the steps after that ------------------------------------------------------------


class Step(IntEnum):
    """What set-up comes to, in order."""

    CHECKS = 1
    ADMIN = 2
    ENCRYPTION = 3
    MAILBOX = 4
    SUMMARY = 5


def step_of(person_id: int, vault: Vault, row: SetUp | None = None) -> Step | None:
    """The step at which this person's set-up stands; None where it is finished, or not this person's."""
    row = row or _row()
    if row.closed_at is not None or row.admin_id is None or row.admin_id != person_id:
        return None
    if row.encryption_later_at is None and vault.latest().state is State.OFF:
        return Step.ENCRYPTION
    if row.mailbox_later_at is None and not Account.select().exists():
        return Step.MAILBOX
    return Step.SUMMARY


def put_off(step: Step) -> None:
    """Leave encryption or the first mailbox for later."""
    columns = {Step.ENCRYPTION: "encryption_later_at", Step.MAILBOX: "mailbox_later_at"}
    _update(**{columns[step]: db.now()})


def finish(email: str, address: str) -> None:
    """Close set-up for ever."""
    with db.transaction():
        _update(closed_at=db.now())
        record("set-up finished", email, who=email, address=address)


def _update(**columns: object) -> None:
    SetUp.update(**columns).where(SetUp.id == 1).execute()


def _row() -> SetUp:
    row: SetUp = SetUp.get_by_id(1)
    return row


def _is_open(row: SetUp) -> bool:
    return row.closed_at is None and row.admin_id is None and not people.an_admin_exists()


def _fits(token: str | None, row: SetUp) -> bool:
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
    """Take the file away. If that fails, what it holds opens nothing any more."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("%s cannot be removed (%s); its token is worth nothing.", path.name, error.strerror)
