"""The list of accounts, with what the last real collection found. Needs no key: nothing is opened."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import cast

from peewee import JOIN, fn

from panel import db, times
from panel.collect import due
from panel.models import Account, Collection, Endpoint, Skipped
from panel.vault.vault import Vault

OVERDUE = 3  # intervals without a successful round,
ROUND_SECONDS = 900  # and so long a round may take


class Health(StrEnum):
    """How one mailbox is, by what its last real round found. Only OK is good."""

    PAUSED = "paused"
    WAITS_FOR_KEY = "waits for the key"
    NO_PASSWORD = "no password"  # noqa: S105 - a state
    FAILING = "failing"
    NEW = "new"  # not collected yet, and no round has failed
    OVERDUE = "overdue"
    OK = "ok"


@dataclass(frozen=True)
class Line:
    """One account as the list and `accounts list --json` show it."""

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
    paused: bool
    password: str  # clear, sealed, unreadable, none
    waits_for_key: bool  # unreadable only because the key is away
    last_success_at: int | None
    problem: str | None
    remedy: str | None
    next_try_at: int | None
    skipped: int

    @property
    def health(self) -> Health:
        """The one state that every page and command derives its words from."""
        if self.paused:
            return Health.PAUSED
        if self.waits_for_key:
            return Health.WAITS_FOR_KEY
        if self.password in ("unreadable", "none"):
            return Health.NO_PASSWORD
        if self.problem:
            return Health.FAILING
        if self.last_success_at is None:
            return Health.NEW
        return Health.OVERDUE if self.overdue else Health.OK

    @property
    def overdue(self) -> bool:
        """Whether nothing was collected for much longer than it should take, and no error says why."""
        if self.paused or self.problem or self.last_success_at is None:
            return False
        return db.now() - self.last_success_at > OVERDUE * self.interval + ROUND_SECONDS


def lines(vault: Vault) -> list[Line]:
    """All accounts, by address."""
    status = vault.latest()
    unreadable = {failure.account for failure in status.failures if failure.direction == "in"}
    query = (
        Endpoint.select(Endpoint, Account, Collection)
        .join(Account)
        .join(Collection, JOIN.LEFT_OUTER, on=(Collection.account == Account.uuid), attr="progress")
        .where(Endpoint.direction == "in")
        .order_by(Account.address)
    )
    skipped = _skipped()
    return [_line(e, status.state.no_key, unreadable, skipped.get(e.account.uuid, 0)) for e in query]


def _skipped() -> dict[str, int]:
    """How many messages were skipped, by account."""
    query = Skipped.select(Skipped.account, fn.count(Skipped.id)).group_by(Skipped.account).tuples()
    return dict(cast(Iterable[tuple[str, int]], query))


def line(vault: Vault, uuid: str) -> Line | None:
    """One of them, or None."""
    return next((each for each in lines(vault) if each.uuid == uuid), None)


def _line(endpoint: Endpoint, no_key: bool, unreadable: set[str], skipped: int) -> Line:
    account = endpoint.account
    progress = getattr(account, "progress", None)
    return Line(
        uuid=account.uuid,
        address=account.address,
        protocol=endpoint.protocol,
        host=endpoint.host,
        port=endpoint.port,
        security=endpoint.security,
        username=endpoint.username,
        folder=account.folder,
        interval=account.interval,
        on_server=account.on_server,
        move_to=account.move_to,
        paused=account.paused_at is not None,
        password=_password(endpoint, no_key or account.uuid in unreadable),
        waits_for_key=no_key and endpoint.sealed is not None,
        last_success_at=_seconds(progress.last_success_at) if progress else None,
        problem=progress.problem if progress else None,
        remedy=progress.remedy if progress else None,
        next_try_at=due.next_try(progress, account.interval) if progress else None,
        skipped=skipped,
    )


def _seconds(at: object) -> int | None:
    return None if at is None else times.whole(at)


def _password(endpoint: Endpoint, unreadable: bool) -> str:
    if endpoint.sealed is not None:
        return "unreadable" if unreadable else "sealed"
    return "clear" if endpoint.clear is not None else "none"
