"""How many wrong passwords are taken, counted in the database and so for all processes together.

Each count has a key with its kind before it, so that nothing typed can be the key of another kind. A
browser in which the person signed in before has a budget of its own; all others share those of the
account and of the place they come from. See docs/decisions/0021-device-cookies.md.
"""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass

from panel import db
from panel.errors import Throttled
from panel.models.sign_in import SignInTry
from panel.people.service import fold_email

WINDOW = 60 * 60  # seconds, for browsers that are not known
PER_ACCOUNT = 10  # wrong passwords in a window
PER_ADDRESS = 50  # many people may sit behind one address
V6_PREFIX = 64  # what one subscriber has, so one address of it says nothing
KNOWN_WINDOW = 15 * 60  # for a known browser, and for a session
PER_DEVICE = 5
PER_SESSION = 10
PER_PERSON = 30  # of all sessions of a person together
MOST_ROWS = 50_000  # the oldest go first; to push one out takes this many tries within the hour


@dataclass(frozen=True)
class Budget:
    """How many wrong passwords are taken for one key in how many seconds."""

    key: str
    limit: int
    window: int


@dataclass(frozen=True)
class Try:
    """A sign-in that has been counted before its password is looked at."""

    account: str  # the key whose failures a success forgets
    ids: tuple[int, ...]


def begin(email: str, address: str, device: str | None = None) -> Try:
    """Count one try to sign in, as if it had failed; several at the same moment cannot slip past each other.

    `device`: the number of a browser in which that person signed in before; only its own budget counts then.
    Raises Throttled, whose hint says how long to wait, where there is none left. A refused try is not
    counted: waiting always helps.
    """
    if device is not None:
        return _count(Budget(f"device:{device}", PER_DEVICE, KNOWN_WINDOW))
    return _count(
        Budget(_account(email), PER_ACCOUNT, WINDOW), Budget(_network(address), PER_ADDRESS, WINDOW)
    )


def begin_again(session: str, person_id: int) -> Try:
    """Count one try to type the password again in a session: by it and its person alone. As `begin`."""
    return _count(
        Budget(f"session:{session}", PER_SESSION, KNOWN_WINDOW),
        Budget(f"person:{person_id}", PER_PERSON, KNOWN_WINDOW),
    )


def succeeded(tried: Try) -> None:
    """Forget `tried` and what failed before for that account; other failures of the address stay."""
    SignInTry.delete().where((SignInTry.id << tried.ids) | (SignInTry.who == tried.account)).execute()


def _count(*budgets: Budget) -> Try:
    now = db.now()
    with db.transaction():
        # A clock that was ahead leaves tries behind that are yet to come: they count as of now.
        SignInTry.update(at=now).where(SignInTry.at > now).execute()
        SignInTry.delete().where(SignInTry.at <= now - WINDOW).execute()
        wait = max(_wait(budget, now) for budget in budgets)
        ids = [] if wait else [SignInTry.create(who=budget.key, at=now).id for budget in budgets]
        if ids:
            SignInTry.delete().where(SignInTry.id <= ids[-1] - MOST_ROWS).execute()
    if wait:  # said out here, so that what was put right above stays
        minutes = -(-wait // 60)
        raise Throttled(
            "There were too many wrong passwords.",
            f"Wait {minutes} minute{'s' if minutes > 1 else ''}, then try again.",
        )
    return Try(budgets[0].key, tuple(ids))


def _wait(budget: Budget, now: int) -> int:
    """Seconds until one more wrong password is taken; 0 for now."""
    recent = (SignInTry.who == budget.key) & (SignInTry.at > now - budget.window)
    newest = SignInTry.select().where(recent).order_by(SignInTry.at.desc()).limit(budget.limit)
    times = [row.at for row in newest]
    return times[-1] + budget.window - now if len(times) == budget.limit else 0


def _account(email: str) -> str:
    # As a digest: people type their password into this field by mistake.
    return "account:" + hashlib.sha256(fold_email(email).encode("utf-8", "replace")).hexdigest()


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
