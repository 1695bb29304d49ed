"""Removing mailboxes, restoring them for some minutes, and deleting them for good after that.

A removed mailbox is in no list, and is neither collected nor sent through. Until it is deleted its records
are encrypted, verified and rotated like all others, since they can be restored.
"""

from __future__ import annotations

from typing import Any

from panel import audit, db
from panel.accounts import service
from panel.audit import Actor
from panel.errors import NotFound, Refused
from panel.models import Account, Collection, SpoolCount
from panel.models.moment import SLACK
from panel.wording import counted

UNDO_SECONDS = 600
BATCH = 20  # mailboxes deleted in one transaction: each takes what it remembers of its mail along


def remove(uuid: str, actor: Actor) -> None:
    """Remove a mailbox; it can be restored for UNDO_SECONDS. Mail on its server and delivered mail stay."""
    with db.transaction():
        account = service.find_account(uuid)
        mark([account.uuid], db.now())
        actor.record("mailbox removed", account.address)


def mark(uuids: list[str], at: int) -> int:
    """Mark them as removed, and end rounds that are under way. How many were not yet. In a transaction."""
    chosen = Account.uuid.in_(uuids) & Account.removed_at.is_null()
    changed = int(Account.update(removed_at=at).where(chosen).execute())
    Collection.update(leased_by=None, leased_until=0).where(Collection.account.in_(uuids)).execute()
    SpoolCount.delete().where(SpoolCount.account.in_(uuids)).execute()
    return changed


def find(name: str) -> Account | None:
    """The removed mailbox of that uuid or address, where there is none that was not removed."""
    same = Account.address == name if "@" in name else Account.uuid == name
    found: Account | None = Account.select().where(same).order_by(Account.removed_at).first()
    return found if found is not None and found.removed_at is not None else None


def restore(name: str, actor: Actor) -> str:
    """Undo `remove`, by uuid or address, with cursor, password and whether it was paused; its address.

    Raises NotFound where it is gone for good, and Refused where its address was added again.
    """
    with db.transaction():
        same = Account.address == name if "@" in name else Account.uuid == name
        latest = Account.removed_at.desc()
        found: Account | None = Account.select().where(same & _restorable()).order_by(latest).first()
        if found is None:
            raise NotFound(
                f"There is no removed mailbox “{name[:80]}” to restore.",
                f"A removed mailbox is kept for {UNDO_SECONDS // 60} minutes. Add it again.",
            )
        if found.address.lower() in service.addresses():
            raise Refused(
                f"{found.address} has been added again, so the removed one was not restored.",
                "Remove the new one first to get the old one back.",
            )
        Account.update(removed_at=None).where(Account.uuid == found.uuid).execute()
        actor.record("mailbox restored", found.address)
        return str(found.address)


def restore_many(uuids: list[str], actor: Actor) -> tuple[int, tuple[str, ...]]:
    """The same for many, in one transaction: how many were restored, and why others were not."""
    with db.transaction():
        taken, restored, problems = service.addresses(), [], []
        for account in Account.select().where(Account.uuid.in_(uuids) & _restorable()):
            if account.address.lower() in taken:
                problems.append(f"{account.address}: it has been added again.")
                continue
            taken.add(account.address.lower())
            restored.append(account)
        Account.update(removed_at=None).where(Account.uuid.in_([each.uuid for each in restored])).execute()
        actor.record_each("mailbox restored", [each.address for each in restored])
    return len(restored), tuple(problems)


def purge(*, uuid: str | None = None) -> int:
    """Delete for good what was removed more than UNDO_SECONDS ago, or at once the removed mailbox `uuid`.

    A time ahead of now counts as long ago: a wrong clock must not keep passwords. How many there were.
    """
    expired = Account.uuid == uuid if uuid else ~_restorable()
    which = Account.select(Account.uuid).where(Account.removed_at.is_null(False) & expired).limit(BATCH)
    total = 0
    while deleted := int(Account.delete().where(Account.uuid.in_(which)).execute()):
        total += deleted
    if total:
        detail = f"{counted(total, 'mailbox')}, with passwords."
        audit.record("removed mailboxes deleted", detail=detail, who=None if uuid else "worker")
    return total


def is_due() -> bool:
    return bool(Account.select().where(Account.removed_at.is_null(False) & ~_restorable()).exists())


def _restorable() -> Any:
    now = db.now()
    return (Account.removed_at > now - UNDO_SECONDS) & (Account.removed_at <= now + SLACK)
