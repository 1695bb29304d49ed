"""The problems that administrators are alerted to, derived from the facts each time: one cause, one problem.

Nothing here contains a path of the server or a secret: it is sent by mail and to other programs.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from peewee import fn

from panel import db
from panel.alerts.thresholds import USUAL, Thresholds
from panel.config import Settings
from panel.deliver import status
from panel.health import causes, heartbeat, mail, sign_ins
from panel.health.causes import FailingCause
from panel.health.sign_ins import DAY, NEW_SECRET, SOON, VERY_SOON, AppFact, SignIns
from panel.models import Alert, Heartbeat
from panel.models.moment import is_ahead
from panel.program import as_typed
from panel.vault.snapshot import Snapshot
from panel.vault.state import State
from panel.vault.vault import Vault
from panel.wording import counted, few, without_paths

MOST_CAUSES = 50  # of failing mailboxes; those of all others are one problem
ENCRYPTION, OVERVIEW, MAILBOXES = "/server/encryption", "/", "/accounts?state=failing"
GRAVE_PERCENT = 1  # free space
ATTENTION = "/accounts?state=attention"
MAILBOX_TOPIC, OTHERS = "mailboxes", "others"
CONSENT_TOPIC, SECRET_TOPIC = "consents", "app-secret"
DELIVERY = "/server/delivery"
TARGET_SECONDS = 300  # for which a target takes no mail before that is an alert
KEY = {
    State.KEY_MISSING: "The encryption key file is missing.",
    State.KEY_UNREADABLE: "The encryption key file cannot be used.",
    State.KEY_WRONG: "The encryption key file holds another key than this install expects.",
}


@dataclass(frozen=True)
class Condition:
    """One problem. `topic` and `subject` identify it, however its message changes.

    `path`: the page that solves it. `mailboxes`: how many it is about, where it is about mailboxes.
    """

    topic: str
    subject: str
    name: str
    message: str
    remedy: str
    path: str
    since: int
    severity: str = "bad"  # or warn
    mailboxes: int = 0

    def __post_init__(self) -> None:
        """Name commands as they can be typed here."""
        object.__setattr__(self, "remedy", as_typed(self.remedy))


def found(
    vault: Vault, limits: Thresholds = USUAL, disks: Iterable[Path] = (), settings: Settings | None = None
) -> list[Condition]:
    """All problems of this moment, the gravest first. As many as there are causes, and not many more.

    With `settings` also those of mail that is to go out.
    """
    key, beat = vault.latest(), heartbeat.read()
    return [
        *_worker(beat),
        *_key(key),
        *_records(key),
        *_mailboxes(limits),
        *_sign_ins(limits),
        *(_outgoing(settings, limits) if settings else ()),
        *_disk(disks, limits),
        *_backup(key, limits),
    ]


def standing(key: Snapshot, limits: Thresholds) -> list[Condition]:
    """What needs an administrator already, and is not sent: it is no alert yet, or has been chosen."""
    if key.state is State.OFF and key.clear:
        count = counted(key.clear, "mailbox password")
        message = f"{count} {'is' if key.clear == 1 else 'are'} stored in clear text."
        remedy = "Turn on encryption, so that a stolen database or backup reveals no password."
        return [Condition("encryption", "", "encryption-off", message, remedy, ENCRYPTION, 0, "warn")]
    if key.backup_due and not any(_backup(key, limits)):
        message = "The encryption key has no verified backup."
        remedy = "Without one, a broken disk loses all passwords."
        since = key.times.key_changed_at or 0
        return [Condition("backup", "", "backup-due", message, remedy, f"{ENCRYPTION}#backup", since, "warn")]
    return []


def worker_is_silent(row: Heartbeat | None) -> bool:
    """Whether the worker responded once, but not lately. One that never did fails to start."""
    return row is not None and row.beat_at is not None and not heartbeat.is_recent(row.beat_at)


def _worker(row: Heartbeat) -> Iterator[Condition]:
    if worker_is_silent(row):
        message = "The worker is not responding, so no mail is collected."
        remedy = "Read the server's log. If it does not name a cause, restart script/server."
        since = min(row.beat_at or 0, db.now())
        yield Condition("worker", "", "worker-silent", message, remedy, OVERVIEW, since)


def _key(key: Snapshot) -> Iterator[Condition]:
    if key.state.no_key:
        message = f"{KEY[key.state]} No mail is collected."
        remedy = "The Encryption page shows what to do; so does: flask encryption status"
        since = key.times.trouble_since or db.now()
        yield Condition("key", "", str(key.state), message, remedy, ENCRYPTION, since)


def _records(key: Snapshot) -> Iterator[Condition]:
    if key.state is State.INCONSISTENT:
        addresses = sorted({failure.address for failure in key.failures})
        named = f" ({few(addresses)})" if addresses else ""
        message = f"Some passwords cannot be decrypted{named}. These mailboxes are paused."
        remedy = "Enter the password of each of these mailboxes again."
        if not all(failure.is_password for failure in key.failures):
            message = f"Some secrets cannot be decrypted{named}. Mailboxes that need them are paused."
            remedy = "The Encryption page says of each why, and what to enter or connect again."
        count = len(addresses)
        yield Condition("records", "", str(key.state), message, remedy, ENCRYPTION, db.now(), mailboxes=count)


def _mailboxes(limits: Thresholds) -> Iterator[Condition]:
    """Mailboxes that are not paused and have been failing for so long: a problem for each cause."""
    found = causes.read(MOST_CAUSES, limits.failing_seconds)
    yield from map(_cause, found.named)
    if found.more:
        message = f"{found.more_mailboxes:,} more mailboxes fail, for {found.more:,} other reasons."
        since = min((each.since for each in found.named if each.since is not None), default=db.now())
        yield Condition(
            MAILBOX_TOPIC, OTHERS, "mailbox-failing", message, "See the list.", MAILBOXES, since,
            mailboxes=found.more_mailboxes,
        )  # fmt: skip


def _cause(found: FailingCause) -> Condition:
    if found.count == 1:
        message = mail.mailbox_problem(found.addresses[0], found.problem, found.last_success_at)
        remedy = without_paths(found.remedy) or "See the page of the mailbox."
    else:
        message = f"{found.count:,} mailboxes: {mail.cause_text(found)}"
        remedy = f"{without_paths(found.remedy)} Mailboxes: {few(found.addresses, found.count)}.".strip()
    return Condition(
        MAILBOX_TOPIC,
        hashlib.sha256(f"{found.host}\n{found.cause}".encode("utf-8", "replace")).hexdigest()[:32],
        "mailbox-failing",
        message,
        remedy,
        found.path[:200],
        found.since or 0,
        mailboxes=found.count,
    )


def _sign_ins(limits: Thresholds) -> Iterator[Condition]:
    """A consent that the provider ended, at once; an app's fault once for its mailboxes."""
    found = sign_ins.read()
    for each in found.waiting:
        if each.ended:
            message = f"{each.address}: {each.message}"
            yield Condition(
                CONSENT_TOPIC, each.uuid[:36], "consent-ended", message, each.remedy, each.path, each.since,
                mailboxes=1,
            )  # fmt: skip
    yield from _not_connected(found, limits)
    for app in found.apps:
        yield from _app(app)


