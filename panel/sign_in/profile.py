"""What people change for themselves: name, password, sessions."""

from __future__ import annotations

from dataclasses import dataclass

from panel import db, times
from panel.audit import record
from panel.crypto import login_hash
from panel.errors import BadInput
from panel.models.sign_in import THEMES, Person, Session
from panel.people import password_rules
from panel.people.names import normalise_name
from panel.secret import Secret
from panel.sign_in import service
from panel.sign_in.sessions import Visitor, active, renew

# Tokens of a User-Agent: most have several, so the first match counts.
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
    """A browser in which this person is signed in."""

    created_at: int
    seen_at: int
    address: str
    agent: str
    this_one: bool

    @property
    def browser(self) -> str:
        """Browser and system by its User-Agent (RFC 9110, 10.1.5)."""
        named = next((name for token, name in BROWSERS if token in self.agent), "Unknown client")
        system = next((name for token, name in SYSTEMS if token in self.agent), "")
        return f"{named} on {system}" if system else named


def change(visitor: Visitor, name: str, timezone: str, theme: str, address: str) -> None:
    """Change name, time zone (an IANA name; empty: the server's) and appearance (light, dark or empty).

    Raises BadInput, naming the field.
    """
    name = normalise_name(name)
    if timezone and not times.known_zone(timezone):
        remedy = "Choose one of the list, such as Europe/Berlin, or leave it empty."
        raise BadInput("This time zone is unknown.", remedy, "timezone")
    if theme not in THEMES:
        raise BadInput("This appearance is unknown.", "Choose one of the list.", "theme")
    with db.transaction():
        Person.update(name=name, timezone=timezone, theme=theme).where(Person.id == visitor.id).execute()
        if name != visitor.name:
            record("name changed", visitor.email, who=visitor.email, address=address)


def change_password(visitor: Visitor, old: Secret, new: Secret, address: str) -> str | None:
    """Change the login password, end all other sessions and renew this one; its token as of `sessions.renew`.

    Raises BadInput if `old` is wrong (field `old`) or the rules refuse `new` (field `password`),
    Throttled after too many wrong ones.
    """
    try:
        service.check_password(visitor, old, address)
    except BadInput as error:
        error.field = "old"
        raise
    password_rules.check(new, visitor.email, visitor.name)
    hashed = login_hash.hash_password(new)
    with db.transaction():
        Person.update(login_hash=hashed).where(Person.id == visitor.id).execute()
        _end_others(visitor)
        record("login password changed", visitor.email, who=visitor.email, address=address)
        return renew(visitor, confirmed=True)


def sessions(visitor: Visitor) -> list[OwnSession]:
    """The sessions of this person, last seen first."""
    theirs = (Session.person == visitor.id) & active(db.now())
    return [
        OwnSession(row.created_at, row.seen_at, row.address, row.agent, row.id == visitor.session_id)
        for row in Session.select().where(theirs).order_by(Session.seen_at.desc())
    ]


def end_others(visitor: Visitor, address: str) -> int:
    """End all sessions of this person but the current one; how many those were."""
    with db.transaction():
        ended = _end_others(visitor)
        record("other sessions signed out", visitor.email, who=visitor.email, address=address)
    return ended


def _end_others(visitor: Visitor) -> int:
    others = (Session.person == visitor.id) & (Session.id != visitor.session_id)
    return int(Session.delete().where(others).execute())
