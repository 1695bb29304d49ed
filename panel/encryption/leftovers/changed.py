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
    boxes = [
        Mailbox(
            account=str(endpoint.account.uuid),
            address=str(endpoint.account.address),
            direction=str(endpoint.direction),
            changed_at=_if_later(endpoint.secret_set_at, at),
            added=_if_later(endpoint.account.created_at, at) is not None,
        )
        for endpoint in query.order_by(Account.address, Endpoint.direction)
    ]
    return Checklist(
        tuple(box for box in boxes if box.changed_at is None),
        tuple(box for box in boxes if box.changed_at is not None),
    )


def _if_later(moment: object, at: int) -> int | None:
    return moment if isinstance(moment, int) and moment > at else None
