"""`flask doctor`: every check, with its mend."""

from __future__ import annotations

from dataclasses import asdict

import click
from flask import current_app

from panel.health import checks
from panel.shell import PanelCommand, json_option, print_json


@click.command("doctor", cls=PanelCommand)
@json_option
@click.pass_context
def doctor(context: click.Context, json_: bool) -> None:
    """Check the whole install. Exit status 1 where something is not well."""
    services = current_app.extensions["mailkeep"]
    found = checks.run(services.settings, services.keystore)
    if json_:
        print_json([asdict(check) for check in found])
    for check in [] if json_ else found:
        click.echo(f"{'ok ' if check.ok else 'NOT OK'}  {check.check}: {check.says} {check.mend}".rstrip())
    if not all(check.ok for check in found):
        context.exit(1)
