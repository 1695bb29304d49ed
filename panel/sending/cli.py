"""`flask sending …`: the same checks and steps as on the pages."""

from __future__ import annotations

import sys
from typing import Any

import click

from panel.accounts import auth, rules
from panel.accounts import service as accounts
from panel.accounts.auth import Oauth
from panel.accounts.service import Seen
from panel.audit import Actor
from panel.oauth import connections
from panel.printing import say
from panel.program import command_line
from panel.sending import service
from panel.services import current
from panel.shell import PanelGroup, ask, ask_new, sign_in_options, yes_option

sending = PanelGroup("sending", help="The servers that mailboxes send mail through.")


@sending.command("set")
@click.argument("account")
@click.option("--host", required=True, help="Name of the mail server.")
@click.option("--port", type=int, default=None, help="465 for tls, 587 for starttls.")
@click.option(
    "--security", default="tls", show_default=True, help="tls, starttls or none (on this server only)."
)
@click.option("--username", default=None, help="Default: the address.")
@sign_in_options
def set_(
    account: str, host: str, port: int | None, security: str, username: str | None, **entered: Any
) -> None:
    """Set the server that ACCOUNT sends through. Without a way to sign in, its password is asked for.

    With the app that the mailbox is collected through, one consent serves both. Except for Microsoft 365 and
    Google, connect the mailbox once more then: its tokens go to one more server.
    """
    how = auth.chosen(**entered)
    if how is None and not sys.stdin.isatty():
        raise click.UsageError("Missing option '--password-file', or else '--app' or '--secret-name'.")
    found, _ = accounts.find(account)
    settings = current().settings
    port = rules.PORTS.get(("smtp", security), 465) if port is None else port
    where = rules.server(settings, "smtp", host, port, security, username or found.address)
    seen = Seen.of(endpoint) if (endpoint := accounts.sending_of(found.uuid)) else Seen()
    how = how if how is not None else ask_new("Password")
    service.store(current().vault, found.uuid, where, how, seen, Actor())
    consent = connections.state_of(found.uuid)
    waits = f" It waits for its consent. To connect it: {command_line('oauth connect')} {found.address}"
    needed = isinstance(how, Oauth) and consent is not None and consent.state != "ok"
    say(f"{found.address} sends through {where.host} now.{waits if needed else ''}")


@sending.command()
@click.argument("account")
@click.pass_context
def test(context: click.Context, account: str) -> None:
    """Send a test message from ACCOUNT to itself. Exit status 1 if that fails."""
    found, _ = accounts.find(account)
    services = current()
    for step in service.send_test(found.uuid, services.settings, services.vault, Actor()):
        say(f"{'ok' if step.ok else 'FAILED'}  {step.name}: {step.message} {step.remedy}".rstrip())
        if not step.ok:
            context.exit(1)


@sending.command()
@click.argument("account")
@yes_option
def remove(account: str, yes: bool) -> None:
    """Delete the server that ACCOUNT sends through, with its password."""
    found, _ = accounts.find(account)
    ask(f"Delete the server that {found.address} sends through, with its password?", yes)
    service.remove(found.uuid, Actor())
    say(f"{found.address} no longer sends mail.")
