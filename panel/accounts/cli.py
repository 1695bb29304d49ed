"""`flask accounts …`: the same checks and steps as the pages."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any, BinaryIO

import click

from panel import db, identity, shell
from panel.accounts import auth, bulk, importing, listing, overview, probe, removal, rules, service
from panel.accounts.auth import Oauth, is_same
from panel.accounts.overview import Health, Line
from panel.accounts.server_log import Change
from panel.accounts.service import Seen
from panel.audit import Actor
from panel.deliver import mailboxes
from panel.errors import BadInput, NotFound, Refused
from panel.listing import ListQuery
from panel.mail.server import MailServer, normalise_host
from panel.models import Endpoint
from panel.models.endpoint import CONSENT, PASSWORD
from panel.printing import print_json, progress, say
from panel.program import command_line
from panel.secret import Secret
from panel.services import current
from panel.times import ago

NAMED = 20  # invalid lines listed one by one
REMOVED_NAMED = 5  # mailboxes in the question

accounts = shell.PanelGroup("accounts", help="The mailboxes that mail is collected from.")

OPTIONS = (
    click.option("--protocol", help="imap or pop3. New mailboxes: imap."),
    click.option("--port", type=int, help="New mailboxes: the usual port of protocol and security."),
    click.option("--security", help="tls, starttls, or none (on this server only). New mailboxes: tls."),
    click.option("--username", help="New mailboxes: the address."),
    click.option("--folder", help="Folder to collect from. New mailboxes: INBOX."),
    click.option("--interval", type=int, help="Check every … seconds. New mailboxes: 60."),
    click.option("--on-server", help="After collecting: keep, seen, move or delete. New mailboxes: keep."),
    click.option("--move-to", help="The folder for --on-server move."),
)


def _options(command: Callable[..., Any], *, new: bool = False) -> Callable[..., Any]:
    """Those of a mailbox; a `new` one needs a host."""
    for option in reversed(OPTIONS):
        command = option(command)
    return click.option("--host", required=new, help="Host name of the mail server.")(command)


def _given(options: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: options[name] for name in names if options[name] is not None}


@accounts.command()
@click.argument("address")
@partial(_options, new=True)
@shell.sign_in_options
@click.option("--begin", default="now", show_default=True, help="Start with: now (new mail), unread or all.")
def add(address: str, begin: str, **options: Any) -> None:
    """Add the mailbox ADDRESS. Without a way to sign in, its password is asked for."""
    entered = auth.chosen(**_given(options, shell.SIGN_IN_NAMES))
    if entered is None and not sys.stdin.isatty():
        raise click.UsageError("Missing option '--password-file', or else '--app' or '--secret-name'.")
    box = rules.mailbox(address, **_given(options, rules.MAILBOX_FIELDS))
    server = {"protocol": "imap", "security": "tls", "port": None, "username": box.address}
    where = rules.server(current().settings, **server | _given(options, rules.SERVER_FIELDS))
    entered = entered if entered is not None else shell.ask_new("Password")
    uuid = service.add(current().vault, service.New(box, where, entered, begin), Actor())
    test = f", not tested. To test it: {command_line('accounts test')} {box.address}"
    say(f"{box.address} was added ({uuid}){_waits(uuid, box.address) or test}")


def _waits(uuid: str, address: str) -> str:
    """What to do where it waits for its consent; else empty."""
    if _line(uuid).consent in (None, "ok"):
        return ""
    return f". It waits for its consent. To connect it: {command_line('oauth connect')} {address}"


@accounts.command("import")
@click.argument("source", type=click.File("rb"))
@click.pass_context
def import_(context: click.Context, source: BinaryIO) -> None:
    """Add mailboxes from SOURCE (- for standard input): CSV that names its columns, or JSON lines.

    Invalid lines are listed, all others are added. Exit status 1 if a line is invalid.
    """
    lines = importing.read(source, current().settings)
    bad, added, total = [*lines.bad], 0, len(lines.wanted)
    try:
        with progress("Mailboxes", quiet=total <= importing.BATCH) as show:
            for batch in importing.store(current().vault, lines.wanted, Actor()):
                added, bad = added + batch.added, bad + batch.bad
                show(added, total)
    finally:  # also where a batch failed: those before it are stored
        _print_import_result(added, bad)
    if bad:
        context.exit(1 if added else shell.REFUSED)


def _print_import_result(added: int, bad: list[importing.BadLine]) -> None:
    for one in bad[:NAMED]:
        say(f"Line {one.line}: {one.why}", err=True)
    if len(bad) > NAMED:
        say(f"And {len(bad) - NAMED} more lines.", err=True)
    say(f"{added or 'No'} {'mailbox was' if added < 2 else 'mailboxes were'} added.")


@accounts.command("list")
@shell.json_option
def list_(json_: bool) -> None:
    """List the mailboxes and their status."""
    lines = overview.lines(current().vault)
    if json_:
        print_json([as_json(line) for line in lines])
    elif not lines:
        say(f"No mailboxes yet. Add one with {command_line('accounts add')}.")
    else:
        for line in lines:
            say(_sentence(line))


@accounts.command()
@click.argument("account")
@shell.json_option
def show(account: str, json_: bool) -> None:
    """Show one mailbox."""
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


def as_json(line: Line) -> dict[str, Any]:
    """What `list --json` and `show --json` print for one mailbox."""
    names = (
        "address", "uuid", "protocol", "host", "port", "security", "username", "paused", "auth", "consent",
        "app", "signs_in_as", "password",
        "last_success_at", "problem", "remedy", "next_try_at", "folder", "interval", "on_server", "move_to",
        "deliver_to",
    )  # fmt: skip
    return {name: getattr(line, name) for name in names}


def _sentence(line: Line) -> str:
    last = ago(line.last_success_at)
    return f"{line.address}: {_login(line)}; {_auth(line)}; last collected {last}; {_status(line)}"


def _auth(line: Line) -> str:
    if line.auth == "password":
        return f"password {overview.STORED[line.password]}"
    how = (
        f"OAuth2 through {line.app or 'an app that was removed'}"
        if line.auth == "oauth"
        else "secret kept outside"
    )
    return how + (f" as {line.signs_in_as}" if line.signs_in_as else "")


def _status(line: Line) -> str:
    if line.health in (Health.OK, Health.NEW) and identity.restored(current().settings.data_dir):
        return f"Paused until this restored copy is confirmed ({command_line('backup confirm')})"
    return {
        Health.PAUSED: "Paused",
        Health.WAITS_FOR_KEY: "Paused until the encryption key is available "
        f"({command_line('encryption status')})",
        Health.NO_PASSWORD: f"Failing: {_enter_again(line)}",
        Health.CONSENT: f"Needs attention: {_consent(line)} ({command_line('oauth connect')} {line.address})",
        Health.FAILING: f"Failing: {line.problem}",
        Health.NEW: "not collected yet",
        Health.OVERDUE: "Needs attention: overdue. Is script/server running?",
        Health.OK: "OK",
    }[line.health]


def _enter_again(line: Line) -> str:
    if line.auth == "password":
        return f"enter its password again ({command_line('accounts set-password')})"
    return f"enter its server again, and how it signs in ({command_line('accounts edit')})"


def _consent(line: Line) -> str:
    if line.consent == "ended":
        return f"its consent ended {ago(line.consent_ended_at)}; connect it again"
    return "waits for its consent; connect it"


def _login(server: MailServer | Line) -> str:
    return f"{server.protocol} {server.host}:{server.port} {server.security} as {server.username}"


@accounts.command()
@click.argument("account")
@click.pass_context
def test(context: click.Context, account: str) -> None:
    """Test the stored server and password. Exit status 1 if that fails."""
    found, endpoint = service.find(account)
    settings = current().settings
    source = probe.stored(endpoint, settings, current().vault)
    for step in probe.run([source], found.folder, settings, Actor(), found.address):
        say(f"{'ok' if step.ok else 'FAILED'}  {step.name}: {step.message} {step.remedy}".rstrip())
        if not step.ok:
            context.exit(1)


def _several(command: Callable[..., Any]) -> Callable[..., Any]:
    """Any number of mailboxes, or all that a search finds."""
    command = click.option("--search", metavar="TEXT", help="All whose address or server contains TEXT.")(
        command
    )
    return click.argument("account", nargs=-1)(command)


def _chosen(names: tuple[str, ...], search: str | None, *, removed: bool = False) -> list[str]:
    """The uuids of those that were named or are found; with `removed` also of what can be restored.

    Raises NotFound where one is missing.
    """
    if bool(names) == bool(search):
        raise click.UsageError("Name mailboxes, or find them with --search.")
    if not search:
        gone = {name: removal.find(name) for name in names} if removed else {}
        found = (gone.get(name) or service.find_account(name) for name in names)
        return list(dict.fromkeys(str(account.uuid) for account in found))
    uuids = listing.uuids(current().vault, ListQuery(search, sort="address"))
    if not uuids:
        raise NotFound(f"No mailbox matches “{search[:80]}”.", "See: flask accounts list")
    return uuids


def _run(uuids: list[str], action: str, what: str) -> None:
    done = bulk.Done()
    with progress("Mailboxes", quiet=len(uuids) <= bulk.BATCH) as show:
        for done in bulk.run(uuids, bulk.Action(action), db.now(), Actor()):
            show(done.done, len(uuids))
    if len(uuids) > 1:
        say(f"{done.changed} of {len(uuids)} mailboxes were {what}.")


@accounts.command()
@_several
def pause(account: tuple[str, ...], search: str | None) -> None:
    """Stop collecting from these mailboxes."""
    uuids = _chosen(account, search)
    _run(uuids, "pause", "paused")
    if len(uuids) == 1:
        say(f"{bulk.addresses(uuids)[0]} is paused.")


@accounts.command()
@_several
def resume(account: tuple[str, ...], search: str | None) -> None:
    """Collect from these mailboxes again."""
    uuids = _chosen(account, search)
    if len(uuids) > 1:
        _run(uuids, "resume", "resumed")
        return
    service.resume(uuids[0], Actor())
    status = _status(_line(uuids[0]))
    address = bulk.addresses(uuids)[0]
    say(f"{address} was resumed." + (f" Its status: {status}." if status.startswith("Paused") else ""))


@accounts.command("set-password")
@click.argument("account")
@shell.password_option(required=False)
@click.option("--expect-host", default=None, help="Refuse unless this is the stored host.")
@click.option("--expect-username", default=None, help="Refuse unless this is the stored username.")
def set_password(
    account: str, password: Secret | None, expect_host: str | None, expect_username: str | None
) -> None:
    """Change the stored password for the same server. Without --password-file it is asked for."""
    found, endpoint = service.find(account)
    where, seen = endpoint.server, Seen.of(endpoint)
    service.require_authentic(current().vault, endpoint)
    _require_expected("host", where.host, None if expect_host is None else _expected_host(expect_host))
    if expect_username is not None:
        rules.require_text(expect_username, "expect_username", "The username", rules.LONGEST_USERNAME)
    _require_expected("username", where.username, expect_username)
    change = service.last_change(current().vault, endpoint)
    if password is None:
        say(f"{found.address}: {_login(where)}")
        if endpoint.kind != PASSWORD:
            say(f"With a password it signs in {_no_longer(endpoint)}.")
        if change:
            say(_set_by(change))
        if not sys.stdin.isatty():
            raise click.UsageError("Missing option '--password-file'.")
        password = shell.ask_new(f"Password of {found.address}")
    elif expect_host is None:
        _require_latest(change, "Name the server that you mean: --expect-host.")
    service.set_password(current().vault, found.uuid, password, seen, Actor())
    if endpoint.kind == PASSWORD:
        say(f"The password of {found.address} was changed, for {_login(where)}.")
    else:
        say(f"{found.address} signs in with this password now, {_no_longer(endpoint)}, for {_login(where)}.")


def _no_longer(endpoint: Endpoint) -> str:
    """What a password takes the place of."""
    return "no longer by OAuth2" if endpoint.kind == CONSENT else "no longer with a secret kept outside"


def _expected_host(typed: str) -> str:
    """`typed` as it would be stored. Raises BadInput, naming the option."""
    try:
        return normalise_host(typed)
    except BadInput as error:
        raise BadInput(error.message, error.remedy, "expect_host") from None


def _require_expected(name: str, stored: str, expected: str | None) -> None:
    if expected not in (None, stored):
        raise Refused(
            f"The stored {name} is {stored}, not {expected}, so nothing was changed.",
            "Find out who changed it (flask activity list) before you enter a password for it.",
        )


def _require_latest(change: Change | None, remedy: str) -> None:
    """Raise Refused if an unattended password would go to another server than the one that was set last."""
    if change is not None and change.differs:
        raise Refused(f"{_set_by(change)} Nothing was changed.", remedy)


def _set_by(change: Change) -> str:
    if not change.differs:
        return f"{change.who} set this server {ago(change.at)}."
    return (
        f"The stored server is not the one that {change.who} set {ago(change.at)}: {change.server}."
        " An older database was restored, or this one was edited."
    )


@accounts.command()
@click.argument("account")
@_options
@shell.sign_in_options
@click.option(
    "--deliver-to", default=None, help="Target of its mail; see flask deliver targets. Empty: the default."
)
def edit(account: str, deliver_to: str | None, **options: Any) -> None:
    """Change a mailbox. Options that are not given stay; a changed server needs a way to sign in.

    With another way the mailbox goes on where it stopped: nothing is delivered twice.
    """
    entered = auth.chosen(**_given(options, shell.SIGN_IN_NAMES))
    found, endpoint = service.find(account)
    stored = vars(service.mailbox_of(found))
    box = rules.mailbox(**stored | _given(options, rules.MAILBOX_FIELDS))
    given, where = _given(options, rules.SERVER_FIELDS), None
    whole = len(given) == len(rules.SERVER_FIELDS)
    if given and not whole:  # the rest comes from the stored server
        service.require_authentic(current().vault, endpoint)
    if entered is not None and not whole:
        _require_latest(
            service.last_change(current().vault, endpoint),
            "Give the whole server together with the password.",
        )
    if given:
        server = {name: getattr(endpoint, name) for name in rules.SERVER_FIELDS}
        where = rules.server(current().settings, **server | given)
        is_new = not is_same(endpoint, where)
        if is_new and entered is None and endpoint.kind == PASSWORD and sys.stdin.isatty():
            entered = shell.ask_new(f"Password of {found.address} at {where.host}")
    if deliver_to is not None:
        mailboxes.require(current().settings, deliver_to)
    service.edit(current().vault, found.uuid, box, where, entered, Seen.of(endpoint), Actor())
    if deliver_to is not None:
        mailboxes.choose(current().settings, found.uuid, deliver_to, Actor())
    waits = _waits(found.uuid, box.address) if isinstance(entered, Oauth) else ""
    say(f"{box.address} was changed{waits or '.'}")


@accounts.command("collect-older")
@click.argument("account")
def collect_older(account: str) -> None:
    """Have the next run also collect the mail that --begin left on the server."""
    found, _ = service.find(account)
    service.collect_older(found.uuid, Actor())
    say(f"All mail of {found.address} is collected from now on.")


@accounts.command()
@_several
@click.option("--now", is_flag=True, help="Delete for good at once.")
@shell.yes_option
def remove(account: tuple[str, ...], search: str | None, now: bool, yes: bool) -> None:
    """Remove mailboxes; after ten minutes they are deleted with their passwords. Delivered mail stays."""
    uuids = _chosen(account, search, removed=now)
    addresses = bulk.addresses(uuids[:REMOVED_NAMED])
    named = ", ".join(addresses) + (
        f" and {len(uuids) - len(addresses)} more" if len(uuids) > len(addresses) else ""
    )
    shell.ask(f"Remove {named} and {'its' if len(uuids) == 1 else 'their'} passwords?", yes)
    _run(uuids, "remove", "removed")
    if now:
        for uuid in uuids:
            removal.purge(uuid=uuid)
    if len(uuids) == 1:
        spool = current().settings.mail_spool / uuids[0]
        say(f"{named} was removed{' for good' if now else ''}. Delivered mail stays in {spool}.")
    if not now:
        which = uuids[0] if len(uuids) == 1 else "ACCOUNT"
        undo = command_line(f"accounts restore {which}")
        say(f"To undo that within {removal.UNDO_SECONDS // 60} minutes: {undo}")


@accounts.command()
@click.argument("account")
def restore(account: str) -> None:
    """Restore a mailbox that was removed less than ten minutes ago."""
    say(f"{removal.restore(account, Actor())} was restored.")
