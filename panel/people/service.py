"""The people of this install: who they are, in which role, and that their password is a good one."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import asdict, dataclass

from peewee import IntegrityError

from panel import db
from panel.activity.service import record
from panel.crypto import login_hash
from panel.errors import BadInput
from panel.models.person import ROLES, Person
from panel.people import password_rules
from panel.secret import Secret

LONGEST_EMAIL, LONGEST_NAME = 254, 200  # RFC 5321, 4.5.3.1.3; the column


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
    """`text` as addresses are compared: composed (NFC), lower case, without spaces around it."""
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
