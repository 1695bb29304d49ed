"""How many wrong passwords are taken, counted in the database and so for all processes together."""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass

from panel import db
from panel.errors import Throttled
from panel.models.sign_in_try import SignInTry
from panel.people.service import fold_email

WINDOW = 15 * 60  # seconds
PER_ACCOUNT = 10  # wrong passwords in a window
PER_ADDRESS = 50  # many people may sit behind one address
V6_PREFIX = 64  # what one subscriber has, so one address of it says nothing


@dataclass(frozen=True)
class Try:
    """A sign-in that has been counted before its password is looked at."""

    account: str
    ids: tuple[int, ...]


def begin(email: str, address: str) -> Try:
    """Count one try, as if it had failed; several at the same moment cannot slip past each other.

    Raises Throttled, whose hint says how long to wait, where the account or the
    address has none left. A refused try is not counted: waiting always helps.
    """
    account, network = _account(email), _network(address)
    now = db.now()
    with db.transaction():
        SignInTry.delete().where(SignInTry.at <= now - WINDOW).execute()
        _require_left(account, PER_ACCOUNT, now)
        _require_left(network, PER_ADDRESS, now)
        return Try(account, tuple(SignInTry.create(who=who, at=now).id for who in (account, network)))


def succeeded(tried: Try) -> None:
    """Forget `tried` and what failed before for that account; other failures of the address stay."""
    SignInTry.delete().where((SignInTry.id << tried.ids) | (SignInTry.who == tried.account)).execute()


def _require_left(who: str, limit: int, now: int) -> None:
    times = [
        row.at
        for row in SignInTry.select().where(SignInTry.who == who).order_by(SignInTry.at.desc()).limit(limit)
    ]
    if len(times) == limit:
        minutes = max(1, -(-(times[-1] + WINDOW - now) // 60))
        raise Throttled(
            "There were too many wrong passwords.",
            f"Wait {minutes} minute{'s' if minutes > 1 else ''}, then try again.",
        )


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
