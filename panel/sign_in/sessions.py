"""Who is signed in: rows in the database, named by a token that only the browser has.

The token is replaced whenever the password was typed or the role changed; the row stays, and with it
the form token, so that pages that are open live on. See docs/decisions/0020-session-tokens.md.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field

from flask_login import UserMixin
from peewee import Expression

from panel import db
from panel.models.sign_in import ROLES, Person, Session

IDLE_SECONDS = 12 * 3600
LONGEST_SECONDS = 7 * 24 * 3600
SEEN_SECONDS = 60  # a request writes that it was here at most once in this time
AHEAD_SECONDS = 60  # a clock that is set right may go back by so much; a time further ahead is not believed
TOKEN_BYTES = 32
# As text: each request asks it, and Peewee takes fifteen times as long to write it.
# CAST: whatever SQL put there.
FIND = (
    "SELECT s.created_at BETWEEN ? AND ? AND s.seen_at BETWEEN ? AND ?, s.id, s.seen_at,"
    " CAST(s.role AS TEXT), CAST(p.role AS TEXT), s.confirmed_at, s.renewal_due,"
    " CAST(s.form_token AS TEXT), p.id, CAST(p.email AS TEXT), CAST(p.name AS TEXT)"
    " FROM session s JOIN person p ON p.id = s.person_id WHERE s.token_hash = ? AND p.disabled_at IS NULL"
)


@dataclass(frozen=True)
class Visitor(UserMixin):
    """The person whom a request comes from, and the session that it comes in."""

    id: int
    email: str
    name: str
    role: str  # what this session may do
    granted_role: str  # what the person may do; more than `role` only until the password is typed again
    session_id: int
    confirmed_at: int | None
    renewal_due: bool
    form_token: str = field(repr=False)
    token_hash: bytes = field(repr=False)


def begin(person_id: int, address: str, agent: str) -> str:
    """A new session of that person, who has just typed the password; returns its token."""
    token, now = secrets.token_urlsafe(TOKEN_BYTES), db.now()
    Session.delete().where(~living(now)).execute()
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


def living(now: int) -> Expression:
    """The sessions that are not over at `now`. One from the future is: nobody knows how old it is."""
    begun, seen, newest = _bounds(now)
    return Session.created_at.between(begun, newest) & Session.seen_at.between(seen, newest)


def _bounds(now: int) -> tuple[int, int, int]:
    """When a session that lives began at the earliest, was seen at the earliest, and both at the latest."""
    return now - LONGEST_SECONDS + 1, now - IDLE_SECONDS + 1, now + AHEAD_SECONDS


def find(token: str) -> Visitor | None:
    """Who holds `token`; None where it is unknown, over, or its person disabled."""
    now = db.now()
    begun, seen, newest = _bounds(now)
    token_hash = _hash(token)
    row = db.database.execute_sql(FIND, (begun, newest, seen, newest, token_hash)).fetchone()
    if row is None:
        return None
    lives, session_id, seen_at, role, person_role, confirmed_at, renewal_due, form_token, *who = row
    if not lives:
        Session.delete().where(Session.id == session_id).execute()  # one from the future would live one day
        return None
    if seen_at <= now - SEEN_SECONDS:
        Session.update(seen_at=now).where(Session.id == session_id).execute()
    confirmed_at = confirmed_at if isinstance(confirmed_at, int) else None
    return Visitor(
        *who, max(role, person_role, key=_rank), person_role, session_id, confirmed_at, bool(renewal_due),
        form_token, token_hash,
    )  # fmt: skip


def _rank(role: str) -> int:
    """The higher, the less it may do; nothing at all where it is none of ours."""
    return ROLES.index(role) if role in ROLES else len(ROLES)


def is_current(token: str) -> bool:
    """Whether `token` still names a session."""
    return bool(Session.select().where(Session.token_hash == _hash(token)).exists())


def renew(visitor: Visitor, *, confirmed: bool) -> str | None:
    """Replace the visitor's token; the one until now is worth nothing from here on. The new token.

    `confirmed`: the password was typed just now, so the session has the person's whole role again.
    None where another request of the same session was quicker: its answer carries the token.
    """
    token = secrets.token_urlsafe(TOKEN_BYTES)
    new: dict[str, object] = {"token_hash": _hash(token), "renewal_due": False}
    if confirmed:
        new |= {"confirmed_at": db.now(), "role": Person.get_by_id(visitor.id).role}
    mine = (Session.id == visitor.session_id) & (Session.token_hash == visitor.token_hash)
    return token if Session.update(new).where(mine).execute() else None


def end(token: str) -> None:
    """End the session; its token is worth nothing from now on."""
    Session.delete().where(Session.token_hash == _hash(token)).execute()


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
