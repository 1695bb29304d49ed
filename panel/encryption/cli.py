"""`flask encryption …`: the same steps as the page, waiting until they are done."""

from __future__ import annotations

from typing import Any, BinaryIO

import click
from flask import current_app

from panel import times
from panel.activity.service import Actor
from panel.crypto.keyfile import LARGEST
from panel.encryption import facts, forget, keys, proof, release, residue, rotation, switch
from panel.encryption.keystore import KeyStore
from panel.encryption.state import State
from panel.errors import Refused
from panel.shell import PanelGroup, ask, ask_typed, json_option, print_json, progress, yes_option

encryption = PanelGroup("encryption", help="The key that mailbox passwords are encrypted with.")

confirm_option = click.option("--confirm", help="What would be typed to confirm.")

WORDS = {
    State.OFF: "off: passwords are stored in clear",
    State.ENABLING: "being turned on",
    State.ON: "on",
    State.ROTATING: "moving to another key",
    State.DISABLING: "being turned off",
    State.KEY_MISSING: "the key file is missing; collecting is paused",
    State.KEY_UNREADABLE: "the key file cannot be used; collecting is paused",
    State.KEY_WRONG: "the key file is the wrong one; collecting is paused",
    State.INCONSISTENT: "on, but some passwords do not open",
}


def _keystore() -> KeyStore:
    keystore: KeyStore = current_app.extensions["mailkeep"].keystore
    return keystore


def as_json(now: facts.Status) -> dict[str, Any]:
    """What `status --json` prints (docs/encryption.md)."""
    return {
        "state": str(now.state),
        "key": {
            "file": _keystore().path.name,
            "found": now.found,
            "expected": now.expected,
            "created_at": now.key_created_at,
        },
        "passwords": {
            "total": now.total,
            "sealed": now.sealed,
            "clear": now.clear,
            "unreadable": now.unreadable,
        },
        "backup_proved_at": now.backup_proved_at,
    }


def _tell(now: facts.Status) -> None:
    click.echo(f"Encryption: {WORDS[now.state]}.")
    click.echo(f"Passwords: {now.total} stored, {now.sealed} encrypted, {now.clear} in clear.")
    if now.found or now.expected:
        click.echo(f"Key: found {now.found or 'none'}, expected {now.expected or 'none'}.")
    if now.reason:
        click.echo(f"{now.reason} {now.mend}")
    for failure in now.failures:
        click.echo(f"{failure.address}: {failure.reason}")


@encryption.command()
@json_option
@click.pass_context
def status(context: click.Context, json_: bool) -> None:
    """Tell what state the key is in. Exit status 1 where something is wrong with it."""
    now = facts.look(_keystore())
    if json_:
        print_json(as_json(now))
    else:
        _tell(now)
    if now.state.no_key or now.state is State.INCONSISTENT:
        context.exit(1)


@encryption.command()
@click.option(
    "--understand-key-loss", is_flag=True, help="Losing the key file means losing all encrypted data."
)
@click.option("--backup-prepared", is_flag=True, help="A secure way to back up the key file is prepared.")
@click.pass_context
def enable(context: click.Context, understand_key_loss: bool, backup_prepared: bool) -> None:
    """Generate the key file and encrypt every stored password."""
    if not (understand_key_loss and backup_prepared):
        raise Refused(
            "Both confirmations are needed; nothing was changed.",
            "Add --understand-key-loss (losing the key file means losing all encrypted data) and "
            "--backup-prepared (you have prepared a secure way to back up the key file).",
        )
    switch.enable(_keystore(), Actor())
    _finish(context)


@encryption.command()
@click.pass_context
def resume(context: click.Context) -> None:
    """Finish what is under way: turning on, changing the key or turning off."""
    _finish(context)


@encryption.command()
@click.option("--preview", is_flag=True, help="Only tell what would be done.")
@click.pass_context
def rotate(context: click.Context, preview: bool) -> None:
    """Make a new key and move every stored password to it."""
    _tell_preview(rotation.preview(facts.look(_keystore())))
    if preview:
        return
    rotation.rotate(_keystore(), Actor())
    _finish(context)
    click.echo("The backup of the key file is out of date: copy the key file again, then prove the copy.")


def _tell_preview(what: rotation.Preview) -> None:
    click.echo(
        f"{what.passwords} passwords are encrypted again under a new key; that takes about {what.seconds} s."
    )
    click.echo("Then back up the key file again: no copy of today holds the new key.")
    click.echo("The old key stays in the file, so that database backups of today can still be read.")


@encryption.command()
@yes_option
@click.pass_context
def disable(context: click.Context, yes: bool) -> None:
    """Write every stored password back in clear and retire the key file."""
    count = facts.look(_keystore()).sealed
    ask(f"Write {count} passwords back into the database in clear?", yes)
    release.disable(_keystore(), Actor(), in_shell=True)
    _finish(context)


