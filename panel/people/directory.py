"""The list of people, one page of it: searched, filtered and sorted by the database."""

from __future__ import annotations

from typing import Any

from peewee import SQL, fn

from panel.crypto import login_hash
from panel.listing import ROWS, Listing, ListQuery
from panel.models.sign_in import ROLES, Person, Session
from panel.people.names import fold_email
from panel.people.service import PersonInfo

STATES = (*ROLES, "invited", "disabled")
SORTS = ("name", "role", "last_sign_in")

_disabled = Person.disabled_at.is_null(False)
_invited = Person.disabled_at.is_null() & (Person.login_hash == login_hash.NONE)


def page(query: ListQuery) -> Listing[PersonInfo]:
    """One page of those whose name or address contains `query.q`; counts by role and state beside it."""
    found = Person.select().where(_matches(query.q))
    sums = (fn.SUM(_condition(state).cast("int")) for state in STATES)
    counted: Any = next(iter(found.select(fn.COUNT(SQL("*")), *sums).tuples()))
    counts = {state: count or 0 for state, count in zip(("", *STATES), counted, strict=True)}
    if query.state:
        found = found.where(_condition(query.state))
    rows = found.order_by(*_order(query.sort)).limit(ROWS).offset(query.skipped)
    return Listing([PersonInfo.of(person) for person in rows], counts[query.state], query, counts)


def sessions_of(person_id: int) -> int:
    return int(Session.select().where(Session.person == person_id).count())


def _matches(text: str) -> Any:
    if not text:
        return SQL("1")
    return Person.email.contains(fold_email(text)) | Person.name.contains(text)


def _condition(state: str) -> Any:
    if state in ROLES:
        return Person.role == state
    return _disabled if state == "disabled" else _invited


def _order(sort: str) -> tuple[Any, ...]:
    first = {
        "name": (fn.LOWER(Person.name),),
        "role": (Person.role,),
        "last_sign_in": (Person.last_sign_in_at.desc(nulls="last"),),
    }
    return (*first.get(sort, ()), Person.email)
