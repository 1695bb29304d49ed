"""`flask encryption …`: the same steps as the page, waiting until they are done."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import click
from flask import current_app

from panel import db, times
from panel.activity.service import Actor
from panel.config import Settings
from panel.encryption import facts, findings, forget, keys, proof, release, rotation, switch
from panel.encryption.exports import age, copies, export
from panel.encryption.exports.sheet_page import About
from panel.encryption.files import typed
from panel.encryption.findings import Scan
from panel.encryption.keystore import KeyStore
from panel.encryption.old_copies import changed, scan
from panel.encryption.state import State
from panel.encryption.sweep import Verdict
from panel.errors import BadInput, Refused
from panel.secret import Secret
from panel.shell import (
    PanelGroup,
    ask,
    ask_typed,
    json_option,
    password_option,
    print_json,
    progress,
    yes_option,
)

encryption = PanelGroup("encryption", help="The key that mailbox passwords are encrypted with.")

OPEN_READER = (
    "Old copies still stand in the database's files: another program is reading the database. End it."
)

confirm_option = click.option("--confirm", help="What would be typed to confirm.")

WORDS = {
    State.OFF: "off: passwords are stored in clear",
    State.ENABLING: "being turned on",
    State.ON: "on",
    State.ROTATING: "moving to another key",
    State.DISABLING: "being turned off",
    State.KEY_MISSING: "the key file is missing; collecting is paused",
    State.KEY_UNREADABLE: "the key file cannot be used; collecting is paused",
    State.KEY_WRONG: "key file and database do not go together; collecting is paused",
    State.INCONSISTENT: "on, but some passwords do not open",
}


def _keystore() -> KeyStore:
    keystore: KeyStore = current_app.extensions["mailkeep"].keystore
    return keystore


def _settings() -> Settings:
    settings: Settings = current_app.extensions["mailkeep"].settings
    return settings


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
    """Finish what is under way: turning on, changing the key, turning off, removing old copies."""
    last = findings.last()
    if last is not None and last.scan is not None and last.scan.in_database:
        with suppress(Refused):  # in another state there is other work to finish first
            scan.again(_keystore())
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
        "Each is asked for again; until then its mail waits on its server. The records are set aside,\n"
        "save those of no account: if the key turns up, flask encryption key add puts them back.",
        f"forget {_passwords(len(addresses))}",
        confirm,
    )
    done = forget.forget(_keystore(), Actor())
    if done.moved_to is not None:
        click.echo(f"The file that was no good lies in {done.moved_to}.")
    if done.removed:
        click.echo(f"Removed, since nobody can enter them again: {', '.join(done.removed)}.")
    click.echo("Encryption is off. Turn it on again first, so that no password is stored in clear:")
    click.echo("  flask encryption enable --understand-key-loss --backup-prepared")
    for address in done.addresses:
        click.echo(f"  then: flask accounts edit {address}  (the whole server and its password)")


def _passwords(count: int) -> str:
    return f"{count} password" if count == 1 else f"{count} passwords"


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
            verdict, found = scan.check(_keystore(), _settings(), also, bar)
        else:
            verdict, found = switch.verify(_keystore(), bar), None
    result = _as_json(verdict, found, changed.since(facts.look(_keystore()).enabled_at))
    if json_:
        print_json(result)
    else:
        _tell_verdict(result, found)
    if verdict.failures or (found is not None and found.found):
        context.exit(1)


def _as_json(verdict: Verdict, found: Scan | None, boxes: changed.Checklist) -> dict[str, Any]:
    """What `verify --json` prints (docs/encryption.md)."""
    result: dict[str, Any] = {
        "opened": verdict.opened,
        "failed": [{"account": f.address, "reason": f.reason} for f in verdict.failures],
        "unchanged": [{"account": box.address, "direction": box.direction} for box in boxes.unchanged],
    }
    if found is not None:
        result["scan"] = {
            "searched": found.searched,
            "found": [each.name for each in found.found],
            "found_of": [{"file": each.name, "accounts": each.accounts} for each in found.found],
            "not_searched": [{"file": name, "reason": reason} for name, reason in found.skipped],
            "too_short": found.too_short,
            "not_visible": found.not_visible,
        }
    return result


def _tell_verdict(result: dict[str, Any], found: Scan | None) -> None:
    click.echo(f"{result['opened']} passwords opened, {len(result['failed'])} did not.")
    for failure in result["failed"]:
        click.echo(f"{failure['account']}: {failure['reason']}")
    if found is not None:
        _tell_scan(found)
        click.echo(f"Searched: {', '.join(found.searched)}.")
    if result["unchanged"]:
        click.echo("Not changed since encryption was turned on, so that old backups still hold them:")
    for box in result["unchanged"]:
        click.echo(f"  {box['account']}{' (sending)' if box['direction'] == 'out' else ''}")


def _tell_scan(found: Scan) -> None:
    for each in found.found:
        click.echo(f"A password stands in: {each.name} ({', '.join(each.accounts)}). {each.mend}")
    if not found.found:
        click.echo(f"Nothing found in the {len(found.searched)} files that were searched.")
    for name, reason in found.skipped:
        click.echo(f"Not looked into: {name} ({reason}).")
    if found.too_short:
        click.echo(f"Not looked for, too short: the passwords of {', '.join(found.too_short)}.")
    click.echo(f"Cannot be seen from here: {', '.join(found.not_visible)}.")


def _finish(context: click.Context) -> None:
    with progress("Passwords") as bar:
        done = switch.resume(_keystore(), bar)
    scan.write_owed(_keystore(), _settings())
    now = facts.look(_keystore())
    _tell(now)
    _tell_report(now)
    if done.failures or now.state.no_key or now.state is State.INCONSISTENT:
        context.exit(1)


def _tell_report(now: facts.Status) -> None:
    """The report of the last sweep, or why there is none yet."""
    if now.scrub_owed and now.state.working:
        click.echo(f"{OPEN_READER} Then: flask encryption resume")
    last = findings.last()
    if last is None or now.state.working:
        return
    if last.scan is None:
        click.echo(f"{last.did}: {last.counts}\n{last.verdict}")
    else:
        click.echo(f"{last.did}: {last.counts} Looked for {times.ago(last.finished_at)}.")
        _tell_scan(last.scan)


# -- the key file ------------------------------------------------------------------


@encryption.group()
def key() -> None:
    """The key file: take it out and put it back, judge a copy, bring an older key in, drop retired keys."""


passphrase_option = password_option(required=False, name="passphrase")


def _copy(file: BinaryIO, passphrase: Secret | None) -> bytes:
    """The key file in FILE, whatever its form; asks for the passphrase where one is needed."""
    data = file.read(copies.LARGEST + 1)
    if passphrase is None and age.is_age(data) and sys.stderr.isatty():
        passphrase = Secret(click.prompt("Passphrase", hide_input=True))
    if not data and passphrase is not None:
        hint = "Standard input cannot be both the copy and its passphrase: put one of them into a file."
        raise BadInput("The copy is empty.", hint)
    return copies.read(data, passphrase)


@key.command("check")
@click.argument("file", type=click.File("rb"))
@passphrase_option
def check_copy(file: BinaryIO, passphrase: Secret | None) -> None:
    """Tell whether FILE (- for standard input) is a good backup of today's key file."""
    proof.check(_keystore(), _copy(file, passphrase), Actor())
    click.echo("The copy is the same as today's key file. Keep it apart from the database's backups.")


