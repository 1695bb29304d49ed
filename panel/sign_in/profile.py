"""What everybody may change of their own: name, password, sessions."""

from __future__ import annotations

from dataclasses import dataclass

from panel import db
from panel.audit import record
from panel.crypto import login_hash
from panel.errors import BadInput
from panel.models.sign_in import Person, Session
from panel.people import password_rules
from panel.people.service import normalise_name
from panel.secret import Secret
from panel.sign_in import service
from panel.sign_in.sessions import Visitor, living, renew

# Signs in a user agent: several stand in most, so the first that fits counts.
BROWSERS = (
    ("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)  # fmt: skip
SYSTEMS = (
    ("Android", "Android"), ("iPhone", "iPhone"), ("iPad", "iPad"), ("Windows", "Windows"),
    ("Mac OS X", "macOS"), ("Linux", "Linux"),
)  # fmt: skip


@dataclass(frozen=True)
class OwnSession:
    """One browser that is signed in as this person."""

    created_at: int
    seen_at: int
    address: str
    agent: str
    this_one: bool

    @property
    def browser(self) -> str:
        """Which browser on which system, as far as it says (RFC 9110, 10.1.5)."""
        named = next((name for sign, name in BROWSERS if sign in self.agent), "A program")
        system = next((name for sign, name in SYSTEMS if sign in self.agent), "")
        return f"{named} on {system}" if system else named


def change_name(visitor: Visitor, name: str, address: str) -> None:
    """Take another name. Raises BadInput for one that is empty, too long or unprintable."""
    Person.update(name=normalise_name(name)).where(Person.id == visitor.id).execute()
    record("name changed", visitor.email, who=visitor.email, address=address)


def change_password(visitor: Visitor, old: Secret, new: Secret, address: str) -> str | None:
    """Take another login password; all other sessions end, and this one gets a new token, as `confirm` does.

    Raises BadInput where `old` is wrong (field `old`) or `new` is refused by the
    rules (field `password`), Throttled after too many wrong ones.
    """
    try:
        service.prove(visitor, old, address)
    except BadInput as error:
        raise BadInput(error.message, error.remedy, field="old") from None
    password_rules.check(new, visitor.email, visitor.name)
    hashed = login_hash.hash_password(new)
    with db.transaction():
        Person.update(login_hash=hashed).where(Person.id == visitor.id).execute()
        _end_others(visitor)
        record("login password changed", visitor.email, who=visitor.email, address=address)
        return renew(visitor, confirmed=True)


def sessions(visitor: Visitor) -> list[OwnSession]:
    """Where this person is signed in, the latest seen first."""
    theirs = (Session.person == visitor.id) & living(db.now())
    return [
        OwnSession(row.created_at, row.seen_at, row.address, row.agent, row.id == visitor.session_id)
        for row in Session.select().where(theirs).order_by(Session.seen_at.desc())
    ]


def end_others(visitor: Visitor, address: str) -> int:
    """End all sessions of this person but the present one; their number."""
    with db.transaction():
        ended = _end_others(visitor)
        record("other sessions ended", visitor.email, who=visitor.email, address=address)
    return ended


def _end_others(visitor: Visitor) -> int:
    others = (Session.person == visitor.id) & (Session.id != visitor.session_id)
    return int(Session.delete().where(others).execute())
