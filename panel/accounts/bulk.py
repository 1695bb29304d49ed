"""What is done to many mailboxes at once: a selection, or all that a search finds.

Each action changes a batch in one transaction and yields how far it is, so that a page can show it, a
shell too, and others write in between. What is done stays done; to repeat an action does the rest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from panel import db
from panel.accounts import listing, removal, rules, service
from panel.audit import Actor
from panel.errors import BadInput, PanelError
from panel.listing import ListQuery
from panel.models import LISTED, Account, Collection, Endpoint
from panel.vault.vault import Vault
from panel.wording import counted

BATCH = 500  # mailboxes in one transaction
# action: what Activity calls it, for one mailbox and for many
EVENTS = {
    "pause": ("mailbox paused", "mailboxes paused"),
    "resume": ("mailbox resumed", "mailboxes resumed"),
    "interval": ("mailbox changed", "mailboxes changed"),
    "after": ("mailbox changed", "mailboxes changed"),
    "remove": ("mailbox removed", "mailboxes removed"),
    "collect": ("", "mailboxes collected"),
}
ACTIONS = tuple(EVENTS)


@dataclass(frozen=True)
class Selection:
    """Some mailboxes by uuid, or all that match `query` whatever their page."""

    uuids: tuple[str, ...] = ()
    query: ListQuery | None = None

    def resolve(self, vault: Vault) -> list[str]:
        """The uuids of those that there are now."""
        if self.query is not None:
            return listing.uuids(vault, self.query)
        text = (
            "SELECT DISTINCT uuid FROM json_each(?) JOIN account ON uuid = value"
            " WHERE removed_at IS NULL ORDER BY address"
        )
        return [str(uuid) for (uuid,) in db.database.execute_sql(text, (json.dumps(self.uuids),))]


def addresses(uuids: Sequence[str]) -> list[str]:
    """Their addresses, in their order."""
    text = "SELECT address FROM json_each(?) CROSS JOIN account ON uuid = value ORDER BY key"
    return [str(address) for (address,) in db.database.execute_sql(text, (json.dumps(uuids),))]


def digest(uuids: Sequence[str]) -> str:
    """Which these are, in whatever order: a form carries that of the mailboxes that its page counted."""
    return hashlib.sha256("\n".join(sorted(uuids)).encode("utf-8", "replace")).hexdigest()


@dataclass(frozen=True)
class Action:
    """What to do, with the values that it needs."""

    name: str  # one of ACTIONS
    interval: int = 0
    on_server: str = "keep"
    move_to: str = ""

    def require_valid(self) -> None:
        """Raise BadInput for a value that no mailbox could have."""
        if self.name not in ACTIONS:
            raise BadInput("This action is not known.", f"Choose one of: {', '.join(ACTIONS)}.")
        if self.name == "interval":
            rules.mailbox("name@example.org", interval=self.interval)
        if self.name == "after":
            folder = "INBOX" if self.move_to != "INBOX" else "Other"  # each mailbox has its own
            rules.mailbox("name@example.org", folder, on_server=self.on_server, move_to=self.move_to)


@dataclass(frozen=True)
class Done:
    """How far it is: mailboxes dealt with, those of them that were changed, and what kept others from it."""

    done: int = 0
    changed: int = 0
    problems: tuple[str, ...] = ()


def run(uuids: Sequence[str], action: Action, at: int, actor: Actor) -> Iterator[Done]:
    """Do it, a batch at a time. `at`: the time that `undo` finds these mailboxes by, where it can.

    Raises BadInput for a value that no mailbox could have; then nothing is done.
    """
    action.require_valid()
    now = Done()
    try:
        for start in range(0, len(uuids), BATCH):
            batch = list(uuids[start : start + BATCH])
            with db.transaction():
                changed, problems = _batch(batch, action, at, actor)
            now = Done(now.done + len(batch), now.changed + changed, now.problems + problems)
            yield now
    finally:  # also where the rest was given up
        if now.changed > (1 if EVENTS[action.name][0] else 0):  # one mailbox has an event of its own
            actor.record(EVENTS[action.name][1], counted(now.changed, "mailbox"), _described(action))


def _batch(uuids: list[str], action: Action, at: int, actor: Actor) -> tuple[int, tuple[str, ...]]:
    problems: tuple[str, ...] = ()
    if action.name == "after":
        uuids, problems = _possible(uuids, action)
    which = Account.uuid.in_(uuids) & LISTED & _differs(action)
    found = [
        (str(row.uuid), str(row.address))
        for row in Account.select(Account.uuid, Account.address).where(which)
    ]
    changed = [uuid for uuid, _ in found]
    match action.name:
        case "pause":
            Account.update(paused_at=at).where(Account.uuid.in_(changed)).execute()
        case "resume":
            Account.update(paused_at=None).where(Account.uuid.in_(changed)).execute()
        case "interval":
            Account.update(interval=action.interval).where(Account.uuid.in_(changed)).execute()
        case "after":
            values = {"on_server": action.on_server, "move_to": action.move_to}
            Account.update(**values).where(Account.uuid.in_(changed)).execute()
        case "remove":
            removal.mark(changed, at)
    if action.name in ("collect", "resume", "interval"):
        # Not 0, as for a single one: what has been due for long is read by each page of the list.
        Collection.update(next_due_at=db.now()).where(Collection.account.in_(changed)).execute()
    if event := EVENTS[action.name][0]:
        actor.record_each(event, [address for _, address in found], _described(action))
    return len(changed), problems


def _differs(action: Action) -> Any:
    """Whether the action changes anything in the mailbox."""
    match action.name:
        case "pause" | "collect":
            return Account.paused_at.is_null()
        case "resume":
            return Account.paused_at.is_null(False)
        case "interval":
            return Account.interval != action.interval
        case "after":
            return (Account.on_server != action.on_server) | (Account.move_to != action.move_to)
        case _:
            return Account.removed_at.is_null()


def _possible(uuids: list[str], action: Action) -> tuple[list[str], tuple[str, ...]]:
    """Those whose protocol and folder allow the action after collecting, and why the others do not."""
    query = Endpoint.select(Endpoint, Account).join(Account)
    possible, problems = [], []
    for endpoint in query.where(Endpoint.account.in_(uuids), Endpoint.direction == "in"):
        box = service.mailbox_of(endpoint.account)
        try:
            wanted = replace(box, on_server=action.on_server, move_to=action.move_to)
            rules.require_possible(rules.mailbox(**vars(wanted)), endpoint.server)
            possible.append(str(endpoint.account_id))
        except PanelError as error:
            problems.append(f"{box.address}: {error.message}")
    return possible, tuple(problems)


def _described(action: Action) -> str:
    if action.name == "interval":
        return f"New: interval {action.interval} s."
    if action.name == "after":
        return f"New: after collecting {action.on_server} {action.move_to}".strip() + "."
    return ""


def undo(name: str, at: int, actor: Actor) -> Done:
    """Undo the pause or removal that had this time. Raises BadInput where there is nothing left to undo."""
    which = Account.removed_at == at if name == "remove" else (Account.paused_at == at) & LISTED
    found = [str(row.uuid) for row in Account.select(Account.uuid).where(which)]
    if not found:
        raise BadInput("There is nothing left to undo.", "Check the list of mailboxes.")
    undone, done = removal.restore_many if name == "remove" else _resume, Done()
    for start in range(0, len(found), BATCH):
        batch = found[start : start + BATCH]
        changed, problems = undone(batch, actor)
        done = Done(done.done + len(batch), done.changed + changed, done.problems + problems)
    if done.changed:
        what = "mailboxes restored" if name == "remove" else EVENTS["resume"][1]
        actor.record(what, counted(done.changed, "mailbox"))
    return done


def _resume(uuids: list[str], actor: Actor) -> tuple[int, tuple[str, ...]]:
    with db.transaction():
        return _batch(uuids, Action("resume"), 0, actor)
