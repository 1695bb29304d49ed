"""Signing in, signing out, and re-authentication before a dangerous step."""

from __future__ import annotations

import logging

from panel import db
from panel.audit import record
from panel.crypto import login_hash
from panel.errors import BadInput
from panel.models.sign_in import Person
from panel.people.names import fold_email
from panel.secret import Secret
from panel.sign_in import sessions, throttle
from panel.sign_in.devices import DeviceCookie
from panel.sign_in.sessions import Visitor

logger = logging.getLogger("mailkeep.sign_in")


def sign_in(
    email: str, password: Secret, address: str, agent: str, device: DeviceCookie | None = None
) -> str:
    """Start a session for the person with this address and password; its token.

    `device`: the browser's device cookie. Raises BadInput, with the same message and after the same time
    for a wrong password, an unknown address and a disabled person; Throttled after too many.
    """
    person = Person.get_or_none(Person.email == fold_email(email))
    attempt = throttle.count_sign_in(email, address, device.id_for(person) if device else None)
    matches = _matches(person, password)
    if person is None or person.disabled_at or not matches:
        raise _refused(person, address)
    with db.transaction():
        same = (Person.id == person.id) & (Person.login_hash == person.login_hash)
        if not Person.select().where(same & Person.disabled_at.is_null()).exists():
            raise _refused(person, address)  # changed or disabled while the hash was verified
        throttle.succeeded(attempt)
        token = sessions.begin(person.id, address, agent)
        record("signed in", person.email, who=person.email, address=address)
    _upgrade_hash(person, password)
    return token


def _refused(person: Person | None, address: str) -> BadInput:
    _record_failure(person, address)
    return BadInput(
        "The email address or the password is wrong.", "Check both, then try again.", field="password"
    )


def reauthenticate(visitor: Visitor, password: Secret, address: str) -> str | None:
    """Check the visitor's own password and renew the session; its new token.

    None if another request renewed it first. Raises as `check_password`.
    """
    check_password(visitor, password, address)
    return sessions.renew(visitor, confirmed=True)


def check_password(visitor: Visitor, password: Secret, address: str) -> None:
    """Check the visitor's own password, and leave the session as it is.

    Raises BadInput if it is wrong, Throttled after too many in this session or by this person,
    whatever was entered elsewhere.
    """
    attempt = throttle.count_reauth(visitor.form_token, visitor.id)
    person = Person.get_or_none((Person.id == visitor.id) & Person.disabled_at.is_null())
    if not _matches(person, password):
        _record_failure(person, address, who=visitor.email)
        raise BadInput("The password is wrong.", "Enter the one that you sign in with.", field="password")
    throttle.succeeded(attempt)


def sign_out(visitor: Visitor, token: str, address: str) -> None:
    with db.transaction():
        sessions.end(token)
        record("signed out", visitor.email, who=visitor.email, address=address)


def _matches(person: Person | None, password: Secret) -> bool:
    return login_hash.verify(password, person.login_hash if person else login_hash.NONE)


def _record_failure(person: Person | None, address: str, who: str = "unknown") -> None:
    """Name only existing people: other input may be a password in the wrong field."""
    email = person.email if person else "unknown"
    record("sign-in failed", email, who=who, address=address)


def _upgrade_hash(person: Person, password: Secret) -> None:
    """Hash the password again if the current parameters cost more, unless it was changed meanwhile."""
    if login_hash.is_stale(person.login_hash):
        unchanged = (Person.id == person.id) & (Person.login_hash == person.login_hash)
        Person.update(login_hash=login_hash.hash_password(password)).where(unchanged).execute()
        logger.info("login password of person %s hashed again with the current parameters", person.id)
