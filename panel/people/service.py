"""The people of this install: who they are, in which role, and that their password is a good one."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import asdict, dataclass

from peewee import IntegrityError

from panel import db
from panel.audit import record
from panel.crypto import login_hash
from panel.errors import BadInput, NotFound, Refused
from panel.models.sign_in import ROLES, Person, Session
from panel.people import password_rules
from panel.secret import Secret

LONGEST_EMAIL, LONGEST_NAME = 254, 200  # RFC 5321, 4.5.3.1.3; the column
LONGEST_TYPED = 4 * LONGEST_EMAIL  # characters, before they are composed


@dataclass(frozen=True)
class Someone:
    """A person, as pages and commands see one."""

    id: int
    email: str
    name: str
    role: str
    created_at: int
    disabled_at: int | None

    @classmethod
    def of(cls, row: Person) -> Someone:
        """The facts of `row`, without its hash."""
        return cls(row.id, row.email, row.name, row.role, row.created_at, row.disabled_at)


@dataclass(frozen=True)
class NewPerson:
    """Somebody who may be added: everything is checked, the password is hashed."""

    email: str
    name: str
    role: str
    login_hash: str


def add(
    email: str, name: str, role: str, password: Secret, *, who: str | None = None, address: str = ""
) -> Someone:
    """Add a person who may sign in from now on.

    Raises BadInput, naming the field, for an address that is none or is taken, an
    empty name, an unknown role or a password that the rules refuse.
    """
    new = prepare(email, name, role, password)
    with db.transaction():
        someone = insert(new)
        record("person added", new.email, f"role {role}", who=who, address=address)
    return someone


def prepare(email: str, name: str, role: str, password: Secret) -> NewPerson:
    """Check and hash, which is slow on purpose: call it before the transaction. Raises BadInput as `add`."""
    email, name = normalise_email(email), normalise_name(name)
    if role not in ROLES:
        raise BadInput(f"There is no role {role!r}.", f"Choose one of: {', '.join(ROLES)}.", field="role")
    password_rules.check(password, email, name)
    return NewPerson(email, name, role, login_hash.hash_password(password))


def insert(new: NewPerson) -> Someone:
    """Write `new`. Raises BadInput(field='email') where the address is taken."""
    try:
        with db.transaction():
            return Someone.of(Person.create(**asdict(new), created_at=db.now()))
    except IntegrityError:
        raise BadInput(
            f"There is a person with the address {new.email} already.", "Use another address.", field="email"
        ) from None


def change_role(email: str, role: str, *, who: str | None = None, address: str = "") -> None:
    """Give a person another role: less counts from the next request on, more once the password is typed.

    Nothing happens where it is that one already.

    Each session gets a new token at the next request of the person's own browser.
    Raises NotFound, BadInput for an unknown role, Refused for the last active administrator.
    """
    if role not in ROLES:
        raise BadInput(f"There is no role {role!r}.", f"Choose one of: {', '.join(ROLES)}.", field="role")
    with db.transaction():
        person = _row(email)
        if person.role == role:
            return
        if role != "admin":
            _require_another_admin(person)
        Person.update(role=role).where(Person.id == person.id).execute()
        _lower_sessions(person, role)
        record("role changed", person.email, f"role {role}", who=who, address=address)


def disable(email: str, *, who: str | None = None, address: str = "") -> None:
    """Keep a person out, at once: the sessions end. Nothing happens where that is so already.

    Raises NotFound, Refused for the last active administrator.
    """
    with db.transaction():
        person = _row(email)
        if person.disabled_at is not None:
            return
        _require_another_admin(person)
        Person.update(disabled_at=db.now()).where(Person.id == person.id).execute()
        _end_sessions(person)
        record("person disabled", person.email, who=who, address=address)


def enable(email: str, *, who: str | None = None, address: str = "") -> None:
    """Let a person in again, with the password of before; nothing where that is so. Raises NotFound."""
    with db.transaction():
        person = _row(email)
        if person.disabled_at is None:
            return
        Person.update(disabled_at=None).where(Person.id == person.id).execute()
        record("person enabled", person.email, who=who, address=address)


def set_password(email: str, password: Secret, *, who: str | None = None, address: str = "") -> None:
    """Give a person another login password; all the sessions end. Raises NotFound, BadInput."""
    person = _row(email)
    password_rules.check(password, person.email, person.name)
    hashed = login_hash.hash_password(password)
    with db.transaction():
        Person.update(login_hash=hashed).where(Person.id == person.id).execute()
        _end_sessions(person)
        record("login password changed", person.email, who=who, address=address)


def _row(email: str) -> Person:
    row: Person | None = Person.get_or_none(Person.email == fold_email(email))
    if row is None:
        raise NotFound(f"There is nobody with the address {email[:80]}.", "See the list of people.")
    return row


def _require_another_admin(person: Person) -> None:
    """Somebody must be left who can let the others in again."""
    others = (Person.role == "admin") & Person.disabled_at.is_null() & (Person.id != person.id)
    if person.role == "admin" and not Person.select().where(others).exists():
        raise Refused(
            f"{person.email} is the last active administrator.", "Make somebody else an administrator first."
        )


def _lower_sessions(person: Person, role: str) -> None:
    """A copied cookie must not be the first to a higher role (docs/decisions/0020-session-tokens.md)."""
    theirs = Session.person == person.id
    Session.update(renewal_due=True).where(theirs).execute()
    Session.update(role=role).where(theirs & (Session.role << ROLES[: ROLES.index(role)])).execute()


def _end_sessions(person: Person) -> None:
    Session.delete().where(Session.person == person.id).execute()


def everybody() -> list[Someone]:
    """All people, by address."""
    return [Someone.of(row) for row in Person.select().order_by(Person.email)]


def find(email: str) -> Someone | None:
    """The person with this address, however it is capitalised."""
    row = Person.get_or_none(Person.email == fold_email(email))
    return Someone.of(row) if row else None


def an_admin_exists() -> bool:
    """Whether this install has an administrator, disabled ones included: set-up is over then."""
    found: bool = Person.select().where(Person.role == "admin").exists()
    return found


def fold_email(text: str) -> str:
    """`text` as addresses are compared: composed (NFC), lower case, without spaces around it.

    What is longer than any address stays as it is: to compose it takes the square of its length.
    """
    if len(text) > LONGEST_TYPED:
        return text
    return unicodedata.normalize("NFC", text).strip().lower()


def normalise_email(text: str) -> str:
    """`text` folded, if it can be an e-mail address. Raises BadInput(field='email') otherwise."""
    email = fold_email(text)
    if not re.fullmatch(r"[^@\s]+@[^@\s]+", email) or not email.isprintable() or len(email) > LONGEST_EMAIL:
        raise BadInput("This is not an e-mail address.", "It looks like: name@example.org", field="email")
    return email


def normalise_name(text: str) -> str:
    """`text` with single spaces. Raises BadInput(field='name') where it is empty, too long or unprintable."""
    name = " ".join(text.split())
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise BadInput(
            f"The name is empty, longer than {LONGEST_NAME} characters or not printable.",
            "Enter the name that colleagues know.",
            field="name",
        )
    return name
