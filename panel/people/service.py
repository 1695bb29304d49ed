"""The people who may sign in: adding, changing and removing them. Page and shell call the same functions."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass

from peewee import IntegrityError

from panel import db
from panel.audit import Actor
from panel.crypto import login_hash
from panel.errors import BadInput, Conflict, EditedMeanwhile, NotFound, Refused
from panel.models.install import SetupState
from panel.models.sign_in import ROLES, Person, Session
from panel.people import password_rules
from panel.people.names import fold_email, normalise_email, normalise_name
from panel.secret import Secret

SHELL = Actor()
NO_INVITATION = {"invitation_hash": None, "invited_until": None}


@dataclass(frozen=True)
class PersonInfo:
    """A person as pages and commands see one: without the login hash."""

    id: int
    email: str
    name: str
    role: str
    created_at: int
    disabled_at: int | None
    last_sign_in_at: int | None
    has_password: bool
    invited_until: int | None  # when the invitation link expires; None: there is none

    @property
    def digest(self) -> str:
        """Of what `edit` changes: a form carries the one that it showed."""
        return hashlib.sha256(repr((self.email, self.name, self.role)).encode("utf-8", "replace")).hexdigest()

    @classmethod
    def of(cls, row: Person) -> PersonInfo:
        return cls(
            row.id, row.email, row.name, row.role, row.created_at, row.disabled_at, row.last_sign_in_at,
            row.login_hash != login_hash.NONE, row.invited_until if row.invitation_hash else None,
        )  # fmt: skip


@dataclass(frozen=True)
class NewPerson:
    """A person ready to be inserted: everything is checked, the password is hashed."""

    email: str
    name: str
    role: str
    login_hash: str


def add(email: str, name: str, role: str, password: Secret | None, actor: Actor = SHELL) -> PersonInfo:
    """Add a person, who may sign in from now on; without `password` once they have chosen one.

    Raises BadInput, naming the field, for an invalid or taken address, an empty name,
    an unknown role or a password that the rules refuse.
    """
    new = prepare(email, name, role, password)
    with db.transaction():
        person = insert(new)
        actor.record("person added", new.email, f"role {role}")
    return person


def prepare(email: str, name: str, role: str, password: Secret | None) -> NewPerson:
    """Check and hash, which is slow on purpose: call it before the transaction. Raises BadInput as `add`."""
    email, name = normalise_email(email), normalise_name(name)
    _require_role(role)
    if password is None:
        return NewPerson(email, name, role, login_hash.NONE)
    password_rules.check(password, email, name)
    return NewPerson(email, name, role, login_hash.hash_password(password))


def insert(new: NewPerson) -> PersonInfo:
    """Store `new`. Raises BadInput(field='email') for an address that is taken."""
    try:
        with db.transaction():
            return PersonInfo.of(Person.create(**asdict(new), created_at=db.now()))
    except IntegrityError:
        raise _taken(new.email) from None


def edit(person_id: int, email: str, name: str, role: str, seen: str, actor: Actor = SHELL) -> PersonInfo:
    """Change address, name and role of a person, and record what is different.

    A new address is the one to sign in with; sessions stay. For the role see `change_role`.
    `seen`: the digest that the form showed; empty: whatever it was.
    Raises NotFound, BadInput as `add`, Refused for the role of the last active administrator,
    EditedMeanwhile.
    """
    email, name = normalise_email(email), normalise_name(name)
    _require_role(role)
    with db.transaction():
        person = row(person_id)
        if seen and seen != PersonInfo.of(person).digest:
            raise EditedMeanwhile(
                f"{person.email} has been changed since, so nothing was saved.",
                "Compare with the list of people, then save again.",
            )
        if name != person.name:
            update(person, name=name)
            actor.record("name changed", person.email)
        _change_role(person, role, actor)
        if email != person.email:
            _change_email(person, email, actor)
    return get(person_id)


def _change_email(person: Person, email: str, actor: Actor) -> None:
    try:
        with db.transaction():
            update(person, email=email)
    except IntegrityError:
        raise _taken(email) from None
    actor.record("address changed", email, f"was {person.email}")


def change_role(email: str, role: str, actor: Actor = SHELL) -> None:
    """Give a person another role. Nothing happens if the person has it already.

    A lower role counts from the next request on, a higher one after the person has re-authenticated.
    Each session gets a new token at the next request of the person's own browser.
    Raises NotFound, BadInput for an unknown role, Refused for the last active administrator.
    """
    _require_role(role)
    with db.transaction():
        _change_role(_row_of(email), role, actor)


def _change_role(person: Person, role: str, actor: Actor) -> None:
    if person.role == role:
        return
    if role != "admin":
        _require_another_admin(person)
    update(person, role=role)
    _lower_sessions(person, role)
    actor.record("role changed", person.email, f"role {role}")


def disable(email: str, actor: Actor = SHELL) -> None:
    """Disable a person's access, end their sessions and revoke their invitation.

    Nothing happens if it is disabled already. Raises NotFound, Refused for the last active administrator.
    """
    with db.transaction():
        person = _row_of(email)
        if person.disabled_at is not None:
            return
        _require_another_admin(person)
        update(person, disabled_at=db.now(), **NO_INVITATION)
        end_sessions(person)
        actor.record("person disabled", person.email)


def enable(email: str, actor: Actor = SHELL) -> None:
    """Enable a person's access again, with the same password. Raises NotFound."""
    with db.transaction():
        person = _row_of(email)
        if person.disabled_at is None:
            return
        update(person, disabled_at=None)
        actor.record("person enabled", person.email)


