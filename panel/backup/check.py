"""Judging a backup: what lies in a file, a directory or an archive, and what is wrong with that.

A process of its own reads it: see `contents`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from panel.backup.contents import CheckReport
from panel.backup.database import FoundDatabase
from panel.config import ROOT, Settings
from panel.crypto.keyfile import fingerprint
from panel.errors import BadInput, PanelError
from panel.program import command_line
from panel.vault.reading import secrets
from panel.vault.state import State
from panel.vault.vault import Vault
from panel.wording import counted, few


@dataclass(frozen=True)
class _Here:
    """What this server is, to compare with."""

    instance: str  # hexadecimal
    keys: frozenset[str]  # fingerprints in its key file
    encrypts: bool


def check(settings: Settings, vault: Vault, path: Path) -> CheckReport:
    """Read `path` and judge it. Nothing there is changed, and nothing unpacked beside it.

    Raises BadInput where there is nothing to read, PanelError where reading itself failed.
    """
    if not (path.is_file() or path.is_dir()):
        what = "neither a file nor a directory" if path.exists() else "not there"
        raise BadInput(f"{path} is {what}.", "Name a file, a directory or an archive.", "path")
    if not os.access(path, os.R_OK):
        remedy = "Give it to the user that Mailkeep runs as, or copy it."
        raise BadInput(f"{path} cannot be read.", remedy, "path")
    report = _read(settings, path.resolve())
    here = _here(vault)
    report.problems += _problems(report, here)
    report.warnings += _warnings(report, here)
    return report


def _read(settings: Settings, path: Path) -> CheckReport:
    """What the process found. The room it needs is removed here, whatever became of it."""
    with tempfile.TemporaryDirectory(prefix="mailkeep-check-", ignore_cleanup_errors=True) as room:
        request = {
            "path": str(path),
            "data_dir": str(settings.data_dir),
            "key_file": str(settings.key_file),
            "live": settings.database_url.removeprefix("sqlite:///"),
            "room": room,
        }
        done = subprocess.run(
            [sys.executable, "-c", "from panel.backup import contents; contents.main()"],
            input=json.dumps(request).encode(),
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
    if done.returncode != 0:
        raise PanelError(
            f"The process that reads {path} ended early (status {done.returncode}).",
            "It may unpack to more than this machine can hold: do not trust it.",
        )
    return CheckReport.from_json(done.stdout)


def _here(vault: Vault) -> _Here:
    now = vault.latest()
    keys = frozenset(fingerprint(key.id) for key in now.file.keys) if now.file else frozenset()
    return _Here(now.row.instance_id.hex(), keys, now.state is not State.OFF)


# -- what is wrong -------------------------------------------------------------------


def _problems(report: CheckReport, here: _Here) -> Iterator[str]:
    if report.keys and (report.databases or report.dumps):
        yield _together(report)
    for each in report.databases:
        yield from _of_database(each, here)
    for name, reason in report.unreadable.items():
        yield f"{name} cannot be read to its end: {reason}. Make it again."
    if not (report.databases or report.dumps or report.keys or report.unreadable):
        yield "Nothing of Mailkeep is in it: no database and no key."


def _together(report: CheckReport) -> str:
    """Whoever has both reads the passwords."""
    keys = few([each.name for each in report.keys])
    both = f"{keys} and {few([*(each.name for each in report.databases), *report.dumps])}"
    if any(each.live for each in report.databases):
        return (
            f"Key and database lie together ({both}): this is the running install, not a backup. "
            f"Do not back it up as a whole: use {command_line('backup create')}, and keep the key apart."
        )
    return (
        f"Key and database lie together ({both}): anyone who gets this can read every mailbox password. "
        f"Remove the key from it. If it has left your hands, run {command_line('encryption rotate')}, then "
        "change the mailbox passwords at their providers."
    )


def _of_database(each: FoundDatabase, here: _Here) -> Iterator[str]:
    if not each.intact:
        yield f"{each.name} is damaged ({each.integrity}). Make a new backup, and do not restore this one."
        return
    if each.altered:
        yield (
            f"{each.name}: its schema was changed outside Mailkeep ({few(each.altered)}). Do not restore it: "
            "passwords that are entered afterwards could go to another server."
        )
    if each.clear and here.encrypts:
        passwords = counted(len(each.clear), "password")
        yield (
            f"{each.name} holds {passwords} in clear text ({few(each.clear)}), although "
            "encryption is on here. Delete it, or change these passwords at their providers."
        )
    if each.planted:
        yield (
            f"{each.name} holds values in clear text where only encrypted ones may be ({each.planted}). "
            "They were put there outside Mailkeep: do not restore it."
        )
    if each.left_over:
        yield (
            f"{each.name} holds {secrets(each.left_over, others=each.others)} in clear text in pages that "
            f"are no longer used. Make a new backup with {command_line('backup create')}, then delete this."
        )
    if each.instance == here.instance:
        yield from _of_keys(each, here)


def _of_keys(each: FoundDatabase, here: _Here) -> Iterator[str]:
    known = sum(count for key, count in each.keys.items() if key in here.keys)
    if each.opened < known:
        yield (
            f"{each.name}: {known - each.opened} of {known} encrypted {_noun(each)} cannot be "
            "decrypted with the key file of this server: they were changed outside Mailkeep."
        )
    lacking = sorted(each.keys.keys() - here.keys)
    if lacking:
        yield (
            f"{each.name} needs key {few(lacking)}, which the key file of this server does not hold. Keep "
            "the key file of its time, and add it when you restore: "
            f"{command_line('encryption key add FILE')}"
        )


def _warnings(report: CheckReport, here: _Here) -> Iterator[str]:
    for each in report.databases:
        if each.clear and not here.encrypts:
            passwords = counted(len(each.clear), "password")
            yield f"{each.name} holds {passwords} in clear text: protect it accordingly."
        if each.intact and each.instance != here.instance:
            yield f"{each.name} belongs to another install."
    for name in report.dumps:
        yield f"{name} holds the database in another form, and its content was not checked."
    for name, reason in report.not_checked.items():
        yield f"{name} was not looked into: {reason}."


def _noun(each: FoundDatabase) -> str:
    return "secrets" if each.others else "passwords"