def _not_connected(found: SignIns, limits: Thresholds) -> Iterator[Condition]:
    """Mailboxes that nobody has connected for as long as one may fail: together."""
    late = [each for each in found.waiting if not each.ended and _is_past(each.since, limits)]
    if late:
        named = few([each.address for each in late])
        message = f"{counted(len(late), 'mailbox')} not connected to a provider yet: {named}."
        path = late[0].path if len(late) == 1 else ATTENTION
        remedy = "Connect each of them on its page; mail waits on the server."
        since, count = min(each.since for each in late), len(late)
        yield Condition(CONSENT_TOPIC, "", "consent-needed", message, remedy, path, since, "warn", count)


def _is_past(since: int, limits: Thresholds) -> bool:
    return db.now() - since >= limits.failing_seconds or is_ahead(since)


def _app(app: AppFact) -> Iterator[Condition]:
    uid, count = app.uid[:36], app.mailboxes
    if app.problem:
        remedy, since = app.remedy or NEW_SECRET, app.problem_at or db.now()
        yield Condition("app", uid, "app-fault", app.problem, remedy, app.path, since, mailboxes=count)
    soon = app.expires_within(VERY_SOON)
    if soon or (app.expires_within(SOON) and _is_first_day(app)):
        severity, now = "bad" if soon else "warn", db.now()
        yield Condition(
            SECRET_TOPIC, uid, "secret-expires", app.expiry, NEW_SECRET, app.path, now, severity, count
        )