@key.command("add")
@click.argument("file", type=click.File("rb"))
@passphrase_option
@click.option("--restore", is_flag=True, help="Also put back what forget-lost-key set aside.")
@click.pass_context
def add_key(context: click.Context, file: BinaryIO, passphrase: Secret | None, restore: bool) -> None:
    """Bring the keys of an older key file in, so that an older database can be read."""
    added = keys.add(_keystore(), _copy(file, passphrase), Actor())
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


@key.command("import")
@click.argument("file", type=click.File("rb"))
@passphrase_option
@click.pass_context
def import_key(context: click.Context, file: BinaryIO, passphrase: Secret | None) -> None:
    """Put a lost key file back from FILE: a copy, an export, or the typed lines of a recovery sheet."""
    if export.put_back(_keystore(), _copy(file, passphrase), Actor()):
        click.echo("The key file is back in its place.")
    else:
        click.echo("The same key file is in its place already.")
    _finish(context)


@key.command("export")
@click.option("--to", "target", required=True, help="File to make; - for standard output.")
@click.option("--sheet", is_flag=True, help="A recovery sheet to print, which holds the key in clear.")
@passphrase_option
def export_key(target: str, sheet: bool, passphrase: Secret | None) -> None:
    """Take the key out, to be kept elsewhere: as an age file under a passphrase, or on paper."""
    path = None if target == "-" else Path(target)
    settings: Settings = current_app.extensions["mailkeep"].settings
    if path is not None:
        export.require_apart(path, _keystore(), settings)
    if sheet:
        _export_sheet(path, passphrase, settings)
    else:
        _export_age(path, passphrase)


def _export_sheet(path: Path | None, passphrase: Secret | None, settings: Settings) -> None:
    if path is None or passphrase is not None:
        why = "A sheet holds the key in clear, so it goes into a private file, and takes no passphrase."
        raise BadInput(why, "Give --to FILE, without --passphrase-file.")
    about = About(settings.url, times.exact(db.now(), settings.timezone))
    export.hand_out(export.as_sheet(_keystore(), about), path, Actor())
    click.echo(f"Written: {path}. It holds the key in clear: print it with a browser, then delete the file.")
    click.echo("Prove the backup by typing the lines of the print into a file:")
    click.echo("  flask encryption key check FILE")


def _export_age(path: Path | None, passphrase: Secret | None) -> None:
    made_up = age.generate() if passphrase is None and path is not None and sys.stdout.isatty() else None
    chosen = passphrase or made_up
    if chosen is None:
        raise Refused("A passphrase is needed; nothing was exported.", "Add: --passphrase-file FILE")
    made = export.as_age(_keystore(), chosen)
    export.hand_out(made, path, Actor())
    if path is None:
        click.echo(made.content, nl=False)
        return
    click.echo(f"Written: {path}. Keep the passphrase somewhere else than the file.")
    if made_up is not None:
        click.echo(f"The passphrase, shown this once: {made_up.reveal()}")
    click.echo(f"Prove the backup where it is kept: flask encryption key check {typed(path)}")


@key.command()
@confirm_option
def prune(confirm: str | None) -> None:
    """Drop the retired keys for good. Database backups from before they retired open no more."""
    zone = _settings().timezone
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
