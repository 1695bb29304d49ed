"""Invitation links: with one, a person chooses their own login password. It works once, for a day.

Only its hash is stored. A new link, a new password, disabling and deleting end it.
"""

from __future__ import annotations

import hashlib
import secrets

from panel import db
from panel.audit import Actor
from panel.crypto import login_hash
from panel.errors import NotFound, Refused
from panel.models.sign_in import INVITATION_SECONDS, Person
from panel.people import password_rules, service
from panel.people.service import SHELL, PersonInfo
from panel.secret import Secret

TOKEN_BYTES = 32


def create(person_id: int, actor: Actor = SHELL) -> str:
    """A new link for the person, as a path; earlier ones end. The current password stays until then.

    Raises NotFound, Refused for a person whose access is disabled.
    """
    token = secrets.token_urlsafe(TOKEN_BYTES)
    with db.transaction():
        person = service.row(person_id)
        if person.disabled_at is not None:
            raise Refused(f"Access for {person.email} is disabled.", "Enable it first.")
        until = db.now() + INVITATION_SECONDS
        service.update(person, invitation_hash=_hash(token), invited_until=until)
        actor.record("invitation created", person.email)
    return f"/invitation/{token}"


def find(token: str) -> PersonInfo:
    """Whose link it is. Raises NotFound, with the same words, where it is unknown, used, ended or expired."""
    return PersonInfo.of(_row(token))


def accept(token: str, password: Secret, address: str) -> PersonInfo:
    """Set the login password of the link's person and end their sessions and the link.

    Of simultaneous calls one succeeds. Raises NotFound as `find`, BadInput for a password that is refused.
    """
    person = _row(token)
    password_rules.check(password, person.email, person.name)
    hashed = login_hash.hash_password(password)
    with db.transaction():
        person = _row(token)  # it may have been used meanwhile
        service.update(person, login_hash=hashed, **service.NO_INVITATION)
        service.end_sessions(person)
        Actor(person.email, address).record("invitation accepted", person.email)
    return service.get(person.id)


def _row(token: str) -> Person:
    now = db.now()
    current = Person.invited_until.between(now + 1, now + INVITATION_SECONDS)
    matches = (Person.invitation_hash == _hash(token)) & Person.disabled_at.is_null()
    person: Person | None = Person.get_or_none(matches & current)
    if person is None:
        raise NotFound(
            "This invitation link does not work: it was used, replaced or is older than a day.",
            "Ask an administrator for a new one.",
        )
    return person


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
