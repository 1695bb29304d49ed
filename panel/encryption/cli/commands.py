"""`flask encryption …`: turning on and off, changing the key, checking the passwords."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from panel.audit import Actor
from panel.encryption.cli import text
from panel.encryption.cli.finish import ENCRYPTED, finish
from panel.encryption.leftovers import changed, scan
from panel.printing import print_json, print_lines, progress, say
from panel.program import command_line
from panel.services import current
from panel.shell import PanelGroup, ask, ask_typed, confirm_option, json_option, yes_option
from panel.vault import forget, only_encrypted, rotation, turn_off, turn_on, verification
from panel.vault.reading import secrets
from panel.vault.state import State
from panel.vault.turn_on import Confirmations
from panel.wording import counted

encryption = PanelGroup("encryption", help="The key that mailbox passwords are encrypted with.")


@encryption.command()
@json_option
@click.pass_context
def status(context: click.Context, json_: bool) -> None:
    """Show the state of the key. Exit status 1 where something is wrong with it."""
    vault = current().vault
    now = vault.latest()
    if json_:
        print_json(text.status_json(vault, now))
    else:
        print_lines(text.status(now, vault))
    if now.state.no_key or now.state is State.INCONSISTENT:
        context.exit(1)


@encryption.command()
@click.option(
    "--understand-key-loss",
    is_flag=True,
    help="Required: you know that losing the key file means losing all encrypted data.",
)
@click.option(
    "--backup-prepared",
    is_flag=True,
    help="Required: you have prepared a secure way to back up the key file.",
)
@click.pass_context
def enable(context: click.Context, understand_key_loss: bool, backup_prepared: bool) -> None:
    """Turn on encryption: generate a key and encrypt all passwords.

    Then the files of this server are searched for leftovers in clear text. Exit status 1 where one is found.
    """
    if not turn_on.turn_on(current().vault, Confirmations(understand_key_loss, backup_prepared), Actor()):
        say("Encryption was already on: no new key was generated.")
    finish(context, wanted=ENCRYPTED)


@encryption.command()
@click.pass_context
def resume(context: click.Context) -> None:
    """Finish what was interrupted: turning on or off, changing the key, removing leftovers in clear text.

    Where a leftover was found on this server, the scan runs again. Exit status 1 where one is found.
    """
    finish(context)


@encryption.command()
@click.option("--preview", is_flag=True, help="Only show what would be done.")
@click.pass_context
def rotate(context: click.Context, preview: bool) -> None:
    """Generate a new key and encrypt every stored password with it.

    Then the files of this server are searched for leftovers in clear text. Exit status 1 where one is found.
    """
    now = current().vault.latest()
    rotation.require_ready(now)
    print_lines(text.preview(rotation.preview(now)))
    if preview:
        return
    rotation.rotate(current().vault, Actor())
    finish(context, wanted=ENCRYPTED)


@encryption.command()
@yes_option
@click.pass_context
def disable(context: click.Context, yes: bool) -> None:
    """Turn off encryption: store every password in clear text again.

    The key file is moved aside, not destroyed: old database backups need it.
    """
    only_encrypted.require_none()
    ask(
        f"Write {counted(current().vault.latest().sealed, 'password')} back to the database in clear text?",
        yes,
    )
    turn_off.turn_off(current().vault, Actor(), in_shell=True)
    finish(context, wanted=(State.OFF,))


@encryption.command("forget-lost-key")
@confirm_option
def forget_lost_key(confirm: str | None) -> None:
    """Reset encryption when every copy of the key is lost.

    What cannot be read without it is set aside, and each password must be entered again.
    """
    lost = forget.lost(current().vault)
    count = secrets(len(lost), others=sum(each.what != "mailbox" for each in lost))
    names = ", ".join(dict.fromkeys(each.name for each in lost))
    ask_typed(
        [
            f"{count} cannot be read without the key: {names}.",
            "Each must be entered again; until then its mail waits on its server. The records are set aside",
            "(those of no account are removed). If the key is found: "
            f"{command_line('encryption key add --restore')}",
        ],
        f"forget {count}",
        confirm,
    )
    done = forget.forget(current().vault, Actor())
    if done.moved_to is not None:
        say(f"The unusable key file was moved to {done.moved_to}.")
    if done.removed:
        say(f"Removed, because they belong to no account: {', '.join(each.name for each in done.removed)}.")
    say("Encryption is off. Turn it on again first, so that no password is stored in clear text:")
    say(f"  {command_line('encryption enable --understand-key-loss --backup-prepared')}")
    for name, what in sorted(done.lost, key=lambda each: each.what != "app"):  # mailboxes need theirs
        say(f"  then: {_again(name, what)}")


def _again(name: str, what: str) -> str:
    """How to enter again what was set aside."""
    if what == "app":
        return f"{command_line('oauth set-secret')} {shlex.quote(name.removeprefix('app '))}"
    if what == "consent":
        return f"{command_line('oauth connect')} {name}"
    if what == "submission password":
        return f"{command_line('sending submission-password')} {name}"
    return f"{command_line('accounts edit')} {name}  (server, and how it signs in)"


@encryption.command()
@json_option
@click.option(
    "--scan", "scanning", is_flag=True, help="Also search this server's files for leftovers in clear text."
)
@click.option(
    "--also",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="With --scan: search this file or folder too, such as a backup folder. May be repeated.",
)
@click.pass_context
def verify(context: click.Context, json_: bool, scanning: bool, also: tuple[Path, ...]) -> None:
    """Decrypt every stored password once. Exit status 1 where one cannot be, or a scan finds a leftover."""
    if also and not scanning:
        raise click.UsageError("--also needs --scan.")
    with progress("Checking passwords", quiet=json_) as bar:
        if scanning:
            verdict, found = scan.check(current().vault, current().settings, also, bar)
        else:
            verdict, found = verification.run_and_note(current().vault, bar), None
    boxes = changed.since(current().vault.latest().times.enabled_at)
    if json_:
        print_json(text.verdict_json(verdict, found, boxes))
    else:
        print_lines(text.verdict(verdict, found, boxes))
    if verdict.failures or (found is not None and found.found):
        context.exit(1)
