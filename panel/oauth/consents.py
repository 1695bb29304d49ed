"""The consent row around a refresh: whose turn it is, and what is stored in which order.

With refresh tokens that change at each use, using an old one ends the whole consent at strict providers
(RFC 9700, 4.14.2). So one process at a time asks for a consent, with the token that it reads once it has the
lease; the new one is stored before anything is done with what came beside it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from panel import db, process
from panel.errors import ConsentNeeded, Tampered
from panel.models import Consent
from panel.models.moment import is_ahead
from panel.models.prepared import Prepared, given
from panel.oauth import sentences
from panel.oauth.session import LONGEST_CALL
from panel.secret import Secret
from panel.vault import credential
from panel.vault.vault import Vault

# Two calls, since a lost answer is asked for again, and the database's patience at both ends.
LEASE_SECONDS = int(2 * LONGEST_CALL + 2 * db.BUSY_SECONDS)


GLANCED = (
    "uid", "app", "account_id", "signs_in_as", "subject", "kind", "rev", "sealed", "clear",
    "connected_at", "ended_at",
)  # fmt: skip
_GLANCE = Prepared(
    lambda: Consent.select(*(Consent._meta.fields[name.removesuffix("_id")] for name in GLANCED)).where(
        Consent.uid == given("uid")
    )
)


@dataclass(frozen=True)
class Held:
    """A lease: the refresh token to use, and until when (monotonic) a call for it may begin."""

    uid: str
    owner: str
    token: Secret
    stamp: object
    begins_before: float


def stamp(row: Consent) -> object:
    """Of which connecting a consent is: an access token of another one is not used."""
    return (row.connected_at, row.subject)


def find(uid: str) -> Consent:
    """The row of a consent. Raises ConsentNeeded where it is gone."""
    found: Consent | None = Consent.get_or_none(Consent.uid == uid)
    if found is None:
        raise sentences.waits()
    return found


def glance(uid: str) -> tuple[object, ...] | None:
    """All that the row of a consent says, without opening it; equal to what `glanced` makes of the same."""
    row = _GLANCE.first(uid=uid)
    return None if row is None else tuple(row)


def glanced(row: Consent) -> tuple[object, ...]:
    """`glance` of a row that was read."""
    return tuple(getattr(row, name) for name in GLANCED)


def opened(consent: Consent, account: str, vault: Vault) -> Secret:
    """The refresh token of a consent that holds for `account`; empty where there is none.

    Raises ConsentNeeded where the provider has ended it, CannotOpen where the row is not authentic.
    """
    token = credential.open_row(consent, vault)
    if str(consent.account_id) != account:
        raise Tampered(
            "The consent of another mailbox was put in the place of this one's, outside Mailkeep.",
            "Connect the mailbox again.",
        )
    if consent.ended_at is not None:
        raise sentences.ended(str(consent.ended_code or ""))
    return token


def take(uid: str, account: str, vault: Vault) -> Held | None:
    """Take the lease of a consent; None where another process has it.

    It is taken by storing the present token again, just as the new one will be: what would go wrong then goes
    wrong now, before the old token was used. Raises CannotStore, DatabaseError and what `opened` raises.
    """
    owner, began = process.holder(), time.monotonic()
    with db.explained(), Consent.storing():
        row = find(uid)
        token = opened(row, account, vault)
        if not _is_free(row, vault):
            return None
        if not token.reveal():
            raise sentences.waits()
        row.lease_owner, row.lease_until = owner, db.now() + LEASE_SECONDS
        row.secret = token
        row.save()
    return Held(uid, owner, token, stamp(row), began + LEASE_SECONDS - LONGEST_CALL - db.BUSY_SECONDS)


def _is_free(row: Consent, vault: Vault) -> bool:
    """Whether nobody holds the lease, or whoever did has ended.

    Of a living process of this machine it ends only once it was seen for its time by the monotonic clock:
    the wall clock may have jumped, or be another in that process.
    """
    owner, until = row.lease_owner, row.lease_until
    if owner is None or process.is_dead(str(owner)):
        return True
    if process.is_alive(str(owner)):
        now = time.monotonic()
        seen: dict[str, tuple[str, float]] = vault.memory.setdefault("leases", {})  # whose, since when
        held, since = seen.get(str(row.uid), ("", now))
        seen[str(row.uid)] = str(owner), since if held == owner else now
        return held == owner and now - since > LEASE_SECONDS
    return not isinstance(until, int) or until <= db.now() or is_ahead(until, LEASE_SECONDS)


def store(held: Held, new: Secret, vault: Vault) -> bool:
    """Store `new` in the place of the token that was used, durably, and give the lease back.

    False where the mailbox was connected anew meanwhile: the stored consent is the newer one, and stays.
    """
    with db.explained(), Consent.storing():
        row = Consent.get_or_none(Consent.uid == held.uid)
        if row is None or credential.open_row(row, vault).reveal() != held.token.reveal():
            return False
        row.secret = new
        if row.lease_owner == held.owner:
            row.lease_owner = row.lease_until = None
        row.save()
    return True


def end(held: Held, error: ConsentNeeded, vault: Vault) -> None:
    """The provider has ended this consent: note it, unless the mailbox was connected anew meanwhile."""
    with db.explained(), db.transaction():
        row = Consent.get_or_none(Consent.uid == held.uid)
        if row is not None and credential.open_row(row, vault).reveal() == held.token.reveal():
            Consent.update(ended_at=db.now(), ended_code=error.code).where(
                Consent.uid == held.uid, Consent.ended_at.is_null()
            ).execute()


def release(held: Held) -> None:
    """Give the lease back, if it is still ours."""
    with db.explained():
        Consent.update(lease_owner=None, lease_until=None).where(
            Consent.uid == held.uid, Consent.lease_owner == held.owner
        ).execute()