def _is_first_day(app: AppFact) -> bool:
    """Whether the first alert to its date was today, or there was none, as where it was entered late."""
    from_then = Alert.since >= (app.expires_at or 0) - SOON
    alerts = Alert.select(fn.MIN(Alert.since)).where(
        Alert.topic == SECRET_TOPIC, Alert.subject == app.uid[:36], from_then
    )
    first: int | None = alerts.scalar()
    return first is None or db.now() - first < DAY


def _outgoing(settings: Settings, limits: Thresholds) -> Iterator[Condition]:
    """Targets that take no mail, mail that waits for another reason, and mail that was set aside."""
    going, late = status.outgoing(settings), db.now() - limits.waiting_minutes * 60
    for each in going.used:
        if each.since and db.now() - each.since > TARGET_SECONDS:
            message = f"The target {each.name} takes no mail: the last {each.failures} deliveries failed."
            yield _undelivered(each.name, "target-failing", message, each.since, each.mailboxes)
    if going.problem:
        message = without_paths(going.problem) or "Mail does not go out."
        yield _undelivered("", "delivery-stopped", message, db.now())
    elif going.oldest_at and going.oldest_at < late and (named := status.late(settings, going, late)):
        message = f"Mail has waited for {counted(limits.waiting_minutes, 'minute')} to go out: {few(named)}."
        yield _undelivered("waiting", "mail-waiting", message, late, len(named))
    if count := sum(going.aside.values()):
        was = "was" if count == 1 else "were"
        message = f"{counted(count, 'message')} could not be delivered and {was} set aside."
        yield _undelivered("aside", "mail-set-aside", message, db.now(), len(going.aside), "warn")


def _undelivered(
    subject: str, name: str, message: str, since: int, mailboxes: int = 0, severity: str = "bad"
) -> Condition:
    remedy = "The Delivery page and the pages of the mailboxes say why."
    return Condition("delivery", subject, name, message, remedy, DELIVERY, since, severity, mailboxes)


def _disk(disks: Iterable[Path], limits: Thresholds) -> Iterator[Condition]:
    """The fullest of these disks, where it has less free than it should."""
    percent, size = min((_free(path) for path in disks if path.exists()), default=(100.0, 0))
    if percent < limits.disk_percent:
        message = f"The server's disk is almost full: {percent:.0f}% ({size / 2**30:.1f} GiB) free."
        remedy = "Free up space before collecting stops: flask doctor names the directory."
        severity = "bad" if percent < GRAVE_PERCENT else "warn"
        yield Condition("disk", "", "disk-almost-full", message, remedy, OVERVIEW, db.now(), severity)


def _free(path: Path) -> tuple[float, int]:
    """Free space in percent and in bytes."""
    disk = os.statvfs(path)
    return 100 * disk.f_bavail / max(disk.f_blocks, 1), disk.f_bavail * disk.f_frsize


def _backup(key: Snapshot, limits: Thresholds) -> Iterator[Condition]:
    """A key file without a verified backup for so long after it was made or changed."""
    since = key.times.key_changed_at  # not the row's time, which SQL could set far ahead
    if not key.backup_due or since is None:
        return
    if db.now() - since >= limits.unverified_seconds or is_ahead(since):
        days = limits.unverified_days
        lasting = "a day or longer" if days == 1 else f"{days} days or longer"
        message = f"The encryption key has had no verified backup for {lasting}."
        remedy = "Verify a backup on the Encryption page, with the command shown there."
        page = f"{ENCRYPTION}#backup"
        yield Condition("backup", "", "backup-unverified", message, remedy, page, since, "warn")
