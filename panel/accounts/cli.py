"""`flask accounts …`: the same checks and steps as the pages."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, BinaryIO

import click

from panel import identity
from panel.accounts import importing, overview, probe, rules, service
from panel.accounts.overview import Health, Line
from panel.accounts.server_log import Change
from panel.accounts.service import Seen
from panel.audit import Actor
from panel.errors import PasswordNeeded, Refused
from panel.mail.server import MailServer, normalise_host
from panel.models import Endpoint
from panel.secret import Secret
from panel.services import current
from panel.shell import (
    REFUSED,
    PanelGroup,
    ask,
    ask_hidden,
    json_option,
    password_option,
    print_json,
    progress,
    say,
    yes_option,
)  # fmt: skip
from panel.times import ago
from panel.vault import credential

NAMED = 20  # lines that are wrong, named one by one

accounts = PanelGroup("accounts", help="The mailboxes that mail is collected from.")

SERVER_OPTIONS = (
    click.option("--protocol", default=None, help="imap or pop3."),
    click.option("--host", default=None, help="Name of the mail server; add needs it."),
    click.option("--port", type=int, default=None, help="The one that is usual for protocol and security."),
    click.option("--security", default=None, help="tls, starttls or none (this machine only)."),
    click.option("--username", default=None, help="The address if not given."),
)


def _server_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(SERVER_OPTIONS):
        command = option(command)
    return command


def as_json(line: Line) -> dict[str, Any]:
    """What `list --json` and `show --json` print for one account."""
    names = (
        "address", "uuid", "protocol", "host", "port", "security", "username", "paused", "password",
        "last_success_at", "problem", "folder", "interval", "on_server", "move_to",
    )  # fmt: skip
    return {name: getattr(line, name) for name in names}


@accounts.command()
@click.argument("address")
@_server_options
@password_option()
@click.option("--folder", default="INBOX", show_default=True)
@click.option("--begin", default="now", show_default=True, help="now, unread or all.")
@click.option("--interval", type=int, default=60, show_default=True, help="Seconds between two looks.")
@click.option(
    "--on-server",
    default="keep",
    show_default=True,
    help="What becomes of delivered mail there: keep, seen, move or delete.",
)
@click.option("--move-to", default="", help="The folder for --on-server move.")
def add(
    address: str, protocol: str | None, host: str | None, port: int | None, security: str | None,
    username: str | None, password: Secret, folder: str, begin: str, interval: int, on_server: str,
    move_to: str,
) -> None:  # fmt: skip
    """Add a mail account."""
    if host is None:
        raise click.UsageError("Missing option '--host'.")
    protocol, security = protocol or "imap", security or "tls"
    box = rules.mailbox(address, folder, interval, on_server, move_to)
    where = rules.server(
        current().settings,
        protocol,
        host,
        rules.PORTS.get((protocol, security), 993) if port is None else port,
        security,
        username or box.address,
    )
    uuid = service.add(box, where, password, begin, Actor())
    say(f"{box.address} was added ({uuid}).")


@accounts.command("import")
@click.argument("source", type=click.File("rb"))
@click.pass_context
def import_(context: click.Context, source: BinaryIO) -> None:
    """Add many accounts from SOURCE (- is standard input): one JSON object to a line.

    Lines that are wrong are named, and all others added. Exit status 1: a line was wrong.
    """
    lines = importing.read(source, current().settings)
    bad, added, total = [*lines.bad], 0, len(lines.wanted)
    try:
        with progress("Accounts", quiet=total <= importing.BATCH) as show:
            for batch in importing.store(lines.wanted, Actor()):
                added, bad = added + batch.added, bad + batch.bad
                show(added, total)
    finally:  # also where a batch failed: those before it are stored
        _print_import_result(added, bad)
    if bad:
        context.exit(1 if added else REFUSED)


def _print_import_result(added: int, bad: list[importing.BadLine]) -> None:
    for one in bad[:NAMED]:
        say(f"Line {one.line}: {one.why}", err=True)
    if len(bad) > NAMED:
        say(f"And {len(bad) - NAMED} more lines.", err=True)
    say(f"{added or 'No'} {'account was' if added < 2 else 'accounts were'} added.")


@accounts.command("list")
@json_option
def list_(json_: bool) -> None:
    """List the accounts and how collecting goes."""
    lines = overview.lines(current().vault)
    if json_:
        print_json([as_json(line) for line in lines])
    elif not lines:
        say("There is no account yet. flask accounts add --help tells how to add one.")
    for line in [] if json_ else lines:
        say(_sentence(line))


@accounts.command()
@click.argument("account")
@json_option
def show(account: str, json_: bool) -> None:
    """Show one account."""
    line = _line(account)
    if json_:
        print_json(as_json(line))
    else:
        say(_sentence(line))


def _line(account: str) -> Line:
    found, _ = service.find(account)
    line = overview.line(current().vault, found.uuid)
    assert line is not None  # found just now
    return line


def _sentence(line: Line) -> str:
    state = _state(line)
    last = ago(line.last_success_at)
    return f"{line.address}: {_where(line)}; password {line.password}; last collected {last}; {state}"


def _state(line: Line) -> str:
    if line.health in (Health.OK, Health.NEW) and identity.restored(current().settings.data_dir):
        return "waits until this restored copy is confirmed (flask backup confirm)"
    return {
        Health.PAUSED: "paused",
        Health.WAITS_FOR_KEY: "waits for the encryption key (flask encryption status)",
        Health.NO_PASSWORD: "its password must be entered again",
        Health.FAILING: line.problem or "",
        Health.NEW: "not collected yet",
        Health.OVERDUE: "overdue: is script/server running?",
        Health.OK: "OK",
    }[line.health]


@accounts.command()
@click.argument("account")
@click.pass_context
def test(context: click.Context, account: str) -> None:
    """Try the stored server and password out. Exit status 1 where that fails."""
    found, endpoint = service.find(account)
    opened = probe.credential_for(endpoint.server, None, found.uuid, current().vault)
    for step in probe.run([opened], found.folder, current().settings, Actor(), found.address):
        say(f"{'ok' if step.ok else 'FAILED'}  {step.name}: {step.message} {step.remedy}".rstrip())
        if not step.ok:
            context.exit(1)


@accounts.command()
@click.argument("account")
def pause(account: str) -> None:
    """Stop collecting for this account."""
    found, _ = service.find(account)
    service.pause(found.uuid, Actor())
    say(f"{found.address} is paused.")


@accounts.command()
@click.argument("account")
def resume(account: str) -> None:
    """Collect for this account again."""
    found, _ = service.find(account)
    service.resume(found.uuid, Actor())
    line = _line(found.uuid)
    waits = line.waits_for_key or identity.restored(current().settings.data_dir)
    say(
        f"{found.address} {f'is not paused any more, but {_state(line)}' if waits else 'is collected again'}."
    )


@accounts.command("set-password")
@click.argument("account")
@password_option(required=False)
@click.option("--expect-host", default=None, help="Refuse, unless this is the stored server.")
@click.option("--expect-username", default=None, help="Refuse, unless this is the stored username.")
def set_password(
    account: str, password: Secret | None, expect_host: str | None, expect_username: str | None
) -> None:
    """Store another password for the same server. Without --password-file it is asked for."""
    found, endpoint = service.find(account)
    where, seen = endpoint.server, Seen.of(endpoint)
    _require_vouched(endpoint, {})
    _require_expected("host", where.host, expect_host and normalise_host(expect_host))
    _require_expected("username", where.username, expect_username)
    change = service.last_change(endpoint)
    if password is None:
        say(f"{found.address}: {_where(where)}")
        if change:
            say(_set_by(change))
        if not sys.stdin.isatty():
            raise click.UsageError("Missing option '--password-file'.")
        password = ask_hidden(f"Password of {found.address}")
    elif expect_host is None:
        _require_latest(change, "Name the server that you mean: --expect-host.")
    service.set_password(found.uuid, password, seen, Actor())
    say(f"The new password of {found.address} was stored, for {_where(where)}.")


def _set_by(change: Change) -> str:
    if not change.differs:
        return f"This server was set {ago(change.at)} by {change.who}."
    return (
        f"The server that is stored now is not the one that {change.who} set {ago(change.at)}:"
        f" {change.server}. An older database was restored, or somebody edited this one."
    )


def _require_latest(change: Change | None, remedy: str) -> None:
    """Raise Refused where a password nobody watches would go to another server than was set last."""
    if change is not None and change.differs:
        raise Refused(f"{_set_by(change)} Nothing was changed.", remedy)


def _where(server: MailServer | Line) -> str:
    return f"{server.protocol} {server.host}:{server.port} {server.security} as {server.username}"


def _require_expected(name: str, stored: str, expected: str | None) -> None:
    if expected not in (None, stored):
        raise Refused(
            f"The stored {name} is {stored}, not {expected}; nothing was changed.",
            "Find out who changed it (flask activity list) before you enter a password for it.",
        )


@accounts.command()
@click.argument("account")
@_server_options
@password_option(required=False)
@click.option("--folder", default=None)
@click.option("--interval", type=int, default=None)
@click.option("--on-server", default=None, help="keep, seen, move or delete.")
@click.option("--move-to", default=None, help="The folder for --on-server move.")
def edit(
    account: str, protocol: str | None, host: str | None, port: int | None, security: str | None,
    username: str | None, password: Secret | None, folder: str | None, interval: int | None,
    on_server: str | None, move_to: str | None,
) -> None:  # fmt: skip
    """Change an account; what is not given stays. A changed server needs --password-file."""
    found, endpoint = service.find(account)
    box = rules.mailbox(
        found.address,
        found.folder if folder is None else folder,
        found.interval if interval is None else interval,
        found.on_server if on_server is None else on_server,
        found.move_to if move_to is None else move_to,
    )
    given = {"protocol": protocol, "host": host, "port": port, "security": security, "username": username}
    given = {name: value for name, value in given.items() if value is not None}
    if given:
        _require_vouched(endpoint, given)
    if password is not None and len(given) < len(SERVER_OPTIONS):
        _require_latest(service.last_change(endpoint), "Give the whole server together with the password.")
    where = _changed(endpoint.server, given)
    if where is not None and password is None:
        raise PasswordNeeded(
            "The server settings can change only together with the password.", "Add --password-file."
        )
    service.edit(found.uuid, box, where, password, Seen.of(endpoint), Actor())
    say(f"{box.address} was changed.")


def _changed(stored: MailServer, given: dict[str, Any]) -> MailServer | None:
    if not given:
        return None
    names = ("protocol", "host", "port", "security", "username")
    values = {name: getattr(stored, name) for name in names} | given
    return rules.server(current().settings, **values)


def _require_vouched(endpoint: Endpoint, given: dict[str, Any]) -> None:
    """Raise PasswordNeeded where a part of the server would be taken from a row that may be forged."""
    if len(given) < 5 and not credential.is_authentic(endpoint, current().vault):
        raise PasswordNeeded(
            "The stored password does not open, so the stored server may have been changed.",
            "Give the whole server together with the password: --protocol, --host, --port, --security, "
            "--username.",
        )


@accounts.command()
@click.argument("account")
@yes_option
def remove(account: str, yes: bool) -> None:
    """Forget an account and its password. Delivered mail stays."""
    found = service.find_account(account)
    ask(f"Forget {found.address} and its password?", yes)
    service.remove(found.uuid, Actor())
    say(f"{found.address} was removed. Delivered mail stays in {current().settings.mail_spool / found.uuid}.")
