"""Every check once: what is looked at, whether it is well, and what to do where it is not.

The shell's `flask doctor` shows them; pages may. A check opens no password.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from panel import db
from panel.accounts import overview
from panel.config import Settings
from panel.encryption import facts
from panel.encryption.keystore import KeyStore, typed
from panel.encryption.state import State
from panel.times import ago

LEAST_DISK = 200 * 2**20  # bytes free: a sweep rewrites the database, mail needs room
MANY_UNREAD = 10_000  # messages of one account that nobody has taken away
SILENT_SECONDS = 3600
FILES_LOOKED_AT = 200  # of the data directory itself, not of the mail below it


@dataclass(frozen=True)
class Check:
    """One finding. `mend` is empty where all is well."""

    check: str
    ok: bool
    says: str
    mend: str = ""


def run(settings: Settings, keystore: KeyStore) -> list[Check]:
    """All checks, in the order in which somebody would look."""
    checks: list[Callable[[Settings, KeyStore], Iterator[Check]]] = [
        _database, _data_dir, _key, _backup, _accounts, _spool, _disk,
    ]  # fmt: skip
    return [found for check in checks for found in check(settings, keystore)]


def _database(_settings: Settings, _keystore: KeyStore) -> Iterator[Check]:
    (says,) = db.database.execute_sql("PRAGMA quick_check").fetchone()
    if says == "ok":
        yield Check("database", True, "The database is intact and of this version's schema.")
    else:
        yield Check(
            "database",
            False,
            f"The database is damaged: {says}.",
            "Stop Mailkeep and restore it from a backup.",
        )


def _data_dir(settings: Settings, keystore: KeyStore) -> Iterator[Check]:
    wrong = [
        path for path in _private_files(settings.data_dir) if _is_open_to_others(path, settings.data_dir)
    ]
    if not wrong:
        yield Check("file modes", True, "The data directory and its files are private.")
        return
    names = ", ".join(path.name for path in wrong[:5])
    data_dir = typed(settings.data_dir)
    yield Check(
        "file modes",
        False,
        f"Other users can read or own what should be private: {names}.",
        f"Type: chown -R {keystore.owner} {data_dir} && chmod -R go= {data_dir}",
    )


def _private_files(directory: Path) -> list[Path]:
    files = sorted(path for path in directory.iterdir() if not path.is_dir() and path.name != ".gitignore")
    return [directory, *files[:FILES_LOOKED_AT]]


def _is_open_to_others(path: Path, data_dir: Path) -> bool:
    found = path.lstat()
    return bool(stat.S_IMODE(found.st_mode) & 0o077) or found.st_uid != data_dir.stat().st_uid


def _key(_settings: Settings, keystore: KeyStore) -> Iterator[Check]:
    now = facts.look(keystore)
    if now.state.no_key:
        yield Check("encryption", False, f"{now.reason} Collecting is paused.", now.mend)
    elif now.state is State.OFF:
        yield Check(
            "encryption", False, f"Encryption is off. Stored in clear: {now.clear} of {now.total} passwords.",
            "Turn encryption on: flask encryption enable",
        )  # fmt: skip
    elif now.failures:
        named = ", ".join(failure.address for failure in now.failures)
        yield Check("encryption", False, f"Some passwords do not open: {named}.", "Enter them again.")
    elif now.state.working:
        yield Check(
            "encryption", True, f"Work is under way ({now.state}): {now.sealed} of {now.total} sealed."
        )
    else:
        yield Check("encryption", True, f"On: all {now.total} passwords are sealed.")


def _backup(_settings: Settings, keystore: KeyStore) -> Iterator[Check]:
    now = facts.look(keystore)
    if now.state is not State.ON:
        return
    if now.backup_proved_at is None:
        mend = "Prove it on the Encryption page, with the command shown there."
        yield Check("key backup", False, "Nobody has proved that a good copy of the key file exists.", mend)
    else:
        yield Check("key backup", True, f"A copy was proved {ago(now.backup_proved_at)}.")


def _accounts(_settings: Settings, keystore: KeyStore) -> Iterator[Check]:
    lines = overview.lines(keystore)
    for line in lines:
        if line.problem and not line.paused:
            yield Check(
                f"account {line.address}", False, line.problem, line.hint or "See the account's page."
            )
    running = [line for line in lines if not line.paused]
    newest = max((line.last_success_at or 0 for line in running), default=0)
    if running and db.now() - newest > SILENT_SECONDS:
        says = f"The last successful collection of any account was {ago(newest or None)}."
        yield Check("worker", False, says, "Is script/server running? Its log tells more.")
    else:
        yield Check(
            "worker", True, f"{len(running)} accounts are collected, {len(lines) - len(running)} are paused."
        )


def _spool(settings: Settings, _keystore: KeyStore) -> Iterator[Check]:
    spool = settings.mail_spool
    unread = {path.name: _count(path / "new") for path in (spool.iterdir() if spool.is_dir() else ())}
    for name, count in unread.items():
        if count > MANY_UNREAD:
            says = f"{count} messages lie in {spool / name / 'new'} and nobody takes them away."
            yield Check("mail spool", False, says, "Have the helpdesk read that Maildir.")
    if not any(count > MANY_UNREAD for count in unread.values()):
        yield Check("mail spool", True, f"{sum(unread.values())} messages wait to be taken away.")


def _count(directory: Path) -> int:
    try:
        with os.scandir(directory) as entries:
            return sum(1 for _ in entries)
    except FileNotFoundError:
        return 0


def _disk(settings: Settings, _keystore: KeyStore) -> Iterator[Check]:
    free = shutil.disk_usage(settings.data_dir).free
    says = f"{free >> 20} MiB are free on the disk of the data directory."
    yield Check("disk", free >= LEAST_DISK, says, "" if free >= LEAST_DISK else "Make room.")
