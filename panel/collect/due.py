"""Which accounts are due, and what the end of a round means for the next one."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from peewee import JOIN, SQL, Case, fn

from panel import db, errors
from panel.collect import lease, parked
from panel.messages import record
from panel.models import LISTED, Account, Collection, Endpoint
from panel.models.base import as_whole
from panel.models.collection import LONGEST_WAIT
from panel.models.moment import ahead, is_ahead
from panel.models.prepared import Prepared, given

# Seconds until the next try after the first, second, … failure in a row.
BACKOFF = (60, 120, 300, 900, 3600)
# The same after a refusal: to ask again soon could lock the mailbox.
BACKOFF_REFUSED = (900, 3600, 6 * 3600)
# The longest while a provider gives no access token: it is asked less often than this for all its mailboxes.
BACKOFF_TOKEN = 300
NEEDS_A_PERSON = (errors.CannotOpen, errors.PasswordNeeded, errors.ConsentNeeded, errors.AppFault)
# A session at rest is used again after so long: routers and servers forget one that is silent for longer.
RENEW_SECONDS = (480, 540)


@dataclass(frozen=True)
class DueAccount:
    """An account that is due: its server, since when it is due, and whether its last round succeeded."""

    uuid: str
    host: str = ""
    port: int = 0
    since: int = 0
    worked: bool = False


def accounts() -> list[DueAccount]:
    """The accounts to collect now, the longest due first.

    Without those that are paused, back off after an error, or are being collected. The cost grows with
    the number of due accounts, not of all: indexes find them.
    """
    lease.release_dead()
    parked.release_dead()
    return sorted(_due(_ALL.all(now=db.now())), key=lambda account: (account.since, account.uuid))


def find(uuid: str) -> DueAccount | None:
    """One account if it is due, else None. Reads only its own rows."""
    lease.release_dead(uuid)
    return next(iter(_due(_ONE.all(now=db.now(), uuid=uuid))), None)


def make_due(uuid: str) -> None:
    """Make an account due now, in spite of any back-off: a person has edited it or asked for it.

    Where a round is running, which may be past what was edited or is looked for, another one follows.
    """
    Collection.update(next_due_at=0, waits=None).where(Collection.account == uuid).execute()


def next_try(row: Collection, interval: int) -> int | None:
    """When the next round of `row` is due; None where it is due now, or its time is implausible."""
    at, longest = row.next_due_at, row.waits
    if not isinstance(longest, int):
        longest = interval if row.failures == 0 else BACKOFF_REFUSED[-1]
    known = isinstance(at, int) and at > 0 and not is_ahead(at, min(longest, LONGEST_WAIT))
    return at if known else None


# -- the query -----------------------------------------------------------------------


def _query(condition: Any = True) -> Any:
    """All due accounts that meet `condition`; each part of the union is a range of an index."""
    longest = fn.min(fn.coalesce(Collection.waits, _longest()), LONGEST_WAIT)
    come = _known(Collection.next_due_at <= given("now"))
    implausible = _known(ahead(Collection.next_due_at, longest, given("now")))
    return come.where(condition).union_all(implausible.where(condition)).union_all(_new().where(condition))


def _known(is_due: Any) -> Any:
    worked = Collection.last_success_at.is_null(False) & Collection.problem.is_null()
    columns = (Account.uuid, Endpoint.host, Endpoint.port, Collection.next_due_at.alias("since"))
    return (
        Collection.select(*columns, worked.alias("worked"))
        .join(Account)
        .join(Endpoint, JOIN.LEFT_OUTER, on=_incoming())  # after the search, not before it
        .where(Account.paused_at.is_null(), LISTED, is_due, lease.is_free(given("now")))
    )


def _new() -> Any:
    """Accounts that were never collected."""
    collected = Collection.select(Collection.account).where(Collection.account == Account.uuid)
    return (
        Account.select(Account.uuid, Endpoint.host, Endpoint.port, 0, 0)
        .join(Endpoint, JOIN.LEFT_OUTER, on=_incoming())  # after the search, not before it
        .where(Account.paused_at.is_null(), LISTED, ~fn.EXISTS(collected))
    )


_ALL = Prepared(_query)
_ONE = Prepared(lambda: _query(Account.uuid == given("uuid")))


def _due(rows: Iterable[Any]) -> list[DueAccount]:
    return [
        DueAccount(
            row.uuid, str(row.host), as_whole(row.port) or 0, as_whole(row.since) or 0, bool(row.worked)
        )
        for row in rows
        if row.host is not None
    ]


def _incoming() -> Any:
    return (Endpoint.account == Account.uuid) & (Endpoint.direction == "in")


def _longest() -> Any:
    """The longest possible wait of a row that does not name it."""
    return Case(None, ((Collection.failures == 0, Account.interval),), BACKOFF_REFUSED[-1])


# -- the end of a round --------------------------------------------------------------

# By `make_due`, while this round was running: one that began because of it has set `waits` (lease.py).
_ASKED_MEANWHILE = "CASE WHEN next_due_at = 0 AND waits IS NULL THEN"


def _next(at: int, waits: int) -> dict[str, object]:
    """The columns that make the next round due `at`, or at once where that was asked for meanwhile."""
    return {
        "next_due_at": SQL(f"{_ASKED_MEANWHILE} 0 ELSE ? END", (at,)),
        "waits": SQL(f"{_ASKED_MEANWHILE} NULL ELSE ? END", (waits,)),
    }


def after_success(
    account: Account, started: int, *, more: bool, pause: int, parked_by: str | None
) -> dict[str, object]:
    """The columns to store for a round that began at `started`.

    `more`: messages are left, so the next round is due at once, but behind the accounts that wait.
    `pause`: seconds that the server wants between two sessions.
    `parked_by`: who holds the session open, in which the server says what comes; None where it was closed.
    """
    now = db.now()
    next_due_at = now + pause if more else started + max(account.interval, pause)
    if parked_by is not None:
        next_due_at = now + random.randint(*RENEW_SECONDS)  # noqa: S311 - not all at once
    return {
        "parked_by": parked_by,
        "last_success_at": now,
        "problem": None,
        "remedy": None,
        "permanent": False,
        "failing_since": None,
        "failures": 0,
        **_next(next_due_at, max(next_due_at - now, 0)),
    }


def store_failure(account: Account, error: errors.PanelError, ended: record.Round) -> None:
    """Store what went wrong, when to try again, and how the round `ended`."""
    with db.transaction():
        before = Collection.get_or_none(Collection.account == account)
        if before is None:
            return  # the account was removed meanwhile
        _store_failure(account, error, before)
        record.round_ended(account.uuid, ended, before.quiet_rounds)


def _store_failure(account: Account, error: errors.PanelError, before: Collection) -> None:
    now, delay = db.now(), _delay(account, error, before.failures)
    Collection.update(
        problem=error.message,
        remedy=error.remedy,
        permanent=_is_refusal(error) or isinstance(error, NEEDS_A_PERSON),
        failing_since=before.failing_since or now,
        failures=before.failures + 1,
        quiet_rounds=0,
        parked_by=None,
        **_next(now + delay, delay),
    ).where(Collection.account == account).execute()


def _is_refusal(error: errors.PanelError) -> bool:
    return isinstance(error, errors.MailError) and error.permanent


def _delay(account: Account, error: errors.PanelError, failures: int) -> int:
    """Seconds until the next try after `failures` earlier ones, never fewer than the server asks for."""
    if isinstance(error, errors.ConsentNeeded):
        return LONGEST_WAIT  # connecting makes it due
    delays = BACKOFF_REFUSED if _is_refusal(error) else BACKOFF
    delay = delays[min(failures, len(delays) - 1)]
    if isinstance(error, errors.AppFault | errors.TokenUnavailable):
        delay = min(delay, BACKOFF_TOKEN)
    if not isinstance(error, errors.MailError | errors.TokenUnavailable):
        return delay
    if isinstance(error, errors.MailError) and error.step == "after":
        delay = account.interval  # mail does come in
    return max(delay, error.retry_after or 0)
