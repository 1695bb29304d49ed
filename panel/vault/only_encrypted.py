"""What is stored only encrypted, and so must go before encryption can be turned off: all but passwords."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from peewee import fn

from panel import db
from panel.errors import Refused
from panel.models import SECRET_ROWS, Pending
from panel.models.moment import SLACK
from panel.models.oauth import PENDING_SECONDS
from panel.vault import owners

MOST, NAMED = 50, 10  # rows that must go first: of a table, and named in a sentence
FIRST = {
    "mailbox": "give each of these mailboxes a password, or delete it for good",
    "consent": "give each of these mailboxes a password, or delete it for good",
    "submission password": "remove the submission passwords",
    "app": "remove the apps",
    "sign-in": "finish the sign-in, or wait ten minutes",
}


class Blocker(NamedTuple):
    """Something that is stored only encrypted. `what`: mailbox, consent, app, submission password, sign-in.

    `account` is empty where it is no account's.
    """

    name: str
    what: str
    account: str


class OnlyEncrypted(Refused):
    """Turning off was refused for these."""

    def __init__(self, blockers: Sequence[Blocker]) -> None:
        self.blockers = blockers
        names = list(dict.fromkeys(each.name for each in blockers))
        more = " and more" if len(names) > NAMED else ""
        whats = {each.what for each in blockers}
        steps = [step for what, step in FIRST.items() if what in whats]
        super().__init__(
            f"Encryption stays on, since these need it: {', '.join(names[:NAMED])}{more}.",
            f"First {', then '.join(dict.fromkeys(steps))}.",
        )


def blockers() -> list[Blocker]:
    """What must go before encryption can be turned off: the first ones of each table, each mailbox once.

    Flows that are over count for nothing.
    """
    found: dict[tuple[str, str], Blocker] = {}
    for model in SECRET_ROWS:
        wanted = ~_is_over() if model is Pending else model.id > -(2**63)
        if model.CLEAR_KIND is not None:
            wanted = model.kind != model.CLEAR_KIND
        for row in owners.by_owner(model, model.id.in_(model.select(model.id).where(wanted).limit(MOST))):
            account = str(row.__data__["account"]) if owners.has_account(model) else ""
            each = Blocker(owners.address(row), row.words.owner, account)
            found.setdefault((each.name, "mailbox" if each.what == "consent" else each.what), each)
    return list(found.values())


def require_none() -> None:
    """Raise OnlyEncrypted while anything but passwords is stored; flows that are over are deleted."""
    with db.transaction():
        forget_flows()
        found = blockers()
        if found:
            raise OnlyEncrypted(found)


def forget_flows() -> None:
    """Delete the flows that are over: one that was granted holds a token."""
    if Pending.select().where(_is_over()).exists():  # each tick asks, and hardly ever there is one to delete
        Pending.delete().where(_is_over()).execute()


def _is_over() -> Any:
    begun = Pending.created_at
    return (
        (begun <= db.now() - PENDING_SECONDS) | (begun > db.now() + SLACK) | (fn.typeof(begun) != "integer")
    )
