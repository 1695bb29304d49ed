"""The list of mailboxes and their status after the last round of collecting. Decrypts nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from peewee import JOIN, SQL, NodeList, fn

from panel import db
from panel.collect import due, parked
from panel.models import LISTED, Account, Collection, Consent, Endpoint, OauthApp, Skipped
from panel.models.endpoint import CONSENT, PASSWORD, REFERENCE
from panel.models.oauth import WAITING
from panel.models.prepared import Prepared, given
from panel.vault.snapshot import Snapshot
from panel.vault.vault import Vault

OVERDUE = 3  # intervals without a successful round,
ROUND_SECONDS = 900  # plus the longest that a round takes
STORED = {
    "clear": "not encrypted", "sealed": "encrypted", "unreadable": "cannot be decrypted", "none": "missing",
}  # fmt: skip
AUTHS = {PASSWORD: "password", CONSENT: "oauth", REFERENCE: "outside"}
KINDS = {auth: kind for kind, auth in AUTHS.items()}


class Health(StrEnum):
    """The status of one mailbox after its last round. Only OK is good."""

    PAUSED = "paused"
    WAITS_FOR_KEY = "waits for the key"
    NO_PASSWORD = "no password"  # noqa: S105 - a state
    CONSENT = "consent needed"  # nobody has signed in at the provider, or the provider has ended it
    FAILING = "failing"
    NEW = "new"  # not collected yet, no round has failed
    OVERDUE = "overdue"
    OK = "ok"


@dataclass(frozen=True)
class Line:
    """One mailbox as the list and `accounts list --json` show it."""

    uuid: str
    address: str
    protocol: str
    host: str
    port: int
    security: str
    username: str
    folder: str
    interval: int
    on_server: str  # keep, seen, move, delete
    move_to: str
    deliver_to: str  # a target; empty: the default
    paused: bool
    auth: str  # password, oauth, outside
    consent: str | None  # of oauth: ok, needed, ended
    app: str | None  # its name
    signs_in_as: str  # empty: the mailbox itself
    connected_at: int | None
    consent_ended_at: int | None
    password: str  # clear, sealed, unreadable, none; or what stands in its place
    waits_for_key: bool  # unreadable only because the key is missing
    last_success_at: int | None
    problem: str | None
    remedy: str | None
    next_try_at: int | None
    skipped: int
    place: int  # the row of endpoint
    due: bool  # for longer than a round takes
    connected: bool  # its server announces new mail

    @property
    def noun(self) -> str:
        """What is stored to sign in with, as errors call it."""
        return Endpoint.words_of(KINDS[self.auth]).noun

    @property
    def enter_again(self) -> str:
        """What to do where that does not open."""
        and_how = "and its password again" if self.auth == "password" else "again, and how it signs in"
        return f"Enter the server {and_how}"

    @property
    def path(self) -> str:
        """Its uuid in a URL; SQL may have stored any text."""
        return quote(self.uuid, "")

    @property
    def health(self) -> Health:
        if self.paused:
            return Health.PAUSED
        if self.waits_for_key:
            return Health.WAITS_FOR_KEY
        if self.password in ("unreadable", "none"):
            return Health.NO_PASSWORD
        if self.consent not in (None, "ok"):
            return Health.CONSENT
        if self.problem:
            return Health.FAILING
        if self.last_success_at is None:
            return Health.NEW
        return Health.OVERDUE if self.overdue else Health.OK

    @property
    def overdue(self) -> bool:
        """Whether nothing was collected for much longer than usual, without an error."""
        if self.paused or self.problem or self.last_success_at is None or not self.due:
            return False
        return db.now() - self.last_success_at > OVERDUE * self.interval + ROUND_SECONDS


def lines_of(key: Snapshot, places: Sequence[int]) -> list[Line]:
    """Those with these rows of endpoint, in their order; without what is gone."""
    found = {line.place: line for line in _assessed(key, _THESE.all(places=json.dumps(places)))}
    return [found[place] for place in places if place in found]


def uuids_of(places: Sequence[int]) -> list[str]:
    """Their uuids, in their order."""
    text = "SELECT account_id FROM json_each(?) CROSS JOIN endpoint ON endpoint.id = value ORDER BY key"
    return [str(uuid) for (uuid,) in db.database.execute_sql(text, (json.dumps(places),))]


@dataclass(frozen=True)
class Failing:
    """The first mailboxes whose last round failed, and how many more there are.

    Without those that are paused or wait for their consent.
    """

    lines: list[Line]
    others: int


def failing(key: Snapshot, most: int) -> Failing:
    """Those, by address: `most` of them at most."""
    rows = _FAILING.all(most=most)
    return Failing(_assessed(key, rows), rows[0].found - len(rows) if rows else 0)


def lines(vault: Vault) -> list[Line]:
    """All mailboxes, by address."""
    return _assessed(vault.latest(), _ALL.all())


def line(vault: Vault, uuid: str) -> Line | None:
    return next(iter(_assessed(vault.latest(), _ONE.all(uuid=uuid))), None)


def _select() -> Any:
    skipped = Skipped.select(fn.count(Skipped.id)).where(Skipped.account == Account.uuid)
    other = Consent.alias()
    newest = other.select(fn.MAX(other.id)).where(other.account == Account.uuid)
    return (
        Account.select(
            Endpoint.id, Account.uuid, Account.address, Account.folder, Account.interval,
            Account.on_server, Account.move_to, Account.deliver_to, Account.paused_at,
            Endpoint.protocol, Endpoint.host, Endpoint.port, Endpoint.security, Endpoint.username,
            Endpoint.sealed.is_null(False).alias("sealed"), Endpoint.clear.is_null(False).alias("clear"),
            Collection.last_success_at, Collection.problem, Collection.remedy, Collection.next_due_at,
            Collection.waits, Collection.failures, Collection.parked_by, Endpoint.kind,
            fn.COALESCE(OauthApp.name, "").alias("app"),
            fn.COALESCE(Consent.signs_in_as, "").alias("signs_in_as"), Consent.connected_at, Consent.ended_at,
            skipped.alias("skipped"),
        )
        .join(Endpoint, on=(Endpoint.account == Account.uuid) & (Endpoint.direction == "in"))
        .switch(Account)
        .join(Collection, JOIN.LEFT_OUTER, on=(Collection.account == Account.uuid))
        .switch(Account)
        .join(Consent, JOIN.LEFT_OUTER, on=(Endpoint.kind == CONSENT) & (Consent.id == newest))
        .join(OauthApp, JOIN.LEFT_OUTER, on=(OauthApp.uid == Consent.app))
        .where(LISTED)
        .order_by(Account.address)
    )  # fmt: skip


def _select_these() -> Any:
    wanted = NodeList((Endpoint.id, SQL("IN (SELECT value FROM json_each("), given("places"), SQL("))")))
    return _select().where(wanted).order_by()


def _select_failing() -> Any:
    count = fn.COUNT(SQL("*")).over().alias("found")
    fails = (Collection.problem != "") & Account.paused_at.is_null() & Endpoint.id.is_null(False)
    waits = Consent.select(Consent.account).where(SQL(WAITING))
    of_others = (Endpoint.kind != CONSENT) | Account.uuid.not_in(waits)
    return _select().select_extend(count).where(fails, of_others).limit(given("most"))


_ALL = Prepared(_select)
_FAILING = Prepared(_select_failing)
_ONE = Prepared(lambda: _select().where(Account.uuid == given("uuid")))
_THESE = Prepared(_select_these)


def _assessed(key: Snapshot, rows: Iterable[Any]) -> list[Line]:
    unreadable = {failure.account for failure in key.failures if failure.stops_collecting}
    return [_line(row, key.state.no_key, unreadable) for row in rows if row.id is not None]


def _line(row: Any, no_key: bool, unreadable: set[str]) -> Line:
    return Line(
        uuid=row.uuid,
        address=row.address,
        protocol=row.protocol,
        host=row.host,
        port=row.port,
        security=row.security,
        username=row.username,
        folder=row.folder,
        interval=row.interval,
        on_server=row.on_server,
        move_to=row.move_to,
        deliver_to=row.deliver_to,
        paused=row.paused_at is not None,
        auth=AUTHS.get(row.kind, "password"),
        consent=_consent(row) if row.kind == CONSENT else None,
        app=row.app or None,
        signs_in_as=row.signs_in_as,
        connected_at=row.connected_at,
        consent_ended_at=row.ended_at,
        password=_password(row, no_key or row.uuid in unreadable),
        waits_for_key=no_key and bool(row.sealed),
        last_success_at=row.last_success_at,
        problem=row.problem,
        remedy=row.remedy,
        next_try_at=None if row.next_due_at is None else due.next_try(row, row.interval),
        skipped=row.skipped,
        place=row.id,
        due=isinstance(row.next_due_at, int) and row.next_due_at < db.now() - ROUND_SECONDS,
        connected=row.paused_at is None and parked.is_connected(row.parked_by),
    )


def _consent(row: Any) -> str:
    return "ended" if row.ended_at is not None else "needed" if row.connected_at is None else "ok"


def _password(row: Any, unreadable: bool) -> str:
    if row.sealed:
        return "unreadable" if unreadable else "sealed"
    return "clear" if row.clear else "none"
