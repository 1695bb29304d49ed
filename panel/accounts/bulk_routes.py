"""Many mailboxes at once in the browser: what the bar below the list does, and how far it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import Response, flash, request, url_for

from panel import db
from panel.accounts import bulk, job, listing
from panel.accounts.bulk import Action, Done, Selection
from panel.accounts.list_routes import blueprint
from panel.errors import BadInput, EditedMeanwhile, PanelError
from panel.listing import LONGEST_SEARCH, ListQuery
from panel.models import Job
from panel.services import current
from panel.web.access import actor, require_reauth, safe_redirect
from panel.web.htmx import go, is_htmx, page
from panel.wording import counted

__all__ = ["blueprint"]

NAMED = 10  # mailboxes on the page that asks
AT_ONCE = 1_000  # mailboxes that are changed before the answer
CAREFUL = ("interval", "after", "remove")  # ask first, and for the person's own password
DID = {
    "collect": "will be collected now", "pause": "paused", "resume": "resumed",
    "interval": "changed", "after": "changed", "remove": "removed", "restore": "restored",
}  # fmt: skip


@dataclass(frozen=True)
class Order:
    """The form, or the address of the page that asks."""

    action: Action
    selection: Selection
    query: ListQuery
    expected: int | None  # mailboxes that the page named,
    digest: str  # and which ones they were

    @property
    def fields(self) -> list[tuple[str, object]]:
        """The selection, for a form or an address."""
        if self.selection.query is not None:
            return [("all", "1"), ("q", self.query.q), ("state", self.query.state)]
        return [("uuid", uuid) for uuid in self.selection.uuids]


def _order() -> Order:
    given = request.values
    state = given.get("state", "")
    q = given.get("q", "").replace("\0", "").strip()[:LONGEST_SEARCH]
    query = ListQuery(q, state if state in listing.STATES else "", "address")
    selection = Selection(query=query) if given.get("all") else Selection(tuple(given.getlist("uuid")))
    action = Action(
        given.get("action", ""), given.get("interval", 0, type=int),
        given.get("on_server", "keep"), given.get("move_to", "").strip(),
    )  # fmt: skip
    return Order(action, selection, query, given.get("expected", type=int), given.get("digest", ""))


def _back() -> str:
    return safe_redirect(request.values.get("next")) or url_for("accounts.show")


@blueprint.get("/bulk")
def ask() -> Any:
    """Name what is affected before it is done."""
    return _ask(_order())


def _ask(order: Order, error: PanelError | None = None) -> Response:
    if order.action.name not in bulk.ACTIONS:
        raise BadInput("This action is not known.", "Go back to the list of mailboxes.")
    uuids = order.selection.resolve(current().vault)
    if not uuids:
        raise BadInput("No mailbox is selected.", "Go back to the list and select some.")
    return page(
        "accounts/bulk.html", status=error.status if error else 200, order=order, count=len(uuids),
        digest=bulk.digest(uuids), names=bulk.addresses(uuids[:NAMED]), problem=error,
        back=_back(), spool=current().settings.mail_spool,
    )  # fmt: skip


@blueprint.post("/bulk")
def act() -> Any:
    """Do it; what is careful, or reaches beyond the selection, asks first."""
    order = _order()
    confirmed = order.expected is not None
    if not (order.selection.uuids or order.selection.query):
        flash("No mailbox is selected.", "bad")
        return go(_back())
    if not confirmed and (order.action.name in CAREFUL or order.selection.query is not None):
        values = (
            {"uuid": list(order.selection.uuids)} if order.selection.query is None else dict(order.fields)
        )
        return go(url_for("accounts.ask", action=order.action.name, next=_back(), **values))
    try:
        order.action.require_valid()
        if order.action.name in CAREFUL:
            require_reauth()
        uuids = order.selection.resolve(current().vault)
        if confirmed and len(uuids) != order.expected:
            raise EditedMeanwhile(
                f"Meanwhile {len(uuids):,} mailboxes are affected, not {order.expected:,}.",
                "Nothing was changed. Check the list again.",
            )
        if confirmed and order.action.name in CAREFUL and bulk.digest(uuids) != order.digest:
            raise EditedMeanwhile(
                "Meanwhile other mailboxes are affected, as many as before.",
                "Nothing was changed. Check the list again.",
            )
    except PanelError as error:
        return _ask(order, error)
    return _do(uuids, order.action)


def _do(uuids: list[str], action: Action) -> Any:
    """At once, or as a job with a page of its own."""
    at, who = db.now(), actor()
    if len(uuids) > AT_ONCE:
        number = job.start(action.name, len(uuids), who, lambda: bulk.run(uuids, action, at, who), at)
        return go(url_for("accounts.progress", number=number))
    done = [Done(), *bulk.run(uuids, action, at, who)][-1]
    _say(_toast(action.name, done, at), done)
    return go(_back())


def _say(toast: Any, done: Done) -> None:
    flash(toast, "bad" if done.problems else "good")


def _toast(name: str, done: Done, at: int) -> str | dict[str, str]:
    """What was done, with a way to undo it."""
    count = counted(done.changed, "mailbox") if done.changed else "No mailbox"
    text = f"{count} {DID[name]}."
    if done.problems:
        more = f" And {len(done.problems) - 1} more." if len(done.problems) > 1 else ""
        text += f" Not possible: {done.problems[0]}{more}"
    if name in ("pause", "remove") and done.changed:
        return {"text": text, "undo": url_for("accounts.undo", action=name, at=at)}
    return text


@blueprint.post("/undo-<action>-<int:at>")
def undo(action: str, at: int) -> Any:
    """Resume what was paused together, or restore what was removed together."""
    try:
        done = bulk.undo(action, at, actor())
        _say(_toast("resume" if action == "pause" else "restore", done, at), done)
    except PanelError as error:
        flash(str(error), "bad")
    return go(url_for("accounts.show"))


@blueprint.get("/jobs/<int:number>")
def progress(number: int) -> Any:
    """How far a job is; the page may be left and opened again."""
    row = job.find(number)
    live = job.is_live(row)
    if is_htmx() and live and request.args.get("done", type=int) == row.done:
        return Response(status=204)
    return page(
        "accounts/job.html", fragment="accounts/_job.html", job=row, stopped=job.has_stopped(row),
        problems=job.problems(row), undo=_undo_of(row), live=live,
    )  # fmt: skip


def _undo_of(row: Job) -> str | None:
    if row.kind not in ("pause", "remove") or not row.changed or job.is_live(row):
        return None
    return url_for("accounts.undo", action=row.kind, at=row.started_at)