@encryption.command("forget-lost-key")
@confirm_option
def forget_lost_key(confirm: str | None) -> None:
    """Give a lost key up: its passwords are set aside, and each is asked for again."""
    addresses = forget.lost(_keystore())
    ask_typed(
        f"{_passwords(len(addresses))} cannot be read without the lost key: {', '.join(addresses)}.\n"
        "Each is asked for again; until then its mail waits on its server. The records are set aside:\n"
        "if the key turns up, flask encryption key add puts them back.",
        f"forget {_passwords(len(addresses))}",
        confirm,
    )
    done = forget.forget(_keystore(), Actor())
    if done.moved_to is not None:
        click.echo(f"The file that was no good lies in {done.moved_to}.")
    click.echo("Encryption is off. Turn it on again first, so that no password is stored in clear:")
    click.echo("  flask encryption enable --understand-key-loss --backup-prepared")
    for address in done.addresses:
        click.echo(f"  then: flask accounts edit {address}  (the whole server and its password)")


def _passwords(count: int) -> str:
    return f"{count} password" if count == 1 else f"{count} passwords"


@encryption.command()
@json_option
@click.option("--scan", is_flag=True, help="Also look for every password in the database's files.")
@click.pass_context
def verify(context: click.Context, json_: bool, scan: bool) -> None:
    """Open every stored password once. Exit status 1 where one does not open, or a scan finds one."""
    with progress("Opening passwords", quiet=json_) as bar:
        verdict = switch.verify(_keystore(), bar)
    failed = [{"account": f.address, "reason": f.reason} for f in verdict.failures]
    result: dict[str, Any] = {"opened": verdict.opened, "failed": failed}
    if scan:
        result["scan"] = residue.scan(_keystore(), current_app.extensions["mailkeep"].settings)
    if json_:
        print_json(result)
    else:
        _tell_verdict(result)
    if failed or (scan and result["scan"]["found"]):
        context.exit(1)


def _tell_verdict(result: dict[str, Any]) -> None:
    click.echo(f"{result['opened']} passwords opened, {len(result['failed'])} did not.")
    for failure in result["failed"]:
        click.echo(f"{failure['account']}: {failure['reason']}")
    if "scan" in result:
        for name in result["scan"]["found"]:
            click.echo(f"A password stands in: {name}")
        if not result["scan"]["found"]:
            click.echo(f"Nothing found in: {', '.join(result['scan']['searched'])}.")
        click.echo(f"Cannot be seen from here: {', '.join(result['scan']['not_visible'])}.")


def _finish(context: click.Context) -> None:
    with progress("Passwords") as bar:
        report = switch.resume(_keystore(), bar)
    now = facts.look(_keystore())
    _tell(now)
    if report.failures or now.state.no_key or now.state is State.INCONSISTENT:
        context.exit(1)


# -- the key file ------------------------------------------------------------------


@encryption.group()
def key() -> None:
    """The key file: judge a copy of it, bring an older key in, drop retired keys."""


@key.command("check")
@click.argument("file", type=click.File("rb"))
def check_copy(file: BinaryIO) -> None:
    """Tell whether FILE (- for standard input) is a good backup of today's key file."""
    proof.check(_keystore(), file.read(LARGEST + 1), Actor())
    click.echo("The copy is the same as today's key file. Keep it apart from the database's backups.")


@key.command("add")
@click.argument("file", type=click.File("rb"))
@click.option("--restore", is_flag=True, help="Also put back what forget-lost-key set aside.")
@click.pass_context
def add_key(context: click.Context, file: BinaryIO, restore: bool) -> None:
    """Bring the keys of an older key file in, so that an older database can be read."""
    added = keys.add(_keystore(), file.read(LARGEST + 1), Actor())
    click.echo(f"Added: {', '.join(added)}." if added else "Every key of that file is here already.")
    waiting = [str(each.account.address) for each in forget.restorable(_keystore())]
    if waiting and restore:
        click.echo(f"Put back: {', '.join(forget.restore(_keystore(), Actor()))}.")
    elif waiting:
        click.echo(
            f"Set aside earlier, and readable now: {', '.join(waiting)}. Add --restore to put them back."
        )
    _finish(context)
    if added:
        click.echo("The backup of the key file is out of date: copy the key file again, then prove the copy.")


@key.command()
@confirm_option
def prune(confirm: str | None) -> None:
    """Drop the retired keys for good. Database backups from before they retired open no more."""
    zone = current_app.extensions["mailkeep"].settings.timezone
    retired = keys.retired(_keystore())
    shown = [each.fingerprint for each in retired]
    if retired:
        for each in retired:
            since = f"from before {times.exact(each.since, zone)}" if each.since else "of its time"
            click.echo(f"{each.fingerprint}: without it no database backup {since} can be read.")
        ask_typed(
            "Copies of the key file that you keep hold these keys too: replace them afterwards.",
            f"drop {len(retired)} {'key' if len(retired) == 1 else 'keys'}",
            confirm,
        )
    click.echo(f"Dropped: {', '.join(keys.prune(_keystore(), Actor(), shown))}.")
    click.echo("The backup of the key file is out of date: copy the key file again, then prove the copy.")
