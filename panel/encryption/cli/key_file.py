"""`flask encryption key …`: the key file itself, and the copies of it that are kept elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import click

from panel import db, times
from panel.audit import Actor
from panel.config import Settings
from panel.encryption.cli import text
from panel.encryption.cli.finish import finish
from panel.encryption.exports import age, copies, export
from panel.encryption.exports.sheet_page import About
from panel.errors import BadCopy, Refused
from panel.printing import on_a_terminal, print_exactly, say
from panel.program import command_line
from panel.secret import Secret
from panel.services import current
from panel.shell import PanelGroup, ask_hidden, ask_typed, confirm_option, password_option
from panel.vault import backup_proof, forget, retired_keys
from panel.vault.files import typed
from panel.wording import counted

key = PanelGroup(
    "key", help="The key file and its copies: make, verify, put back; add older keys, remove retired ones."
)

passphrase_option = password_option(required=False, name="passphrase")


def _copy(file: BinaryIO, passphrase: Secret | None) -> bytes:
    """The key file in FILE, whatever its form; asks for the passphrase where one is needed."""
    data = file.read(copies.LARGEST + 1)
    if passphrase is None and age.is_age(data) and on_a_terminal(err=True):
        passphrase = ask_hidden("Passphrase")
    if not data and passphrase is not None:
        why = "Standard input cannot be both the copy and its passphrase: put one of them into a file."
        raise click.UsageError(f"The copy is empty. {why}")
    return copies.read(data, passphrase)


@contextmanager
def _nothing_changed() -> Iterator[None]:
    """A bad copy is what `key check` looks for; the others refuse it."""
    try:
        yield
    except BadCopy as error:
        raise Refused(error.message, error.remedy) from None


@key.command("check")
@click.argument("file", type=click.File("rb"))
@passphrase_option
def check_copy(file: BinaryIO, passphrase: Secret | None) -> None:
    """Verify that FILE is a good backup of the current key file.

    FILE is a copy, an export or the typed lines of a recovery sheet; - for standard input. Exit status 1
    where it is not a good backup.
    """
    backup_proof.check(current().vault, _copy(file, passphrase), Actor())
    say("Backup verified: the copy equals the key file. Keep it apart from the database backups.")


@key.command("add")
@click.argument("file", type=click.File("rb"))
@passphrase_option
@click.option("--restore", is_flag=True, help="Also put back what forget-lost-key set aside.")
@click.pass_context
def add_key(context: click.Context, file: BinaryIO, passphrase: Secret | None, restore: bool) -> None:
    """Add the keys of FILE, an older key file, so that an older database can be read.

    FILE may be - for standard input.
    """
    with _nothing_changed():
        added = retired_keys.add(current().vault, _copy(file, passphrase), Actor())
    say(f"Added: {', '.join(added)}." if added else "Nothing to add: every key of that file is here already.")
    waiting = list(dict.fromkeys(each.name for each in forget.restorable(current().vault)))
    if waiting and restore:
        say(f"Put back: {', '.join(forget.restore(current().vault, Actor()))}.")
    elif waiting:
        say(f"Set aside earlier, and readable now: {', '.join(waiting)}. To put them back, add --restore.")
    finish(context, *([text.BACKUP_OUT_OF_DATE] if added else []))


@key.command("import")
@click.argument("file", type=click.File("rb"))
@passphrase_option
@click.pass_context
def import_key(context: click.Context, file: BinaryIO, passphrase: Secret | None) -> None:
    """Put back a lost key file from FILE.

    FILE is a copy, an export or the typed lines of a recovery sheet; - for standard input. An existing
    key file is never overwritten.
    """
    with _nothing_changed():
        is_new = export.put_back(current().vault, _copy(file, passphrase), Actor())
    say("The key file is back." if is_new else "The same key file is in place already.")
    finish(context)


@key.command("export")
@click.option("--to", "target", required=True, help="File to make; - for standard output.")
@click.option("--sheet", is_flag=True, help="A recovery sheet to print, which shows the key in clear text.")
@passphrase_option
def export_key(target: str, sheet: bool, passphrase: Secret | None) -> None:
    """Make a copy of the key file to store elsewhere.

    An age file protected by a passphrase, or with --sheet a page to print. No file is overwritten.
    """
    if not target:
        raise click.UsageError("The name after --to is empty. Enter it.")
    path = None if target == "-" else Path(target)
    settings = current().settings
    if path is not None:
        export.require_apart(path, current().vault, settings)
    if sheet:
        _export_sheet(path, passphrase, settings)
    else:
        _export_age(path, passphrase)


def _export_sheet(path: Path | None, passphrase: Secret | None, settings: Settings) -> None:
    if path is None or passphrase is not None:
        why = (
            "A sheet shows the key in clear text, so it is written to a private file and takes no passphrase."
        )
        raise click.UsageError(f"{why} Give --to FILE, without --passphrase-file.")
    about = About(settings.url, times.exact(db.now(), settings.timezone))
    export.hand_out(export.as_sheet(current().vault, about), path, Actor())
    say(f"Written: {path}. It shows the key in clear text: print it with a browser, then delete the file.")
    check = command_line("encryption key check FILE")
    say(f"To verify the backup, type the printed lines into a file, then run: {check}")


def _export_age(path: Path | None, passphrase: Secret | None) -> None:
    made_up = age.generate() if passphrase is None and path is not None and on_a_terminal() else None
    chosen = passphrase or made_up
    if chosen is None:
        raise click.UsageError("Missing option '--passphrase-file'.")
    made = export.as_age(current().vault, chosen)
    export.hand_out(made, path, Actor())
    if path is None:
        print_exactly(made.content)
        return
    say(f"Written: {path}. Keep the passphrase apart from the file.")
    if made_up is not None:
        say(f"Passphrase (shown only this once): {made_up.reveal()}")
    say(f"Verify the backup where it is stored: {command_line('encryption key check')} {typed(path)}")


@key.command()
@confirm_option
def prune(confirm: str | None) -> None:
    """Remove the retired keys for good. Database backups from before they retired cannot be read any more."""
    zone = current().settings.timezone
    retired = retired_keys.retired(current().vault)
    shown = [each.fingerprint for each in retired]
    if retired:
        for each in retired:
            until = f"before {times.exact(each.since, zone)}" if each.since else "its time"
            begun = f" (in use since {times.exact(each.used_from, zone)})" if each.used_from else ""
            say(f"{each.fingerprint}: database backups from {until}{begun} cannot be read without it.")
        ask_typed(
            ["Your copies of the key file hold these keys too: replace them afterwards."],
            f"drop {counted(len(retired), 'key')}",
            confirm,
        )
    say(f"Removed: {', '.join(retired_keys.prune(current().vault, Actor(), shown))}.")
    say(text.BACKUP_OUT_OF_DATE)
