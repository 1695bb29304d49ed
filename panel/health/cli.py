"""`flask doctor`: every check, with its mend."""

from __future__ import annotations

import click

from panel.health import checks
from panel.health.check import Check
from panel.services import current
from panel.shell import PanelCommand, json_option, print_json, say


@click.command("doctor", cls=PanelCommand)
@json_option
@click.pass_context
def doctor(context: click.Context, json_: bool) -> None:
    """Check the whole install, the whole database and every password. Exit status 1: something is wrong."""
    services = current()
    found = checks.run(checks.look(services.settings, services.vault, deep=True))
    if json_:
        print_json([_plain(check) for check in found])
    for check in [] if json_ else found:
        mark = "NOT OK" if not check.ok else check.instead.lower() or "ok "
        say(f"{mark}  {check.check}: {check.message} {check.remedy}".rstrip())
    if not all(check.ok for check in found):
        context.exit(1)


def _plain(check: Check) -> dict[str, object]:
    message = f"{check.instead}: {check.message}" if check.instead else check.message
    return {"check": check.check, "ok": check.ok, "message": message, "remedy": check.remedy}
