"""`flask encryption …`: the key's states from off to on and back, and looking whether all is well."""

from __future__ import annotations

from pathlib import Path

import click

from panel.audit import Actor
from panel.encryption.cli import words
from panel.encryption.cli.finish import finish
from panel.encryption.leftovers import changed, scan
from panel.errors import Refused
from panel.services import current
from panel.shell import (
    PanelGroup,
    ask,
    ask_typed,
    confirm_option,
    json_option,
    print_json,
    print_lines,
    progress,
    say,
    yes_option,
)
from panel.vault import forget, rotation, snapshot, turn_off, turn_on
from panel.vault.state import State

encryption = PanelGroup("encryption", help="The key that mailbox passwords are encrypted with.")


@encryption.command()
@json_option
@click.pass_context
def status(context: click.Context, json_: bool) -> None:
    """Tell what state the key is in. Exit status 1 where something is wrong with it."""
    now = snapshot.look(current().keystore)
    if json_:
        print_json(words.status_json(current().keystore, now))
    else:
        print_lines(words.status(now))
        print_lines(words.backup_due(now))
    if now.state.no_key or now.state is State.INCONSISTENT:
        context.exit(1)


@encryption.command()
@click.option(
    "--understand-key-loss",
    is_flag=True,
    help="Needed: you know that losing the key file means losing all encrypted data.",
)
@click.option(
    "--backup-prepared", is_flag=True, help="Needed: you have prepared a secure way to back up the key file."
)
@click.pass_context
def enable(context: click.Context, understand_key_loss: bool, backup_prepared: bool) -> None:
    """Turn encryption on: make a key, encrypt all passwords.

    Then every file of this server is searched. Exit status 1 where a password stands in one.
    """
    if not (understand_key_loss and backup_prepared):
        raise Refused(
            "Both confirmations are needed; nothing was changed.",
            "Add --understand-key-loss (losing the key file means losing all encrypted data) and "
            "--backup-prepared (you have prepared a secure way to back up the key file).",
        )
    if not turn_on.enable(current().keystore, Actor()):
        say("Encryption was turned on already: no new key was made.")
    finish(context, wanted=words.ENABLED)


@encryption.command()
@click.pass_context
def resume(context: click.Context) -> None:
    """Finish what was interrupted.

    That is turning on, changing the key, turning off, removing old copies. Where a password was found
    in a file of this server, it is looked for again. Exit status 1 where one stands there.
    """
    finish(context)


@encryption.command()
@click.option("--preview", is_flag=True, help="Only tell what would be done.")
@click.pass_context
def rotate(context: click.Context, preview: bool) -> None:
    """Make a new key and move every stored password to it.

    Then every file of this server is searched. Exit status 1 where a password stands in one.
    """
    now = snapshot.look(current().keystore)
    rotation.require_ready(now)
    print_lines(words.preview(rotation.preview(now)))
    if preview:
        return
    rotation.rotate(current().keystore, Actor())
    finish(context, words.BACKUP_OUT_OF_DATE, wanted=words.ENABLED)


@encryption.command()
@yes_option
@click.pass_context
def disable(context: click.Context, yes: bool) -> None:
    """Turn encryption off: write every password back in clear.

    The key file is set aside, not destroyed: old database backups need it.
    """
    count = snapshot.look(current().keystore).sealed
    ask(f"Write {count} passwords back into the database in clear?", yes)
    turn_off.disable(current().keystore, Actor(), in_shell=True)
    finish(context, wanted=(State.OFF,))


@encryption.command("forget-lost-key")
@confirm_option
def forget_lost_key(confirm: str | None) -> None:
    """Give a key up that no copy is left of.

    What cannot be read without it is set aside, and each password is asked for again.
    """
    addresses = forget.lost(current().keystore)
    ask_typed(
        [
            f"{words.passwords(len(addresses))} cannot be read without the lost key: {', '.join(addresses)}.",
            "Each is asked for again; until then its mail waits on its server. The records are set aside,",
            "save those of no account: if the key turns up, flask encryption key add puts them back.",
        ],
        f"forget {words.passwords(len(addresses))}",
        confirm,
    )
    done = forget.forget(current().keystore, Actor())
    if done.moved_to is not None:
        say(f"The file that was no good lies in {done.moved_to}.")
    if done.removed:
        say(f"Removed, since nobody can enter them again: {', '.join(done.removed)}.")
    say("Encryption is off. Turn it on again first, so that no password is stored in clear:")
    say("  flask encryption enable --understand-key-loss --backup-prepared")
    for address in done.addresses:
        say(f"  then: flask accounts edit {address}  (the whole server and its password)")


@encryption.command()
@json_option
@click.option("--scan", "scanning", is_flag=True, help="Also look for every password in this server's files.")
@click.option(
    "--also",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="With --scan: look into this file or folder too, such as a place of backups. May be repeated.",
)
@click.pass_context
def verify(context: click.Context, json_: bool, scanning: bool, also: tuple[Path, ...]) -> None:
    """Open every stored password once. Exit status 1 where one does not open, or a scan finds one."""
    if also and not scanning:
        raise click.UsageError("--also goes with --scan.")
    with progress("Opening passwords", quiet=json_) as bar:
        if scanning:
            verdict, found = scan.check(current().keystore, current().settings, also, bar)
        else:
            verdict, found = turn_on.verify(current().keystore, bar), None
    boxes = changed.since(snapshot.look(current().keystore).enabled_at)
    if json_:
        print_json(words.verdict_json(verdict, found, boxes))
    else:
        print_lines(words.verdict(verdict, found, boxes))
    if verdict.failures or (found is not None and found.found):
        context.exit(1)
