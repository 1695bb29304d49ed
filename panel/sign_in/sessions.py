"""Who is signed in: rows in the database, named by a token that only the browser has."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

from flask_login import UserMixin

from panel import db
from panel.models.person import Person
from panel.models.session import Session

IDLE_SECONDS = 12 * 3600
LONGEST_SECONDS = 7 * 24 * 3600
SEEN_SECONDS = 60  # a request writes that it was here at most once in this time
TOKEN_BYTES = 32


@dataclass(frozen=True)
class Visitor(UserMixin):
    """The person whom a request comes from, and the session that it comes in."""

    id: int
    email: str
    name: str
    role: str
    session_id: int
    confirmed_at: int | None


def begin(person_id: int, address: str, agent: str) -> str:
    """A new session of that person, who has just typed the password; returns its token."""
    token, now = secrets.token_urlsafe(TOKEN_BYTES), db.now()
    _remove_expired(now)
    Session.create(
        token_hash=_hash(token),
        person=person_id,
        created_at=now,
        seen_at=now,
        confirmed_at=now,
        address=address[:64],
        agent=agent[:300],
    )
    return token


def find(token: str) -> Visitor | None:
    """Who holds `token`; None where it is unknown, over, or its person disabled."""
    now = db.now()
    row = (
        Session.select(Session, Person)
        .join(Person)
        .where(
            Session.token_hash == _hash(token),
            Session.created_at > now - LONGEST_SECONDS,
            Session.seen_at > now - IDLE_SECONDS,
            Person.disabled_at.is_null(),
        )
        .first()
    )
    if row is None:
        return None
    if row.seen_at <= now - SEEN_SECONDS:
        Session.update(seen_at=now).where(Session.id == row.id).execute()
    person = row.person
    return Visitor(person.id, person.email, person.name, person.role, row.id, row.confirmed_at)


def end(token: str) -> None:
    """End the session; its token is worth nothing from now on."""
    Session.delete().where(Session.token_hash == _hash(token)).execute()


def set_confirmed(session_id: int) -> None:
    """Note that the password was typed again just now."""
    Session.update(confirmed_at=db.now()).where(Session.id == session_id).execute()


def _remove_expired(now: int) -> None:
    over = (Session.created_at <= now - LONGEST_SECONDS) | (Session.seen_at <= now - IDLE_SECONDS)
    Session.delete().where(over).execute()


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
