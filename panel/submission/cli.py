"""`flask sending submission-password`: the same as on the page."""

from __future__ import annotations

import click

from panel.accounts import service as accounts
from panel.audit import Actor
from panel.printing import say
from panel.services import current
from panel.shell import PanelCommand, ask, yes_option
from panel.submission import passwords


@click.command("submission-password", cls=PanelCommand)
@click.argument("account")
@click.option("--alias", "aliases", multiple=True, help="Another address to send from. Can be repeated.")
@click.option("--remove", is_flag=True, help="End the password instead.")
@yes_option
def submission_password(account: str, aliases: tuple[str, ...], remove: bool, yes: bool) -> None:
    """Print a new password, once, by which a helpdesk sends as ACCOUNT. An earlier one ends."""
    found, _ = accounts.find(account)
    if remove:
        ask(f"End the password by which a helpdesk sends as {found.address}?", yes)
        passwords.remove(found.uuid, Actor())
        say(f"No helpdesk can send as {found.address} any more.")
        return
    say(passwords.create(found.uuid, aliases, Actor()).reveal())
    if current().settings.submission_bind is None:
        say("Nothing listens for it yet: set PANEL_SUBMISSION_BIND and restart Mailkeep.", err=True)
