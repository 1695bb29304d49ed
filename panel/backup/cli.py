"""`flask backup …`: a backup of the database, and whether a backup is good."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

from panel import identity, times
from panel.audit import Actor
from panel.backup import check, restored
from panel.backup.contents import CheckReport
from panel.backup.create import create as create_backup
from panel.backup.database import FoundDatabase
from panel.errors import Refused
from panel.printing import print_json, print_lines, say
from panel.program import command_line
from panel.services import current
from panel.shell import PanelGroup, ask, json_option, yes_option
from panel.vault.state import State
from panel.wording import counted

KEYS = {
    "intact": "a key file",
    "damaged": "a damaged key file",
    "converted": "a key file whose line ends were converted",
}

backup = PanelGroup("backup", help="Backups of the database; the key is copied apart from them.")


@backup.command()
@click.argument("dest", type=click.Path())
@json_option
def create(dest: str, json_: bool) -> None:
    """Make a backup of the database, without the key.

    Everything may run meanwhile. DEST is a new file whose name ends in .db, or a directory.
    """
    if not dest:  # of a script whose variable is not set: it would be the folder of the code
        raise click.UsageError("The name of DEST is empty. Enter it.")
    made = create_backup(current().settings, Path(dest), Actor())
    warning = _clear_warning(made.clear)
    if json_:
        print_json(
            {
                "path": str(made.path),
                "bytes": made.size,
                "made_at": made.made_at,
                "passwords": {"sealed": made.sealed, "clear": made.clear},
                "others": {"sealed": made.others},
                "keys": list(made.keys),
                "warnings": [warning] if warning else [],
            }
        )
    else:
        say(f"Backup created: {made.path} ({made.size} bytes).")
        held = (
            f"{made.sealed} encrypted and {made.clear} in clear text" if made.sealed + made.clear else "none"
        )
        others = f" Other secrets in it, encrypted: {made.others}." if made.others else ""
        say(f"Passwords in it: {held}.{others} It contains no key and no mail.")
        if made.keys:
            say(f"Keep the key apart from it: {', '.join(made.keys)}.")
    if warning:
        say(f"WARNING: {warning}", err=True, alarm=True)


def _clear_warning(clear: int) -> str:
    if not clear:
        return ""
    message = f"{counted(clear, 'password')} in clear text in this backup: anyone who gets it can read them."
    if current().vault.latest().state is State.OFF:
        return f"{message} Encryption is off: turn it on, then make another."
    return f"{message} Finish first ({command_line('encryption resume')}), make another, and delete this one."


@backup.command("check")
@click.argument("path", type=click.Path(path_type=Path))
@json_option
@click.pass_context
def check_path(context: click.Context, path: Path, json_: bool) -> None:
    """Show what is in PATH, and whether it is a good backup.

    PATH is a file, a directory, a tar or a zip. Exit status 1 where it is not good, above all where
    key and database lie together.
    """
    report = check.check(current().settings, current().vault, path)
    if json_:
        print_json(asdict(report))
    else:
        _print(report)
    if report.problems:
        context.exit(1)


def _print(report: CheckReport) -> None:
    for database in report.databases:
        print_lines(_database(database))
    for key in report.keys:
        say(f"Key: {', '.join([key.name, KEYS[key.state], *key.fingerprints])}.")
    for text in report.warnings:
        say(f"Note: {text}")
    for text in report.problems:
        say(f"PROBLEM: {text}", alarm=True)
    if not report.problems:
        say(f"No problem found in {counted(report.files, 'file')}.")


def _database(found: FoundDatabase) -> Iterator[str]:
    if not found.intact:
        yield f"Database: {found.name}: damaged."
        return
    made = (
        f"made {times.exact(found.made_at, current().settings.timezone)}" if found.made_at else "a plain copy"
    )
    made = "the running install's own" if found.live else made
    install = f"of install {found.instance[:8]}" if found.instance else "of no known install"
    yield f"Database: {found.name}: intact, {made}, {install}, mailboxes: {found.mailboxes}."
    others = f" Other secrets, encrypted: {found.others}." if found.others else ""
    encrypted = counted(found.sealed - found.others, "password")
    yield f"  {encrypted} encrypted, {len(found.clear)} in clear text.{others}"
    for key, count in found.keys.items():
        yield f"  Encrypted with key {key}: {count}."
    if found.sealed:
        yield f"  {found.opened} of {found.sealed} can be decrypted with the key file of this server."


@backup.command()
@yes_option
def confirm(yes: bool) -> None:
    """After restoring: collect mail here from now on.

    By this you confirm that no other install collects these mailboxes any more.
    """
    copy = identity.restored(current().settings.data_dir)
    if copy is None:
        raise Refused("This install collects mail already.", "There is nothing to confirm.")
    ask(f"{copy.message} Is the other install switched off?", yes)
    restored.confirm(current().settings.data_dir, Actor())
    say("Mail is collected here from now on.")
