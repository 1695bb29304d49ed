"""Sessions: rows in the database, found by a token that only the browser has.

Re-authentication and a changed role replace the token; the row stays, and with it the form token, so that
open pages keep working. See docs/decisions/0020-session-tokens.md.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field

from flask_login import UserMixin
from peewee import Expression

from panel import db, times
from panel.models.sign_in import ROLES, THEMES, Person, Session

IDLE_SECONDS = 12 * 3600
LONGEST_SECONDS = 7 * 24 * 3600
SEEN_SECONDS = 60  # `seen_at` is written at most once in this time
AHEAD_SECONDS = 60  # how far a corrected clock may go back; times further in the future are not trusted
TOKEN_BYTES = 32
# As text: every request runs it, and Peewee takes fifteen times as long to build it.
# CAST: SQL may have stored any type.
FIND = (
    "SELECT s.created_at BETWEEN ? AND ? AND s.seen_at BETWEEN ? AND ?, s.id, s.seen_at,"
    " CAST(s.role AS TEXT), CAST(p.role AS TEXT), s.confirmed_at, s.renewal_due,"
    " CAST(s.form_token AS TEXT), CAST(p.timezone AS TEXT), CAST(p.theme AS TEXT),"
    " p.id, CAST(p.email AS TEXT), CAST(p.name AS TEXT)"
    " FROM session s JOIN person p ON p.id = s.person_id WHERE s.token_hash = ? AND p.disabled_at IS NULL"
)


@dataclass(frozen=True)
class Visitor(UserMixin):
    """The person who makes a request, and their session."""

    id: int
    email: str
    name: str
    role: str  # what this session may do
    granted_role: str  # what the person may do; higher than `role` only until re-authentication
    session_id: int
    confirmed_at: int | None
    renewal_due: bool
    timezone: str  # an IANA name; empty: the server's
    theme: str  # light or dark; empty: as the system is set
    form_token: str = field(repr=False)
    token_hash: bytes = field(repr=False)


def begin(person_id: int, address: str, agent: str) -> str:
    """Start a session for a person who has just entered the password; its token."""
    token, now = secrets.token_urlsafe(TOKEN_BYTES), db.now()
    Session.delete().where(~active(now)).execute()
    Person.update(last_sign_in_at=now).where(Person.id == person_id).execute()
    Session.create(
        token_hash=_hash(token),
        person=person_id,
        created_at=now,
        seen_at=now,
        confirmed_at=now,
        address=address[:64],
        agent=agent[:300],
        form_token=secrets.token_urlsafe(TOKEN_BYTES),
        role=Person.get_by_id(person_id).role,
    )
    return token


def active(now: int) -> Expression:
    """The sessions that have not expired at `now`. One from the future has: its age is unknown."""
    begun, seen, newest = _bounds(now)
    return Session.created_at.between(begun, newest) & Session.seen_at.between(seen, newest)


def _bounds(now: int) -> tuple[int, int, int]:
    """Of an active session: its earliest start, the earliest time it was last seen, the latest for both."""
    return now - LONGEST_SECONDS + 1, now - IDLE_SECONDS + 1, now + AHEAD_SECONDS


def find(token: str) -> Visitor | None:
    """Whose `token` it is; None if it is unknown or expired, or the person is disabled."""
    now = db.now()
    begun, seen, newest = _bounds(now)
    token_hash = _hash(token)
    row = db.database.execute_sql(FIND, (begun, newest, seen, newest, token_hash)).fetchone()
    if row is None:
        return None
    is_active, session_id, seen_at, role, person_role, confirmed_at, renewal_due, form_token, *person = row
    zone, theme, *who = person
    if not is_active:
        # One from the future would become active one day.
        Session.delete().where(Session.id == session_id).execute()
        return None
    if seen_at <= now - SEEN_SECONDS:
        Session.update(seen_at=now).where(Session.id == session_id).execute()
    confirmed_at = confirmed_at if isinstance(confirmed_at, int) else None
    return Visitor(
        *who, max(role, person_role, key=_rank), person_role, session_id, confirmed_at, bool(renewal_due),
        times.known_zone(zone), theme if theme in THEMES else "", form_token, token_hash,
    )  # fmt: skip


def _rank(role: str) -> int:
    """The higher the number, the fewer rights; an unknown role has none."""
    return ROLES.index(role) if role in ROLES else len(ROLES)


def is_current(token: str) -> bool:
    """Whether `token` still belongs to a session."""
    return bool(Session.select().where(Session.token_hash == _hash(token)).exists())


def renew(visitor: Visitor, *, confirmed: bool) -> str | None:
    """Replace the visitor's token, which stops working; the new one.

    `confirmed`: the person has just re-authenticated, so the session gets the person's full role.
    None if another request of the same session replaced it first: that response carries the new token.
    """
    token = secrets.token_urlsafe(TOKEN_BYTES)
    new: dict[str, object] = {"token_hash": _hash(token), "renewal_due": False}
    if confirmed:
        new |= {"confirmed_at": db.now(), "role": Person.get_by_id(visitor.id).role}
    mine = (Session.id == visitor.session_id) & (Session.token_hash == visitor.token_hash)
    return token if Session.update(new).where(mine).execute() else None


def end(token: str) -> None:
    Session.delete().where(Session.token_hash == _hash(token)).execute()


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
