"""`flask setup`: the first install without a browser."""

from __future__ import annotations

import click

from panel.printing import say
from panel.secret import Secret
from panel.services import current
from panel.setup import service
from panel.shell import PanelCommand, password_option


@click.command("setup", cls=PanelCommand, creates_install=True)
@click.option("--admin-email", "email", required=True, help="Email address of the first administrator.")
@click.option("--admin-name", "name", required=True, help="Name of the first administrator.")
@password_option()
def setup(email: str, name: str, password: Secret) -> None:
    """Create the install and its first administrator. Refused once set up."""
    settings = current().settings
    person = service.create_admin(settings, name, email, password, None)
    say(f"Mailkeep is set up in {settings.data_dir}. {person.email} is its administrator.")
