"""Judging a backup: what lies in a file, a directory or an archive, and what is wrong with that.

The looking is done by a process of its own (`looking`): see there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from panel.backup.content import FoundKey
from panel.backup.database import FoundDatabase
from panel.config import ROOT, Settings
from panel.crypto.keyfile import fingerprint
from panel.errors import BadInput, PanelError
from panel.vault.state import State
from panel.vault.vault import Vault

NAMED = 5  # of each kind, in sentences; the lists have them all


@dataclass(frozen=True)
class Report:
    """What was found, and what it means. `problems` make the exit status 1; `warnings` do not."""

    path: str
    files: int
    databases: tuple[FoundDatabase, ...]
    inside: tuple[str, ...]
    keys: tuple[FoundKey, ...]
    secret_keys: tuple[str, ...]
    unseen: tuple[tuple[str, str], ...]
    broken: tuple[tuple[str, str], ...]
    leads_out: tuple[str, ...]
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


@dataclass(frozen=True)
class _Here:
    """What this server is, to compare with."""

    instance: str  # hexadecimal
    keys: frozenset[str]  # fingerprints in its key file
    encrypts: bool


def check(settings: Settings, vault: Vault, path: Path) -> Report:
    """Look through `path` and judge it. Nothing there is changed, and nothing unpacked beside it.

    Raises BadInput where there is nothing to look at, PanelError where looking itself failed.
    """
    if not path.exists():
        raise BadInput(f"There is no {path}.", "Name a file, a directory or an archive.")
    if not (path.is_file() or path.is_dir()):
        raise BadInput(
            f"{path} is neither a file nor a directory.", "Name a file, a directory or an archive."
        )
    if not os.access(path, os.R_OK):
        raise BadInput(f"{path} may not be read.", "Give it to the user that Mailkeep runs as, or copy it.")
    report = _looked(settings, path.resolve())
    here = _here(vault)
    problems, warnings = _problems(report, here), _warnings(report, here)
    return replace(report, problems=tuple(problems), warnings=tuple(warnings))


def _looked(settings: Settings, path: Path) -> Report:
    """What the process that looks has found; the room it needs is removed here, whatever became of it."""
    with tempfile.TemporaryDirectory(prefix="mailkeep-check-", ignore_cleanup_errors=True) as room:
        request = {
            "path": str(path),
            "data_dir": str(settings.data_dir),
            "key_file": str(settings.key_file),
            "database": settings.database_url.removeprefix("sqlite:///"),
            "room": room,
        }
        done = subprocess.run(
            [sys.executable, "-m", "panel.backup.looking"],
            input=json.dumps(request).encode(),
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
    if done.returncode != 0:
        raise PanelError(
            f"Looking through {path} ended early (status {done.returncode}).",
            "It may unpack to more than this machine can hold: do not trust it.",
        )
    found = json.loads(done.stdout)
    return Report(
        path=str(path),
        files=found["files"],
        databases=tuple(
            FoundDatabase(
                **{
                    **each,
                    "clear": tuple(each["clear"]),
                    "keys": tuple(tuple(one) for one in each["keys"]),
                    "altered": tuple(each["altered"]),
                }
            )
            for each in found["databases"]
        ),
        keys=tuple(
            FoundKey(**{**each, "fingerprints": tuple(each["fingerprints"])}) for each in found["keys"]
        ),
        unseen=tuple((name, why) for name, why in found["unseen"]),
        broken=tuple((name, why) for name, why in found["broken"]),
        **{name: tuple(found[name]) for name in ("inside", "secret_keys", "leads_out")},
    )


def _here(vault: Vault) -> _Here:
    file = vault.read().file
    keys = frozenset(fingerprint(key.id) for key in file.keys) if file else frozenset()
    encrypts = vault.latest().state is not State.OFF
    return _Here(vault.read().row.instance_id.hex(), keys, encrypts)


# -- what is wrong -------------------------------------------------------------------


def _problems(report: Report, here: _Here) -> list[str]:
    found = []
    if report.keys and (report.databases or report.inside):
        found.append(_together(report))
    found += [
        f"{each.name} is damaged ({each.says}). Make a new backup, and restore none of this one."
        for each in report.databases
        if not each.intact
    ]
    for each in report.databases:
        if each.intact:
            found += _of_passwords(each, here)
        if each.altered:
            found.append(
                f"{each.name}: its schema was changed outside Mailkeep ({few(list(each.altered))}). Do not "
                "restore it: passwords that are entered afterwards could go to another server."
            )
    found += [f"{name} could not be looked through: {why}. Make it again." for name, why in report.broken]
    if not (report.databases or report.inside or report.keys or found):
        found.append("Nothing of Mailkeep is in it: no database and no key.")
    return found


def _together(report: Report) -> str:
    """Whoever has both reads the passwords."""
    keys = few([each.name for each in report.keys])
    others = few([*(each.name for each in report.databases), *report.inside])
    if any(each.live for each in report.databases):
        return (
            f"Key and database lie here together ({keys} and {others}): this is the running install, not a "
            "backup. Do not back it up as a whole; use flask backup create, and keep the key apart."
        )
    return (
        f"Key and database lie together ({keys} and {others}): whoever gets this reads every mailbox "
        "password. Take the key out of it. If it has left your hands: flask encryption rotate, then change "
        "the mailbox passwords at their providers."
    )


def _of_passwords(each: FoundDatabase, here: _Here) -> list[str]:
    found = []
    if each.clear and here.encrypts:
        found.append(
            f"{each.name} holds {passwords(len(each.clear))} in clear ({few(list(each.clear))}), although "
            "encryption is on here. Remove it, or change these passwords at their providers."
        )
    if each.left_over:
        found.append(
            f"{each.name} holds {passwords(each.left_over)} in clear in pages that are no longer used. "
            "Make a new backup with flask backup create, and remove this one."
        )
    if each.instance == here.instance and each.opened < (known := _known(each, here)):
        found.append(
            f"{each.name}: {known - each.opened} of {known} encrypted passwords do not open with the key "
            "file of this server: they were changed outside Mailkeep."
        )
    lacking = [key for key, _ in each.keys if key not in here.keys]
    if each.instance == here.instance and lacking:
        found.append(
            f"{each.name} needs key {few(lacking)}, which the key file of this server does not hold. Keep "
            "the key file of its time, and bring it in when you restore: flask encryption key add FILE"
        )
    return found


def _known(each: FoundDatabase, here: _Here) -> int:
    return sum(count for key, count in each.keys if key in here.keys)


def _warnings(report: Report, here: _Here) -> list[str]:
    found = []
    for each in report.databases:
        if each.clear and not here.encrypts:
            found.append(
                f"{each.name} holds {passwords(len(each.clear))} in clear: keep it like the passwords."
            )
        if each.intact and each.instance != here.instance:
            found.append(f"{each.name} is of another install than this server.")
    if report.secret_keys:
        found.append(
            f"{few(list(report.secret_keys))} looks like the secret-key, which no backup needs: leave it out."
        )
    found += [f"{name} was not looked into: {why}." for name, why in report.unseen]
    if report.leads_out:
        found.append(
            f"Names in it lead out of the place where it is unpacked: {few(list(report.leads_out))}."
        )
    found += [f"{name} holds the database in a form that is not read further." for name in report.inside]
    return found


def passwords(count: int) -> str:
    """'1 password', '2 passwords'."""
    return f"{count} password" if count == 1 else f"{count} passwords"


def few(names: list[str]) -> str:
    """Some names, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
