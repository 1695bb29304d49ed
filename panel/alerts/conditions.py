"""What is wrong at this moment that somebody must be told of: derived from facts each time.

Nothing here holds a path of the server or a secret: it goes out by mail and to other programs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from peewee import SQL, fn

from panel import db
from panel.health import heartbeat, mail
from panel.models import Account, Collection, Heartbeat
from panel.models.moment import SLACK, is_ahead
from panel.models.prepared import Prepared, given
from panel.times import ago
from panel.vault.snapshot import Snapshot
from panel.vault.state import State
from panel.vault.vault import Vault

FAILING_SECONDS = 3600
UNPROVED_SECONDS = 7 * 24 * 3600
NAMED = 5  # accounts in one sentence
BANNER_ROWS = 3
ENCRYPTION = "/server/encryption"
PATH = re.compile(r"(?<![\w:/.])/[\w.]")  # of this server; not the path of a web address
KEY = {
    State.KEY_MISSING: "The encryption key file is missing.",
    State.KEY_UNREADABLE: "The encryption key file cannot be used as it is.",
    State.KEY_WRONG: "The encryption key file is not the one that this install expects.",
}


@dataclass(frozen=True)
class Condition:
    """One trouble. `topic` and `subject` say which, whatever its words become meanwhile.

    `path`: the page that mends it. `told`: what support staff are told; empty where it is not their matter.
    `banner`: whether it stands on top of every page; that of the key is there already, with its own words.
    """

    topic: str
    subject: str
    name: str
    message: str
    remedy: str
    path: str
    since: int
    told: str = ""
    banner: bool = True


@dataclass(frozen=True)
class Banner:
    """What stands on top of every page: the gravest of what is wrong, and how much there is in all."""

    conditions: list[Condition]
    total: int


def found(vault: Vault) -> list[Condition]:
    """Everything that is wrong now, the gravest first."""
    key, beat = vault.latest(), heartbeat.read()
    return [*_worker(beat), *_key(key), *_records(key), *_accounts(_failing(10**9)), *_backup(key)]


def banner(key: Snapshot, beat: Heartbeat | None) -> Banner:
    """What is wrong now that no other banner says, alerted or not. It costs no more for more mailboxes."""
    failing = _failing(BANNER_ROWS)
    conditions = [*_worker(beat or Heartbeat()), *_accounts(failing), *_backup(key)]
    return Banner(conditions, len(conditions) - len(failing) + (failing[0].total if failing else 0))


def _worker(row: Heartbeat) -> Iterator[Condition]:
    """A worker that was heard of, but not of late. One that never ran is a server that does not start."""
    beat = row.beat_at
    if beat is None or abs(db.now() - beat) <= mail.SILENT_SECONDS:
        return
    yield Condition(
        "worker",
        "",
        "worker-silent",
        "The worker does not answer, so no mail is collected.",
        "Look at the server's log; if that says nothing, stop and start script/server.",
        "/",
        min(beat, db.now()),
        told="The program that collects mail does not run.",
    )


def _key(key: Snapshot) -> Iterator[Condition]:
    if key.state.no_key:
        yield Condition(
            "key",
            "",
            str(key.state),
            f"{KEY[key.state]} No mail is collected.",
            "The Encryption page says what to type on the server; so does: flask encryption status",
            ENCRYPTION,
            key.times.trouble_since or db.now(),
            banner=False,
        )


def _records(key: Snapshot) -> Iterator[Condition]:
    if key.state is not State.INCONSISTENT:
        return
    addresses = sorted({failure.address for failure in key.failures})
    named = f" ({_few(addresses)})" if addresses else ""
    yield Condition(
        "records",
        "",
        str(key.state),
        f"Some stored passwords do not open{named}. Their accounts are paused.",
        "Enter the password of each of these accounts again.",
        ENCRYPTION,
        db.now(),
        banner=False,
    )


def _failing(most: int) -> list[Any]:
    """Mailboxes that nobody paused and whose rounds have failed for an hour; `total`: how many there are."""
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
        .where(Collection.problem.is_null(False) & Account.paused_at.is_null())
        .where(*(_long_ago(at) for at in (Collection.last_success_at, Collection.failing_since)))
        .where((since <= given("before")) | (since > given("ahead")))
        .order_by(Account.address)
        .limit(given("most"))
    )  # fmt: skip


_FAILING = Prepared(_select_failing)


def _long_ago(column: Any) -> Any:
    """Whether it was long ago, or nobody knows when."""
    return column.is_null() | (column <= given("before")) | (column > given("ahead"))


def _accounts(rows: Iterable[Any]) -> Iterator[Condition]:
    for row in rows:
        since = row.failing_since or row.last_success_at or row.created_at
        problem = _plain(row.problem or "") or "Its mail cannot be kept on this server."
        message = f"{row.address}: {problem} Last collected: {ago(row.last_success_at)}."
        yield Condition(
            "account",
            row.uuid,
            "account-failing",
            message,
            _plain(row.remedy or "") or "See the account's page.",
            f"/accounts/{row.uuid}",
            since,
            told=message,
        )


def _backup(key: Snapshot) -> Iterator[Condition]:
    """A key file that nobody has proved a copy of since it was made or changed, for a week."""
    since = key.times.key_changed_at  # not the row's time, which SQL could set far ahead
    if not key.backup_due or since is None:
        return
    if db.now() - since >= UNPROVED_SECONDS or is_ahead(since):
        yield Condition(
            "backup",
            "",
            "backup-unproved",
            "For a week or longer nobody has proved that a good copy of the key file exists.",
            "Prove it on the Encryption page, with the command shown there.",
            ENCRYPTION,
            since,
        )


def _plain(text: str) -> str:
    """`text`, unless it names a place on this server."""
    return "" if PATH.search(text) else text


def _few(addresses: list[str]) -> str:
    more = f" and {len(addresses) - NAMED} more" if len(addresses) > NAMED else ""
    return ", ".join(addresses[:NAMED]) + more
