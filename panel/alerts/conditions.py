"""The problems that administrators are alerted to, derived from the facts each time.

Nothing here contains a path of the server or a secret: it is sent by mail and to other programs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from peewee import SQL, fn

from panel import db
from panel.health import heartbeat, mail
from panel.health.check import few, without_paths
from panel.models import LISTED, Account, Collection, Heartbeat
from panel.models.moment import SLACK, is_ahead
from panel.models.prepared import Prepared, given
from panel.vault.snapshot import Snapshot
from panel.vault.state import State
from panel.vault.vault import Vault

FAILING_SECONDS = 3600
UNVERIFIED_SECONDS = 7 * 24 * 3600
BANNER_ROWS = 3
ENCRYPTION = "/server/encryption"
KEY = {
    State.KEY_MISSING: "The encryption key file is missing.",
    State.KEY_UNREADABLE: "The encryption key file cannot be used.",
    State.KEY_WRONG: "The encryption key file holds another key than this install expects.",
}


@dataclass(frozen=True)
class Condition:
    """One problem. `topic` and `subject` identify it, however its message changes.

    `path`: the page that solves it. `agent_message`: for support staff; empty where it does not concern them.
    """

    topic: str
    subject: str
    name: str
    message: str
    remedy: str
    path: str
    since: int
    agent_message: str = ""


@dataclass(frozen=True)
class Banner:
    """What appears on top of every page: the gravest problems, and how many there are in all."""

    conditions: list[Condition]
    total: int


def found(vault: Vault) -> list[Condition]:
    """All problems of this moment, the gravest first."""
    key, beat = vault.latest(), heartbeat.read()
    return [*_worker(beat), *_key(key), *_records(key), *_accounts(_failing(10**9)), *_backup(key)]


def banner(key: Snapshot, beat: Heartbeat | None) -> Banner:
    """The problems of this moment without a banner of their own. Costs no more for more mailboxes."""
    failing = _failing(BANNER_ROWS)
    conditions = [*_worker(beat or Heartbeat()), *_accounts(failing), *_backup(key)]
    return Banner(conditions, len(conditions) - len(failing) + (failing[0].total if failing else 0))


def _worker(row: Heartbeat) -> Iterator[Condition]:
    """A worker that responded once, but not lately. One that never did is a server that does not start."""
    beat = row.beat_at
    if beat is not None and not heartbeat.is_recent(beat):
        yield Condition(
            "worker",
            "",
            "worker-silent",
            "The worker is not responding, so no mail is collected.",
            "Read the server's log. If it does not name a cause, restart script/server.",
            "/",
            min(beat, db.now()),
            "The program that collects mail is not running.",
        )


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
        yield Condition("records", "", str(key.state), message, remedy, ENCRYPTION, db.now())


def _failing(most: int) -> list[Any]:
    """Mailboxes that are not paused and have been failing for an hour; `total`: how many there are."""
    now = db.now()
    return _FAILING.all(before=now - FAILING_SECONDS, ahead=now + SLACK, most=most)


def _select_failing() -> Any:
    since = fn.COALESCE(Collection.failing_since, Collection.last_success_at, Account.created_at)
    return (
        Collection.select(
            Account.uuid, Account.address, Account.created_at, Collection.problem, Collection.remedy,
            Collection.last_success_at, Collection.failing_since, fn.COUNT(SQL("*")).over().alias("total"),
        )
        .join(Account)
        .where(Collection.problem.is_null(False) & Account.paused_at.is_null() & LISTED)
        .where(*(_long_ago(at) for at in (Collection.last_success_at, Collection.failing_since)))
        .where((since <= given("before")) | (since > given("ahead")))
        .order_by(Account.address)
        .limit(given("most"))
    )  # fmt: skip


_FAILING = Prepared(_select_failing)


def _long_ago(column: Any) -> Any:
    """Whether it was long ago, or at an unknown time."""
    return column.is_null() | (column <= given("before")) | (column > given("ahead"))


def _accounts(rows: Iterable[Any]) -> Iterator[Condition]:
    for row in rows:
        since = row.failing_since or row.last_success_at or row.created_at
        message = mail.mailbox_problem(row.address, row.problem, row.last_success_at)
        remedy = without_paths(row.remedy) or "See the page of the mailbox."
        path = f"/accounts/{row.uuid}"
        yield Condition("account", row.uuid, "mailbox-failing", message, remedy, path, since, message)


def _backup(key: Snapshot) -> Iterator[Condition]:
    """A key file without a verified backup for a week after it was made or changed."""
    since = key.times.key_changed_at  # not the row's time, which SQL could set far ahead
    if not key.backup_due or since is None:
        return
    if db.now() - since >= UNVERIFIED_SECONDS or is_ahead(since):
        message = "The encryption key has had no verified backup for a week or longer."
        remedy = "Verify a backup on the Encryption page, with the command shown there."
        yield Condition("backup", "", "backup-unverified", message, remedy, ENCRYPTION, since)
