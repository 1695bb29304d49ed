"""`flask backup …`: a backup of the database, and whether a backup is good."""

from __future__ import annotations

from pathlib import Path

import click

from panel import identity, times
from panel.audit import Actor
from panel.backup import check, restored
from panel.backup.check import Report, passwords
from panel.backup.content import FoundKey
from panel.backup.create import create as create_backup
from panel.backup.database import FoundDatabase
from panel.errors import Refused
from panel.services import current
from panel.shell import PanelGroup, ask, json_option, print_json, say, yes_option
from panel.vault.state import State

backup = PanelGroup("backup", help="Backups of the database; the key is copied apart from them.")


@backup.command()
@click.argument("dest", type=click.Path(path_type=Path))
@json_option
def create(dest: Path, json_: bool) -> None:
    """Make a backup of the database, without the key.

    Everything may run meanwhile. DEST is a new file whose name ends in .db, or a directory.
    """
    made = create_backup(current().settings, dest, Actor())
    warning = _clear_warning(made.clear)
    if json_:
        print_json(
            {
                "path": str(made.path),
                "bytes": made.size,
                "made_at": made.made_at,
                "passwords": {"sealed": made.sealed, "clear": made.clear},
                "keys": list(made.keys),
                "warnings": [warning] if warning else [],
            }
        )
    else:
        say(f"Backup made: {made.path} ({made.size} bytes).")
        say(f"In it: {made.sealed} encrypted passwords, {made.clear} in clear; neither key nor mail.")
        if made.keys:
            say(f"To read it, keep the key apart from it: {', '.join(made.keys)}.")
    if warning:
        say(f"WARNING: {warning}", err=True, alarm=True)


def _clear_warning(clear: int) -> str:
    if not clear:
        return ""
    says = f"{passwords(clear)} in clear in this backup: whoever gets it reads them."
    if current().vault.latest().state is State.OFF:
        return f"{says} Encryption is off: turn it on, then make another."
    return f"{says} Finish first (flask encryption resume), make another, and remove this one."


@backup.command("check")
@click.argument("path", type=click.Path(path_type=Path))
@json_option
@click.pass_context
def check_path(context: click.Context, path: Path, json_: bool) -> None:
    """Tell what is in PATH, and whether it is a good backup.

    PATH is a file, a directory, a tar or a zip. Exit status 1 where it is not good, above all where
    key and database lie together.
    """
    report = check.check(current().settings, current().vault, path)
    if json_:
        print_json(report.as_json())
    else:
        _tell(report)
    if report.problems:
        context.exit(1)


def _tell(report: Report) -> None:
    for database in report.databases:
        _tell_database(database)
    for key in report.keys:
        say(f"Key: {key.name}: {_key(key)}.")
    for text in report.warnings:
        say(f"Note: {text}")
    for text in report.problems:
        say(f"PROBLEM: {text}", alarm=True)
    if not report.problems:
        unseen = len(report.unseen) + len(report.inside)
        but = f" Nothing is known of what was not looked into ({unseen})." if unseen else ""
        say(f"No problem found in {report.files} {'file' if report.files == 1 else 'files'}.{but}")


def _tell_database(found: FoundDatabase) -> None:
    if not found.intact:
        say(f"Database: {found.name}: damaged.")
        return
    zone = current().settings.timezone
    made = f"made {times.exact(found.made_at, zone)}" if found.made_at else "a plain copy"
    made = "the running install's own" if found.live else made
    install = f"of install {found.instance[:8]}" if found.instance else "of no known install"
    say(f"Database: {found.name}: intact, {made}, {install}, accounts: {found.accounts}.")
    say(f"  {passwords(found.sealed)} encrypted, {len(found.clear)} in clear.")
    for key, count in found.keys:
        say(f"  Under key {key}: {count}.")
    if found.sealed:
        say(f"  {found.opened} of {found.sealed} open with the key file of this server.")


def _key(found: FoundKey) -> str:
    prints = ", ".join(found.fingerprints) or "fingerprint not readable"
    if found.state == "intact":
        return f"a key file, {prints}"
    if found.state == "inside":
        return f"key bytes inside another file, {prints}"
    return f"a key file that is not intact ({found.why}), {prints}"


@backup.command()
@yes_option
def confirm(yes: bool) -> None:
    """After restoring: collect mail here from now on.

    You say with it that no other install collects these mailboxes any more.
    """
    copy = identity.restored(current().settings.data_dir)
    if copy is None:
        raise Refused("This is the install that collects already.", "There is nothing to confirm.")
    ask(f"{copy.message} Is the other install switched off?", yes)
    restored.confirm(current().settings.data_dir, Actor())
    say("Mail is collected here from now on.")
