"""The log of alerts: open since when, sent how often, resolved when. Several processes share it.

A message that is due is claimed in the same transaction that finds it due, so that one process sends it.
If that process dies, another one sends it later: a message may come twice, but is not lost.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from peewee import SQL, ModelSelect, fn

from panel import db
from panel.alerts.conditions import MAILBOX_TOPIC, OTHERS, SECRET_TOPIC, Condition
from panel.audit import Actor
from panel.errors import Refused
from panel.listing import ROWS, Listing, ListQuery
from panel.models import Alert
from panel.models.moment import ahead, is_ahead

HOUR, DAY = 3600, 24 * 3600
QUIET_PERIOD = 300  # seconds without the problem until it is resolved; a flapping one stays one alert
REOPEN_SECONDS = HOUR  # a problem that comes back within so long is the same alert
REMINDERS = (HOUR, 4 * HOUR, DAY)  # after the first, second, … message; then always the last
RETRIES = (60, 300, 900, HOUR)  # after the first, second, … attempt in a row that no channel accepted
LEASE = 300  # seconds in which the process that claimed a message must send it
HISTORY_SECONDS = 90 * DAY
LAST = 2**62  # beyond the numbers of a database
STALE_SECONDS = DAY  # a resolution that no channel accepted for so long is not sent any more
MORE_MAILBOXES = 10  # that fail by the same cause, and twice as many as before: sent at once
SEVERITIES = ("bad", "warn")  # the gravest first
SORTS = {  # of the history
    "": (Alert.resolved_at.desc(),), "started": (Alert.since.desc(),), "sent": (Alert.notified_times.desc(),),
}  # fmt: skip

log = logging.getLogger("mailkeep.alerts")


@dataclass(frozen=True)
class Entry:
    id: int
    condition: str
    severity: str
    message: str
    remedy: str
    path: str
    mailboxes: int
    since: int
    resolved_at: int | None
    notified_at: int | None
    notified_times: int
    notified_to: str
    failures: int
    next_at: int
    muted_until: int | None
    muted_by: str


@dataclass(frozen=True)
class Due:
    """The messages that one process must send now; `still_open` are open too, but not due."""

    opened: tuple[Entry, ...] = ()
    resolved: tuple[Entry, ...] = ()
    still_open: tuple[Entry, ...] = ()

    @property
    def all(self) -> tuple[Entry, ...]:
        return (*self.opened, *self.resolved)


def update(found: Collection[Condition]) -> None:
    """Open, refresh and resolve alerts, so that the log agrees with what was `found` now."""
    now = db.now()
    every_cause = all(condition.subject != OTHERS for condition in found)
    with db.transaction():
        known = {(row.topic, row.subject): row for row in _open()}
        for condition in found:
            row = known.pop((condition.topic, condition.subject), None)
            _refresh(row or _reopen(condition, now) or _create(condition, now), condition, now)
        for row in known.values():
            # A cause that is not named among too many others is not over; nor is a date that comes nearer.
            over = every_cause if row.topic == MAILBOX_TOPIC else row.topic != SECRET_TOPIC
            _not_seen(row, now, over=over)
        Alert.delete().where(Alert.resolved_at < now - HISTORY_SECONDS).execute()


def claim_due() -> Due:
    now = db.now()
    with db.transaction():
        active = [row for row in _open() if row.quiet_since is None and not _is_muted(row, now)]
        opened = [row for row in active if _is_due(row, now)]
        resolved = [row for row in _resolution_pending(now) if _is_due(row, now)]
        for row in (*opened, *resolved):
            _set(row, next_at=now + LEASE)
    return Due(_entries(opened), _entries(resolved), _entries(row for row in active if row not in opened))


def record_sent(due: Due, sent: Mapping[int, str]) -> None:
    """Record which of `due` a channel accepted and who received it, and when the next message is due."""
    resolved = {entry.id for entry in due.resolved}
    with db.transaction():
        for row in Alert.select().where(Alert.id.in_([entry.id for entry in due.all])):
            if row.id not in sent:
                delay = RETRIES[min(row.failures, len(RETRIES) - 1)]
                _set(row, failures=row.failures + 1, next_at=db.now() + delay)
            elif row.id in resolved:
                _set(row, resolution_sent_at=db.now(), failures=0)
            else:
                _record_notified(row, sent[row.id])


def mute(alert_id: int, actor: Actor, *, muted: bool = True) -> None:
    """Send no reminder of an open alert for a day; with `muted` false send them again from now on.

    It ends before where the problem gets worse. Raises Refused where the alert is not open any more.
    """
    now = db.now()
    with db.transaction():
        row = _open().where(Alert.id == min(alert_id, LAST)).first()
        if row is None:
            raise Refused("This alert was resolved.", "There is nothing to mute.")
        muted_until = now + DAY if muted else None
        _set(row, muted_until=muted_until, muted_by=actor.name[:254], muted_mailboxes=row.mailboxes)
        actor.record("alert muted" if muted_until else "alert unmuted", detail=row.message)


def retry_now() -> None:
    """Make due at once what no channel accepted: a channel was changed."""
    Alert.update(next_at=0, failures=0).where(Alert.failures > 0).execute()


def open_alerts() -> list[Entry]:
    """The open alerts: the gravest first, of these those of the most mailboxes, then the newest."""
    grave = (Alert.severity != SEVERITIES[0], Alert.mailboxes.desc(), Alert.since.desc(), Alert.id)
    return list(_entries(Alert.select().where(Alert.resolved_at.is_null()).order_by(*grave)))


def history(query: ListQuery = ListQuery()) -> Listing[Entry]:  # noqa: B008 - frozen
    """Resolved alerts of the last 90 days, by one of SORTS. A state is a severity."""
    resolved = Alert.select().where(Alert.resolved_at.is_null(False))
    if query.q:
        resolved = resolved.where(Alert.message.contains(query.q))
    by_severity: Any = resolved.select(Alert.severity, fn.COUNT(SQL("*"))).group_by(Alert.severity).tuples()
    counts: dict[str, int] = dict(by_severity)
    counts[""] = sum(counts.values())
    if query.state:
        resolved = resolved.where(Alert.severity == query.state)
    newest = resolved.order_by(*SORTS[query.sort], Alert.id.desc())
    page = _entries(newest.offset(query.skipped).limit(ROWS))
    return Listing(page, counts.get(query.state, 0), query, {"": 0, "bad": 0, "warn": 0} | counts)


def is_due(next_at: int, now: int, *, times: int, failures: int) -> bool:
    """Whether `next_at` has come, or lies so far ahead that only a wrong clock can have set it.

    That is further than the longest delay after so many messages and failed attempts.
    """
    retry = RETRIES[min(failures, len(RETRIES)) - 1] if failures else 0
    return not now < next_at <= now + max(LEASE, _reminder(max(times, 1)), retry)


def _reminder(times: int) -> int:
    """Seconds from message number `times` to the next one."""
    return REMINDERS[min(times, len(REMINDERS)) - 1]


# -- one row -----------------------------------------------------------------------------


def _open() -> ModelSelect[Alert]:
    return Alert.select().where(Alert.resolved_at.is_null()).order_by(Alert.id)


def _resolution_pending(now: int) -> ModelSelect[Alert]:
    """Resolved alerts that were sent as open, but not yet as resolved."""
    sent_later = (Alert.notified_at > Alert.resolution_sent_at) & ~ahead(Alert.notified_at)
    pending = Alert.notified_at.is_null(False) & (Alert.resolution_sent_at.is_null() | sent_later)
    return Alert.select().where((Alert.resolved_at > now - STALE_SECONDS) & pending).order_by(Alert.id)


def _is_due(row: Alert, now: int) -> bool:
    return is_due(row.next_at, now, times=row.notified_times, failures=row.failures)


def _is_muted(row: Alert, now: int) -> bool:
    """Whether it is muted now. A time further ahead than a day can only come from a wrong clock."""
    return row.muted_until is not None and now < row.muted_until and not is_ahead(row.muted_until, DAY)


def _create(condition: Condition, now: int) -> Alert:
    log.warning("%s %s", condition.message, condition.remedy)
    return Alert.create(
        topic=condition.topic, subject=condition.subject, condition=condition.name, message=condition.message,
        remedy=condition.remedy, path=condition.path, since=min(condition.since, now), next_at=now,
        severity=condition.severity, mailboxes=condition.mailboxes,
    )  # fmt: skip


def _reopen(condition: Condition, now: int) -> Alert | None:
    """The alert of this problem that was resolved a short while ago, open again; its reminders continue."""
    query = Alert.select().where(
        (Alert.topic == condition.topic)
        & (Alert.subject == condition.subject)
        & (Alert.resolved_at > now - REOPEN_SECONDS)
    )
    row: Alert | None = query.order_by(Alert.resolved_at.desc()).first()
    if row is not None:
        was_sent = row.notified_at and not is_ahead(row.notified_at)
        next_at = row.notified_at + _reminder(row.notified_times) if was_sent else now
        _set(row, resolved_at=None, quiet_since=None, failures=0, next_at=next_at)
    return row


def _refresh(row: Alert, condition: Condition, now: int) -> None:
    values: dict[str, object] = {
        "condition": condition.name, "message": condition.message, "remedy": condition.remedy,
        "path": condition.path, "severity": condition.severity, "mailboxes": condition.mailboxes,
        "since": min(row.since, condition.since), "quiet_since": None,
    }  # fmt: skip
    another = (row.condition, row.severity) != (condition.name, condition.severity)
    if _is_muted(row, now) and (another or _doubled(condition.mailboxes, row.muted_mailboxes)):
        log.warning("No longer muted, because it got worse: %s", condition.message)
        values |= {"muted_until": None, "next_at": now}
    elif _doubled(condition.mailboxes, row.notified_mailboxes, MORE_MAILBOXES) and _waits(row, now):
        values["next_at"] = now
    _set(row, **values)


def _doubled(count: int, before: int, more: int = 1) -> bool:
    return before > 0 and count >= max(2 * before, before + more)


def _waits(row: Alert, now: int) -> bool:
    """Whether its next message is a reminder that is not claimed yet."""
    return not row.failures and row.next_at > now + LEASE


def _not_seen(row: Alert, now: int, *, over: bool) -> None:
    """Resolved once that has lasted for the quiet period; without a message where it may not be `over`."""
    if row.quiet_since is None or row.quiet_since > now:
        _set(row, quiet_since=now)
    elif now - row.quiet_since >= QUIET_PERIOD:
        log.info("Resolved: %s", row.message)
        _set(row, resolved_at=now, failures=0, next_at=now, **({} if over else {"resolution_sent_at": now}))


def _record_notified(row: Alert, to: str) -> None:
    now, times = db.now(), row.notified_times + 1
    next_at = now if row.resolved_at is not None else now + _reminder(times)
    _set(
        row, notified_at=now, notified_times=times, notified_to=to, notified_mailboxes=row.mailboxes,
        failures=0, next_at=next_at,
    )  # fmt: skip


def _set(row: Alert, **values: object) -> None:
    Alert.update(**values).where(Alert.id == row.id).execute()


def _entries(rows: Iterable[Alert]) -> tuple[Entry, ...]:
    now = db.now()
    return tuple(
        Entry(
            row.id, row.condition, row.severity, row.message, row.remedy, row.path, row.mailboxes, row.since,
            row.resolved_at, row.notified_at, row.notified_times, row.notified_to, row.failures, row.next_at,
            row.muted_until if _is_muted(row, now) else None, row.muted_by,
        )
        for row in rows
    )  # fmt: skip
