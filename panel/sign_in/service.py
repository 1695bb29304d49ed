"""Signing in, signing out, and typing the password again before something grave."""

from __future__ import annotations

import logging

from panel import db
from panel.audit import record
from panel.crypto import login_hash
from panel.errors import BadInput
from panel.models.sign_in import Person
from panel.people.service import fold_email
from panel.secret import Secret
from panel.sign_in import sessions, throttle
from panel.sign_in.devices import DeviceCookie
from panel.sign_in.sessions import Visitor

# Verified where there is nobody to verify, so that the answer takes as long. Matches no password.
NOBODYS_HASH = (
    f"$argon2id$v=19$m={login_hash.CURRENT.memory},t={login_hash.CURRENT.time}"
    f",p={login_hash.CURRENT.lanes}${'A' * 22}${'A' * 43}"
)

logger = logging.getLogger("mailkeep.sign_in")


def sign_in(
    email: str, password: Secret, address: str, agent: str, device: DeviceCookie | None = None
) -> str:
    """The token of a new session for whom `email` and `password` name.

    `device`: what the browser sent to show that this person signed in with it before.
    Raises BadInput, with the same words and after the same time for a wrong password,
    an unknown address and a disabled person; Throttled after too many.
    """
    person = Person.get_or_none(Person.email == fold_email(email))
    tried = throttle.begin(email, address, device.number_for(person) if device else None)
    known = _knows(person, password)
    if person is None or person.disabled_at or not known:
        raise _refused(person, address)
    with db.transaction():
        same = (Person.id == person.id) & (Person.login_hash == person.login_hash)
        if not Person.select().where(same & Person.disabled_at.is_null()).exists():
            raise _refused(person, address)  # changed or disabled while the hash was being verified
        throttle.succeeded(tried)
        token = sessions.begin(person.id, address, agent)
        record("signed in", person.email, who=person.email, address=address)
    _renew(person, password)
    return token


def _refused(person: Person | None, address: str) -> BadInput:
    _record_failure(person, address)
    return BadInput(
        "The e-mail address or the password is not right.", "Check both, then try again.", field="password"
    )


def confirm(visitor: Visitor, password: Secret, address: str) -> str | None:
    """Note that the visitor has typed the own password just now; the session gets a new token.

    The token, or None where another request was quicker to renew it. Raises as `prove`.
    """
    prove(visitor, password, address)
    return sessions.renew(visitor, confirmed=True)


def prove(visitor: Visitor, password: Secret, address: str) -> None:
    """Check the visitor's own password, and note nothing.

    Raises BadInput where it is wrong, Throttled after too many: of this session and person, whatever
    was typed elsewhere.
    """
    tried = throttle.begin_again(visitor.form_token, visitor.id)
    person = Person.get_or_none((Person.id == visitor.id) & Person.disabled_at.is_null())
    if not _knows(person, password):
        _record_failure(person, address, who=visitor.email)
        raise BadInput("The password is not right.", "Type the one that you sign in with.", field="password")
    throttle.succeeded(tried)


def sign_out(visitor: Visitor, token: str, address: str) -> None:
    """End the visitor's session."""
    with db.transaction():
        sessions.end(token)
        record("signed out", visitor.email, who=visitor.email, address=address)


def _knows(person: Person | None, password: Secret) -> bool:
    return login_hash.verify(password, person.login_hash if person else NOBODYS_HASH)


def _record_failure(person: Person | None, address: str, who: str = "somebody") -> None:
    """Name only people whom there are: what else was typed may be a password in the wrong field."""
    email = person.email if person else "unknown"
    record("sign-in failed", email, who=who, address=address)


def _renew(person: Person, password: Secret) -> None:
    """Hash the password again where today's parameters cost more; a changed one stays as it is."""
    if login_hash.is_stale(person.login_hash):
        unchanged = (Person.id == person.id) & (Person.login_hash == person.login_hash)
        Person.update(login_hash=login_hash.hash_password(password)).where(unchanged).execute()
        logger.info("the password of person %s is hashed with today's parameters now", person.id)