def delete(email: str, actor: Actor = SHELL) -> None:
    """Delete a person, with their sessions. What they did stays in Activity.

    Raises NotFound, Refused for the last active administrator.
    """
    with db.transaction():
        person = _row_of(email)
        _require_another_admin(person)
        # Ids may be given out again: the next person is not in the middle of a setup.
        unfinished = (SetupState.admin_id == person.id) & SetupState.closed_at.is_null()
        SetupState.update(closed_at=db.now()).where(unfinished).execute()
        Person.delete().where(Person.id == person.id).execute()
        actor.record("person deleted", person.email)


def set_password(email: str, password: Secret, actor: Actor = SHELL) -> None:
    """Set a person's login password, end their sessions and revoke their invitation.

    Raises NotFound, BadInput.
    """
    person = _row_of(email)
    password_rules.check(password, person.email, person.name)
    hashed = login_hash.hash_password(password)
    with db.transaction():
        update(person, login_hash=hashed, **NO_INVITATION)
        end_sessions(person)
        actor.record("login password changed", person.email)


def _row_of(email: str) -> Person:
    found: Person | None = Person.get_or_none(Person.email == fold_email(email))
    if found is None:
        raise NotFound(f"No person has the address {email[:80]}.", "See the list of people.")
    return found


def row(person_id: int) -> Person:
    """The row of the person with this id. Raises NotFound."""
    found: Person | None = Person.get_or_none(Person.id == person_id)
    if found is None:
        raise NotFound("This person does not exist.", "See the list of people.")
    return found


def _require_role(role: str) -> None:
    if role not in ROLES:
        raise BadInput(f"The role {role!r} is unknown.", f"Choose one of: {', '.join(ROLES)}.", "role")


def _require_another_admin(person: Person) -> None:
    """One administrator must remain who can sign in and enable the others again."""
    able = Person.disabled_at.is_null() & (Person.login_hash != login_hash.NONE)
    others = (Person.role == "admin") & able & (Person.id != person.id)
    if person.role == "admin" and not Person.select().where(others).exists():
        raise Refused(
            f"{person.email} is the last active administrator.", "Make another person an administrator first."
        )


def update(person: Person, **columns: object) -> None:
    Person.update(**columns).where(Person.id == person.id).execute()


def _lower_sessions(person: Person, role: str) -> None:
    """A copied cookie must not be the first to use a higher role (docs/decisions/0020-session-tokens.md)."""
    theirs = Session.person == person.id
    Session.update(renewal_due=True).where(theirs).execute()
    Session.update(role=role).where(theirs & (Session.role << ROLES[: ROLES.index(role)])).execute()


def end_sessions(person: Person) -> None:
    Session.delete().where(Session.person == person.id).execute()


def everybody() -> list[PersonInfo]:
    """All people, by address."""
    return [PersonInfo.of(person) for person in Person.select().order_by(Person.email)]


def get(person_id: int) -> PersonInfo:
    """The person with this id. Raises NotFound."""
    return PersonInfo.of(row(person_id))


def get_by_email(email: str) -> PersonInfo:
    """The person with this address. Raises NotFound."""
    return PersonInfo.of(_row_of(email))


def an_admin_exists() -> bool:
    """Whether this install has an administrator, disabled ones included: setup is then over."""
    found: bool = Person.select().where(Person.role == "admin").exists()
    return found


def _taken(email: str) -> Conflict:
    return Conflict(f"{email} has been added already.", "Use another address.", "email")
