"""A round that a person asked for: what it has brought, or why nothing. Kept in the page's address alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from peewee import fn

from panel import db, identity
from panel.accounts import service
from panel.config import Settings
from panel.errors import Refused
from panel.models import Account, Collection, Message, Skipped
from panel.models.collection import LEASE_SECONDS
from panel.models.moment import is_ahead
from panel.vault.vault import Vault

LATE_SECONDS = 20  # in which a worker that runs has begun
LONGEST_SECONDS = 3600  # for which a page asks
SHAPE = re.compile(r"([0-9]{1,12})-([0-9]{1,18})\Z")


class Phase(StrEnum):
    PENDING = "pending"
    LATE = "late"  # no worker has begun it
    RUNNING = "running"
    DONE = "done"


@dataclass(frozen=True)
class Asked:
    """When it was asked for, and the newest message of all mailboxes before it."""

    at: int
    after: int

    @classmethod
    def now(cls) -> Self:
        return cls(db.now(), Message.select(fn.MAX(Message.id)).scalar() or 0)

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The one that `str` has written; None for any other text, and for one that is long over."""
        found = SHAPE.match(text)
        if found is None or is_ahead(int(found[1])) or db.now() - int(found[1]) > LONGEST_SECONDS:
            return None
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        """For the address of a page."""
        return f"{self.at}-{self.after}"


@dataclass(frozen=True)
class Progress:
    """How far the round is; once it is done, in a sentence what it brought; `ok` unless the round failed."""

    phase: Phase
    message: str = ""
    ok: bool = True


def collectable(uuid: str, settings: Settings, vault: Vault) -> Account:
    """The mailbox. Raises Refused, RestoredCopy or KeyAbsent where no round would collect it."""
    account, _ = service.find(uuid)
    if account.paused_at is not None:
        raise Refused(f"{account.address} is paused.", "Resume it, then collect its mail.")
    identity.require_ours(settings.data_dir)
    vault.latest().require_readable()
    return account


def progress(asked: Asked, account: Account, row: Collection | None) -> Progress:
    """How far the round of `account` is, by its `row`."""
    if row is not None and _is_leased(row):
        return Progress(Phase.RUNNING)
    if row is None or not row.next_due_at:
        return Progress(Phase.LATE if db.now() - asked.at > LATE_SECONDS else Phase.PENDING)
    brought = _brought(asked, account)
    if row.problem:
        return Progress(Phase.DONE, f"{brought} {row.problem} {row.remedy or ''}".strip(), ok=False)
    return Progress(Phase.DONE, f"Collected: {brought or 'no new messages.'}")


def _is_leased(row: Collection) -> bool:
    until = row.leased_until
    known = isinstance(until, int) and not is_ahead(until, LEASE_SECONDS)
    return row.leased_by is not None and known and until > db.now()


def _brought(asked: Asked, account: Account) -> str:
    new = Message.select().where(Message.id > asked.after, Message.account == account.uuid).count()
    skipped = Skipped.select().where(Skipped.account == account.uuid, Skipped.at >= asked.at).count()
    parts = [f"{new:,} new {'message' if new == 1 else 'messages'}."] if new else []
    if skipped:
        parts.append(f"{skipped:,} {'message was' if skipped == 1 else 'messages were'} skipped.")
    return " ".join(parts)
