"""What is wrong at this moment that somebody must be told of: derived from facts each time.

Nothing here holds a path of the server or a secret: it goes out by mail and to other programs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from panel import db
from panel.health import heartbeat, mail
from panel.models import Account, Collection
from panel.models.moment import ahead, is_ahead
from panel.times import ago
from panel.vault.snapshot import Snapshot
from panel.vault.state import State
from panel.vault.vault import Vault

FAILING_SECONDS = 3600
UNPROVED_SECONDS = 7 * 24 * 3600
NAMED = 5  # accounts in one sentence
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


def found(vault: Vault) -> list[Condition]:
    """Everything that is wrong now, the gravest first."""
    key = vault.latest()
    return [*_worker(), *_key(key), *_records(key), *_accounts(), *_backup(key)]


def _worker() -> Iterator[Condition]:
    """A worker that was heard of, but not of late. One that never ran is a server that does not start."""
    beat = heartbeat.read().beat_at
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


def _accounts() -> Iterator[Condition]:
    """Accounts that nobody paused, and whose rounds have failed for an hour."""
    before = db.now() - FAILING_SECONDS
    failing = (
        Collection.select(Collection, Account)
        .join(Account)
        .where(Collection.problem.is_null(False) & Account.paused_at.is_null())
        .where(_long_ago(Collection.last_success_at, before), _long_ago(Collection.failing_since, before))
        .order_by(Account.address)
    )
    for row in failing:
        since = row.failing_since or row.last_success_at or row.account.created_at
        if since <= before or is_ahead(since):
            yield _account(row.account, row, since)


def _long_ago(column: Any, before: int) -> Any:
    """Whether it was `before`, or nobody knows when."""
    return column.is_null() | (column <= before) | ahead(column)


def _account(account: Account, row: Collection, since: int) -> Condition:
    problem = _plain(row.problem or "") or "Its mail cannot be kept on this server."
    message = f"{account.address}: {problem} Last collected: {ago(row.last_success_at)}."
    return Condition(
        "account",
        account.uuid,
        "account-failing",
        message,
        _plain(row.remedy or "") or "See the account's page.",
        f"/accounts/{account.uuid}",
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
