"""How mail goes out, for pages, shell, alerts and metrics: read from what the deliverer reports.

It reports in files that a group may write: they are bounded, checked for their types and shown as text,
and nothing else hangs on them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from panel import db
from panel.config import Settings
from panel.deliver import spool, targets_file
from panel.deliver.spool import ASIDE, SENT
from panel.deliver.targets import MAILDIR, Targets
from panel.errors import SettingsError
from panel.models import SpoolCount
from panel.program import as_typed

DAY = 24 * 3600
SILENT_SECONDS = 60  # after which the deliverer counts as not running
MOST_SEEN = 10_000  # files of one folder that a page looks at; the worker counts more
LEAVES = "leaves mail for the helpdesk to pick up"
USED = """
SELECT CAST(a.deliver_to AS TEXT), count(*), CAST(total(w.unread) AS INTEGER),
  min(CASE WHEN w.unread > 0 THEN w.oldest_at END)
FROM account a LEFT JOIN waiting w ON w.account_id = a.uuid WHERE a.removed_at IS NULL GROUP BY 1
"""
LATE = """
SELECT CAST(a.deliver_to AS TEXT), CAST(a.address AS TEXT)
FROM account a JOIN waiting w ON w.account_id = a.uuid
WHERE a.removed_at IS NULL AND w.unread > 0 AND w.oldest_at < ? ORDER BY a.address
"""


@dataclass(frozen=True)
class TargetState:
    """One target, and how it is doing. `does` empty: it is not in the file; `since`: it fails.

    What waits in all its mailboxes is as the deliverer or, every five minutes, the worker last counted it.
    """

    name: str
    does: str
    mailboxes: int = 0
    waiting: int = 0
    oldest_at: int | None = None
    since: int | None = None
    failures: int = 0
    answer: str = ""
    delivered_at: int | None = None


@dataclass(frozen=True)
class Outgoing:
    """All targets, and whether they are delivered to. `problem`: why not, in a sentence."""

    targets: list[TargetState]
    default: str
    problem: str = ""
    remedy: str = ""
    aside: dict[str, int] = field(default_factory=dict)  # messages, by the uuid of their mailbox
    broken: bool = False  # the targets file cannot be used, so what a mailbox uses is not known

    @property
    def used(self) -> list[TargetState]:
        """Those that mailboxes use, but for the Maildirs."""
        return [each for each in self.targets if each.mailboxes and each.name != MAILDIR]

    @property
    def oldest_at(self) -> int | None:
        """When the oldest message came that waits to go out."""
        return min((each.oldest_at for each in self.used if each.oldest_at), default=None)


@dataclass(frozen=True)
class SetAside:
    """One message that its target has refused, or failed with too often."""

    name: str  # of its file
    at: int
    answer: str


@dataclass(frozen=True)
class MailboxOut:
    """How the mail of one mailbox goes out. `does` empty: its target is not in the file."""

    target: str
    does: str
    waiting: int
    oldest_at: int | None
    attempts: int  # of the first message that waits
    answer: str
    next_at: int | None
    delivered_at: int | None
    delivered: str  # what the target answered then
    problem: str
    aside: list[SetAside]
    aside_count: int


def read_targets(settings: Settings) -> tuple[Targets, SettingsError | None]:
    """The targets file, or what is wrong with it."""
    try:
        return targets_file.read(settings.targets_file), None
    except SettingsError as error:
        return Targets(), error


def outgoing(settings: Settings, *, reported_use: bool = False, reported_waiting: bool = False) -> Outgoing:
    """The state of all targets. One statement of SQL, or with `reported_use` none while the deliverer runs.

    What mailboxes use, and what waits, is then what the deliverer reports; with `reported_waiting` only what
    waits is, which is seconds old. Alerts believe the worker's count alone: the helpdesk can write a report.
    """
    found, broken = read_targets(settings)
    reported = spool.read(spool.beside(settings.mail_spool, "state", "deliverer.json"))
    states = {MAILDIR: TargetState(MAILDIR, LEAVES)}
    lines = _dict(reported.get("targets"))
    for name, target in found.by_name.items():
        states[name] = _state(name, str(target), _dict(lines.get(name)))
    counted = _reported_use(reported) if _is_recent(reported) else []
    rows = (reported_use and counted) or db.database.execute_sql(USED).fetchall()
    for chosen, count, waiting, oldest in _with_waiting(rows, counted) if reported_waiting else rows:
        name = found.chosen(chosen)
        state = states.get(name) or TargetState(name, "")
        times = [at for at in (state.oldest_at, _past(oldest)) if at]
        states[name] = replace(
            state, mailboxes=state.mailboxes + count, waiting=state.waiting + spool.whole(waiting),
            oldest_at=min(times, default=None),
        )  # fmt: skip
    aside = {uuid: spool.whole(count) for uuid, count in _dict(reported.get("aside")).items()}
    result = Outgoing([*states.values()], found.default, aside=aside, broken=broken is not None)
    problem, remedy = _stopped(reported) if result.used else ("", "")
    if broken:
        problem, remedy = broken.message, broken.remedy
    return replace(result, problem=problem, remedy=remedy)


def _state(name: str, does: str, line: dict[str, Any]) -> TargetState:
    return TargetState(
        name, does,
        since=_past(line.get("since")),
        failures=spool.whole(line.get("failures")),
        answer=spool.text(line.get("answer")),
        delivered_at=_past(line.get("delivered_at")),
    )  # fmt: skip


def _stopped(reported: dict[str, Any]) -> tuple[str, str]:
    """Why the deliverer delivers nothing at all, and what to do; empty while it works."""
    if said := spool.text(reported.get("problem")):
        return f"Mail does not go out. {said}", "The deliverer's log says the same."
    if not _is_recent(reported):
        return "The deliverer is not running, so mail does not go out.", as_typed("Run: flask deliver run")
    return "", ""


def _is_recent(reported: dict[str, Any]) -> bool:
    return abs(time.time() - spool.whole(reported.get("at"))) <= SILENT_SECONDS


def _reported_use(reported: dict[str, Any]) -> list[tuple[str, int, int, int]]:
    rows = reported.get("used")
    whole = [row for row in rows if isinstance(row, list) and len(row) == 4] if isinstance(rows, list) else []
    return [(spool.text(name), *map(spool.whole, numbers)) for name, *numbers in whole]  # type: ignore[misc]


def _with_waiting(rows: Iterable[Any], counted: list[tuple[str, int, int, int]]) -> Iterator[Any]:
    """These rows of USED, with what the deliverer counted; it leaves the Maildirs alone."""
    waits = {name: numbers for name, _, *numbers in counted if name != MAILDIR}
    for name, count, *numbers in rows:
        yield name, count, *waits.get(str(name), numbers)


def late(settings: Settings, found: Outgoing, before: int) -> list[str]:
    """Addresses of mailboxes whose mail has waited since before then, though their targets do not fail."""
    chosen = read_targets(settings)[0].chosen
    working = {each.name for each in found.used if not each.since}
    rows = db.database.execute_sql(LATE, (before,)).fetchall()
    return [str(address) for name, address in rows if chosen(name) in working]


def mailbox(settings: Settings, uuid: str, chosen: str) -> MailboxOut:
    """How the mail of one mailbox goes out. One statement of SQL at most."""
    found, broken = read_targets(settings)
    name = found.chosen(chosen) if broken is None else chosen or "the default"
    beside = spool.beside(settings.mail_spool, uuid)
    reported = _of_mailbox(settings.mail_spool, uuid)
    does = LEAVES if name == MAILDIR else str(found.by_name.get(name, ""))
    missing = f"The target “{name[:40]}” is not in the targets file, so mail waits."
    missing = broken.message if broken else missing
    problem = spool.text(reported.get("problem")) if does else missing
    if name != MAILDIR and not problem:
        problem, _ = _stopped(spool.read(spool.beside(settings.mail_spool, "state", "deliverer.json")))
    aside = _aside(beside, reported)
    waiting, oldest_at = _waiting(settings.mail_spool, uuid)
    return MailboxOut(
        target=name,
        does=does,
        waiting=waiting,
        oldest_at=oldest_at,
        attempts=spool.whole(reported.get("attempts")),
        answer=spool.text(reported.get("answer")),
        next_at=spool.whole(reported.get("next_at")) or None,
        delivered_at=_past(reported.get("delivered_at")),
        delivered=spool.text(reported.get("delivered")),
        problem=problem,
        aside=aside[: spool.ASIDE_LISTED],
        aside_count=len(aside),
    )


def _waiting(root: Path, uuid: str) -> tuple[int, int | None]:
    """How many messages wait, and when the oldest came: now, or as last counted where there are very many."""
    with suppress(OSError):
        # A path that SQL put there is not looked at.
        names = _some(root / uuid / "new") if spool.is_uuid(uuid) else None
        if names is not None:
            return len(names), min((spool.order(name)[0] for name in names), default=0) or None
    count = SpoolCount.get_or_none(SpoolCount.account == uuid)
    return (count.unread, count.oldest_at) if count and count.unread else (0, None)


def _some(new: Path) -> list[str] | None:
    """What lies in the folder; None where that is too much to look at. Raises OSError."""
    try:
        with os.scandir(new) as entries:
            names = [each.name for each in islice(entries, MOST_SEEN + 1) if each.name[0] != "."]
    except FileNotFoundError:  # nothing was collected yet
        return []
    return names if len(names) <= MOST_SEEN else None


@dataclass(frozen=True)
class Gone:
    """Which messages have left through targets. `default`: the target of mailboxes that chose none."""

    default: str
    since: int  # copies of what was delivered are kept from then on
    aside: dict[str, list[str]]  # names of files, by the uuid of their mailbox


def gone(settings: Settings) -> Gone | None:
    """Those of all mailboxes; None where nothing is delivered. No statement of SQL."""
    if settings.targets_file is None:
        return None
    found, root = read_targets(settings)[0], settings.mail_spool
    reported = spool.read(spool.beside(root, "state", "deliverer.json"))
    uuids = filter(spool.is_uuid, _dict(reported.get("aside")))
    aside = {uuid: spool.listed(spool.beside(root, uuid, ASIDE)) for uuid in uuids}
    return Gone(found.default, db.now() - found.keep_days * DAY, aside)


def _aside(beside: Path, reported: dict[str, Any]) -> list[SetAside]:
    """What lies set aside, the newest first, with the answers that are known."""
    known = _refusals(reported)
    try:
        names = [spool.text(name) for name in spool.names(beside / ASIDE)]
    except OSError:
        return []
    return [known.get(name, SetAside(name, 0, "")) for name in reversed(names)]


def _refusals(reported: dict[str, Any]) -> dict[str, SetAside]:
    """By the names of the files, as far as the deliverer lists them."""
    listed = reported.get("aside")
    lines = map(_dict, listed if isinstance(listed, list) else [])
    found = (
        SetAside(spool.text(each.get("name")), spool.whole(each.get("at")), spool.text(each.get("answer")))
        for each in lines
    )
    return {each.name: each for each in found}


def where(root: Path, uuid: str, name: str) -> tuple[str, int] | None:
    """Whether a message that no longer waits was delivered (SENT) or set aside (ASIDE), and when."""
    for folder in (SENT, ASIDE) if name and "/" not in name and spool.is_uuid(uuid) else ():
        try:
            return folder, int(spool.beside(root, uuid, folder, name).lstat().st_mtime)
        except (OSError, ValueError):
            continue
    return None


def tries(root: Path, uuid: str, name: str) -> tuple[int, str]:
    """How often a message that waits was tried, and what the target answered last."""
    reported = _of_mailbox(root, uuid)
    if not name or reported.get("head") != name:
        return 0, ""
    return spool.whole(reported.get("attempts")), spool.text(reported.get("answer"))


def refusal(root: Path, uuid: str, name: str) -> str:
    """What the target answered to a message that was set aside; empty where that is not known any more."""
    return _refusals(_of_mailbox(root, uuid)).get(spool.text(name), SetAside(name, 0, "")).answer


def _of_mailbox(root: Path, uuid: str) -> dict[str, Any]:
    """What the deliverer reports of one mailbox."""
    return spool.read(spool.beside(root, "state", f"{uuid}.json")) if spool.is_uuid(uuid) else {}


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _past(value: object) -> int | None:
    """A time that is not ahead of now."""
    return min(spool.whole(value), int(time.time())) or None
