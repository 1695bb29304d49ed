"""The problems that administrators are alerted to, derived from the facts each time.

Nothing here contains a path of the server or a secret: it is sent by mail and to other programs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from panel import db
from panel.health import heartbeat, mail
from panel.health.check import few, without_paths
from panel.models import Account, Collection
from panel.models.moment import ahead, is_ahead
from panel.vault.snapshot import Snapshot
from panel.vault.state import State
from panel.vault.vault import Vault

FAILING_SECONDS = 3600
UNVERIFIED_SECONDS = 7 * 24 * 3600
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
    `banner`: whether it appears on top of every page; the key has a banner of its own.
    """

    topic: str
    subject: str
    name: str
    message: str
    remedy: str
    path: str
    since: int
    agent_message: str = ""
    banner: bool = True


def found(vault: Vault) -> list[Condition]:
    """All problems of this moment, the gravest first."""
    key = vault.latest()
    return [*_worker(), *_key(key), *_records(key), *_accounts(), *_backup(key)]


def for_banner(vault: Vault) -> list[Condition]:
    """What appears on top of every page: the problems of this moment, whether an alert was sent or not."""
    return [each for each in found(vault) if each.banner]


def _worker() -> Iterator[Condition]:
    """A worker that responded once, but not lately. One that never did is a server that does not start."""
    beat = heartbeat.read().beat_at
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
        yield Condition("key", "", str(key.state), message, remedy, ENCRYPTION, since, banner=False)


def _records(key: Snapshot) -> Iterator[Condition]:
    if key.state is State.INCONSISTENT:
        addresses = sorted({failure.address for failure in key.failures})
        named = f" ({few(addresses)})" if addresses else ""
        message = f"Some passwords cannot be decrypted{named}. These mailboxes are paused."
        remedy = "Enter the password of each of these mailboxes again."
        yield Condition("records", "", str(key.state), message, remedy, ENCRYPTION, db.now(), banner=False)


def _accounts() -> Iterator[Condition]:
    """Mailboxes that are not paused, and that have been failing for an hour."""
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
    """Whether it was `before`, or at an unknown time."""
    return column.is_null() | (column <= before) | ahead(column)


def _account(account: Account, row: Collection, since: int) -> Condition:
    message = mail.mailbox_problem(account.address, row.problem, row.last_success_at)
    remedy = without_paths(row.remedy) or "See the page of the mailbox."
    path = f"/accounts/{account.uuid}"
    return Condition("account", account.uuid, "mailbox-failing", message, remedy, path, since, message)


def _backup(key: Snapshot) -> Iterator[Condition]:
    """A key file without a verified backup for a week after it was made or changed."""
    since = key.times.key_changed_at  # not the row's time, which SQL could set far ahead
    if not key.backup_due or since is None:
        return
    if db.now() - since >= UNVERIFIED_SECONDS or is_ahead(since):
        message = "The encryption key has had no verified backup for a week or longer."
        remedy = "Verify a backup on the Encryption page, with the command shown there."
        yield Condition("backup", "", "backup-unverified", message, remedy, ENCRYPTION, since)
