"""Which mailbox passwords were changed since encryption was turned on: old backups hold the others.

It goes by when a person last entered each; for people only, nothing is decided by it.
"""

from __future__ import annotations

from dataclasses import dataclass

from panel.models import Account, Endpoint


@dataclass(frozen=True)
class Mailbox:
    """The password of one server of an account. `changed_at` is None where old backups still hold it."""

    account: str
    address: str
    direction: str  # in, out
    changed_at: int | None
    added: bool  # the account itself came later: its password never stood in clear


@dataclass(frozen=True)
class Checklist:
    """All stored passwords by address, the unchanged ones apart."""

    unchanged: tuple[Mailbox, ...] = ()
    changed: tuple[Mailbox, ...] = ()

    @property
    def total(self) -> int:
        """How many there are."""
        return len(self.unchanged) + len(self.changed)


def since(at: int | None) -> Checklist:
    """The checklist for encryption that was turned on at `at`; empty where it is not on.

    What was entered in that very second may have been stored just before: it counts as unchanged.
    """
    if at is None:
        return Checklist()
    ever = (
        Endpoint.clear.is_null(False) | Endpoint.sealed.is_null(False) | Endpoint.secret_set_at.is_null(False)
    )
    query = Endpoint.select(Endpoint, Account).join(Account).where(ever)
    boxes = [_mailbox(endpoint, at) for endpoint in query.order_by(Account.address, Endpoint.direction)]
    return Checklist(
        tuple(box for box in boxes if box.changed_at is None),
        tuple(box for box in boxes if box.changed_at is not None),
    )


def _mailbox(endpoint: Endpoint, at: int) -> Mailbox:
    account, entered = endpoint.account, endpoint.secret_set_at
    return Mailbox(
        account=str(account.uuid),
        address=str(account.address),
        direction=str(endpoint.direction),
        changed_at=entered if _is_later(entered, at) else None,
        added=_is_later(account.created_at, at),
    )


def _is_later(moment: object, at: int) -> bool:
    return isinstance(moment, int) and moment > at
