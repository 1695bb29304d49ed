"""The ledger of troubles: since when, who was told how often, when it was over. Several processes share it.

A word that is due is taken on in the same transaction that finds it due, so that
one process brings it out. If that one dies with it, another takes it on later:
a word may come twice then, but is not lost.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from peewee import ModelSelect

from panel import db
from panel.alerts import schedule
from panel.alerts.conditions import Condition
from panel.models import Alert
from panel.models.moment import ahead, is_ahead

KEPT_SECONDS = 90 * schedule.DAY  # what is over, for whoever looks it up
TOO_LATE = schedule.DAY  # 'it is over' that no channel took for so long is not worth telling

log = logging.getLogger("mailkeep.notices")


@dataclass(frozen=True)
class Entry:
    """One trouble of the ledger, as it is told and shown."""

    id: int
    condition: str
    message: str
    remedy: str
    path: str
    since: int
    over_at: int | None
    notified_at: int | None
    notified_times: int
    failures: int
    next_at: int


@dataclass(frozen=True)
class Due:
    """What one process has to bring out now; `others` are wrong too, but not due."""

    troubles: tuple[Entry, ...] = ()
    over: tuple[Entry, ...] = ()
    others: tuple[Entry, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.troubles or self.over)

    @property
    def ids(self) -> set[int]:
        """The rows of all that is to be brought out."""
        return {entry.id for entry in (*self.troubles, *self.over)}


def look_over(found: Collection[Condition]) -> None:
    """Lay what is wrong now over what the ledger knows."""
    now = db.now()
    with db.transaction():
        known = {(row.topic, row.subject): row for row in _open()}
        for condition in found:
            row = known.pop((condition.topic, condition.subject), None)
            if row is None:
                row = _came_back(condition, now) or _begin(condition, now)
            _refresh(row, condition)
        for row in known.values():
            _fade(row, now)
        Alert.delete().where(Alert.over_at < now - KEPT_SECONDS).execute()


def take_due(*, told_somewhere: bool) -> Due:
    """Take on all that is due. `told_somewhere`: there is a channel at all; without one nothing is taken."""
    now = db.now()
    if not told_somewhere:
        return Due()
    with db.transaction():
        open_ = list(_open())
        troubles = [row for row in open_ if row.quiet_since is None and _is_due(row, now)]
        over = [row for row in _over_untold(now) if _is_due(row, now)]
        for row in (*troubles, *over):
            Alert.update(next_at=now + schedule.LEASE).where(Alert.id == row.id).execute()
        others = [row for row in open_ if row.quiet_since is None and row not in troubles]
    return Due(_entries(troubles), _entries(over), _entries(others))


def note_told(due: Due, told: set[int]) -> None:
    """Note which of `due` some channel took, and when the next word of each is due."""
    with db.transaction():
        for row in Alert.select().where(Alert.id.in_(due.ids)):
            if row.id not in told:
                _failed(row)
            elif any(row.id == entry.id for entry in due.over):
                _update(row, resolution_sent_at=db.now(), failures=0)
            else:
                _told(row)


def try_again() -> None:
    """Make due what no channel took: somebody has mended or changed one."""
    Alert.update(next_at=0, failures=0).where(Alert.failures > 0).execute()


def now_wrong() -> list[Entry]:
    """What is not over, the newest first."""
    return list(_entries(_open().order_by(Alert.since.desc(), Alert.id)))


def lately_over(count: int) -> list[Entry]:
    """The last `count` that are over, the newest first."""
    query = Alert.select().where(Alert.over_at.is_null(False))
    return list(_entries(query.order_by(Alert.over_at.desc(), Alert.id.desc()).limit(count)))


# -- one row -----------------------------------------------------------------------------


def _open() -> ModelSelect[Alert]:
    return Alert.select().where(Alert.over_at.is_null()).order_by(Alert.id)


def _over_untold(now: int) -> ModelSelect[Alert]:
    """What is over and was told as trouble, but not yet as over."""
    later = (Alert.notified_at > Alert.resolution_sent_at) & ~ahead(Alert.notified_at)
    untold = Alert.resolution_sent_at.is_null() | later
    told = Alert.notified_at.is_null(False) & untold
    return Alert.select().where((Alert.over_at > now - TOO_LATE) & told).order_by(Alert.id)


def _is_due(row: Alert, now: int) -> bool:
    return schedule.is_due(row.next_at, now, times=row.notified_times, failures=row.failures)


def _begin(condition: Condition, now: int) -> Alert:
    log.warning("%s %s", condition.message, condition.remedy)
    return Alert.create(
        topic=condition.topic, subject=condition.subject, condition=condition.name, message=condition.message,
        remedy=condition.remedy, path=condition.path, since=min(condition.since, now), next_at=now,
    )  # fmt: skip


def _came_back(condition: Condition, now: int) -> Alert | None:
    """The trouble that was over a short while ago, open again: its reminders go on as they were."""
    query = Alert.select().where(
        (Alert.topic == condition.topic)
        & (Alert.subject == condition.subject)
        & (Alert.over_at > now - schedule.RETURN)
    )
    row: Alert | None = query.order_by(Alert.over_at.desc()).first()
    if row is None:
        return None
    told = row.notified_at and not is_ahead(row.notified_at)
    next_at = row.notified_at + schedule.reminder(row.notified_times) if told else now
    _update(row, over_at=None, quiet_since=None, failures=0, next_at=next_at)
    return row


def _refresh(row: Alert, condition: Condition) -> None:
    _update(
        row, condition=condition.name, message=condition.message, remedy=condition.remedy,
        path=condition.path, since=min(row.since, condition.since), quiet_since=None,
    )  # fmt: skip


def _fade(row: Alert, now: int) -> None:
    """It is not seen any more: over, once that has lasted."""
    if row.quiet_since is None or row.quiet_since > now:
        _update(row, quiet_since=now)
    elif now - row.quiet_since >= schedule.CALM:
        log.info("It is over: %s", row.message)
        _update(row, over_at=now, failures=0, next_at=now)


def _told(row: Alert) -> None:
    now, times = db.now(), row.notified_times + 1
    next_at = now if row.over_at is not None else now + schedule.reminder(times)
    _update(row, notified_at=now, notified_times=times, failures=0, next_at=next_at)


def _failed(row: Alert) -> None:
    failures = row.failures + 1
    _update(row, failures=failures, next_at=db.now() + schedule.again(failures))


def _update(row: Alert, **values: object) -> None:
    Alert.update(**values).where(Alert.id == row.id).execute()


def _entries(rows: Iterable[Alert]) -> tuple[Entry, ...]:
    return tuple(
        Entry(
            row.id, row.condition, row.message, row.remedy, row.path, row.since, row.over_at, row.notified_at,
            row.notified_times, row.failures, row.next_at,
        )
        for row in rows
    )  # fmt: skip
