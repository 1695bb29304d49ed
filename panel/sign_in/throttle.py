"""Limits on wrong passwords, counted in the database for all processes together.

Each key begins with its kind, so that nothing typed can be the key of another kind. A browser in which the
person has signed in before has a limit of its own; all others share the limits of the account and of the
network they come from. See docs/decisions/0021-device-cookies.md.
"""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass

from panel import db
from panel.errors import Throttled
from panel.models.sign_in import SignInTry
from panel.people.names import fold_email

WINDOW = 60 * 60  # seconds, for unknown browsers
PER_ACCOUNT = 10  # wrong passwords in a window
PER_ADDRESS = 50  # many people may share one address
V6_PREFIX = 64  # one subscriber has all addresses of it
KNOWN_WINDOW = 15 * 60  # for a known browser, and for a session
PER_DEVICE = 5
PER_SESSION = 10
PER_PERSON = 30  # in all sessions of a person together
PER_OWNER = 1_000  # by one Unix user to send, as whomever, or it would delete the rows of all others
MOST_ROWS = 50_000  # the oldest are deleted first


@dataclass(frozen=True)
class Limit:
    """How many wrong passwords are allowed for one key in `window` seconds."""

    key: str
    most: int
    window: int


@dataclass(frozen=True)
class Attempt:
    """An attempt that was counted before its password is checked."""

    key: str  # whose failures a success clears
    ids: tuple[int, ...]


def count_sign_in(email: str, address: str, device: str | None = None) -> Attempt:
    """Count one attempt to sign in as failed, so that simultaneous ones cannot exceed a limit together.

    `device`: the id of a browser in which that person has signed in before; only its own limit counts then.
    Raises Throttled, whose remedy says how long to wait, if a limit is reached. A refused attempt is not
    counted: waiting always helps.
    """
    if device is not None:
        return _count(Limit(f"device:{device}", PER_DEVICE, KNOWN_WINDOW))
    return _count(Limit(_account(email), PER_ACCOUNT, WINDOW), Limit(_network(address), PER_ADDRESS, WINDOW))


def count_reauth(session: str, person_id: int) -> Attempt:
    """Count one re-authentication, for its session and person only. As `count_sign_in`."""
    return _count(
        Limit(f"session:{session}", PER_SESSION, KNOWN_WINDOW),
        Limit(f"person:{person_id}", PER_PERSON, KNOWN_WINDOW),
    )


def count_submission(address: str, owner: str) -> Attempt:
    """Count one attempt of the Unix user `owner` to send as a mailbox: others are not locked out by it.

    As `count_sign_in`.
    """
    return _count(
        Limit(f"{_submission(address)}:{owner}", PER_SESSION, KNOWN_WINDOW),
        Limit(f"submitter:{owner}", PER_OWNER, WINDOW),
    )


def forgive_submission(address: str) -> None:
    """The mailbox has a new password: what was tried with the last one counts no more."""
    SignInTry.delete().where(SignInTry.who.startswith(f"{_submission(address)}:")).execute()


def succeeded(attempt: Attempt) -> None:
    """Clear `attempt` and earlier failures of its key; other failures of the network stay counted."""
    SignInTry.delete().where((SignInTry.id << attempt.ids) | (SignInTry.who == attempt.key)).execute()


def _count(*limits: Limit) -> Attempt:
    now = db.now()
    with db.transaction():
        # A clock that was ahead left attempts in the future: they count as of now.
        SignInTry.update(at=now).where(SignInTry.at > now).execute()
        SignInTry.delete().where(SignInTry.at <= now - WINDOW).execute()
        wait = max(_wait(limit, now) for limit in limits)
        ids = [] if wait else [SignInTry.create(who=limit.key, at=now).id for limit in limits]
        if ids:
            SignInTry.delete().where(SignInTry.id <= ids[-1] - MOST_ROWS).execute()
    if wait:  # raised outside the transaction, so that the corrections above are committed
        minutes = -(-wait // 60)
        raise Throttled(
            "Too many wrong passwords were entered.",
            f"Wait {minutes} minute{'s' if minutes > 1 else ''}, then try again.",
        )
    return Attempt(limits[0].key, tuple(ids))


def _wait(limit: Limit, now: int) -> int:
    """Seconds until one more wrong password is allowed; 0 if it is now."""
    recent = (SignInTry.who == limit.key) & (SignInTry.at > now - limit.window)
    newest = SignInTry.select().where(recent).order_by(SignInTry.at.desc()).limit(limit.most)
    times = [row.at for row in newest]
    return times[-1] + limit.window - now if len(times) == limit.most else 0


def _account(email: str) -> str:
    return f"account:{_digest(email)}"


def _submission(address: str) -> str:
    return f"submission:{_digest(address)}"


def _digest(email: str) -> str:
    # People enter their password into this field by mistake.
    return hashlib.sha256(fold_email(email).encode("utf-8", "replace")).hexdigest()


def _network(address: str) -> str:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return "address:unknown"
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    if isinstance(ip, ipaddress.IPv6Address):
        return f"address:{ipaddress.ip_network((int(ip), V6_PREFIX), strict=False)}"
    return f"address:{ip}"
