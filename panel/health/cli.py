"""`flask doctor`: every check, with its remedy."""

from __future__ import annotations

import click

from panel.health import checks
from panel.health.check import Check, Label
from panel.printing import print_json, print_lines
from panel.services import current
from panel.shell import PanelCommand, json_option


@click.command("doctor", cls=PanelCommand)
@json_option
@click.pass_context
def doctor(context: click.Context, json_: bool) -> None:
    """Check install, database and every password.

    Exit status 1: a problem was found.
    """
    services = current()
    results = checks.run(checks.gather(services.settings, services.vault, deep=True))
    if json_:
        print_json([_as_json(result) for result in results])
    else:
        print_lines(_line(result) for result in results)
    if not all(result.ok for result in results):
        context.exit(1)


def _line(result: Check) -> str:
    return f"{result.status:<15}  {result.check}: {result.message} {result.remedy}".rstrip()


def _as_json(result: Check) -> dict[str, object]:
    shown = result.ok and result.status is not Label.OK
    message = f"{result.status}: {result.message}" if shown else result.message
    return {"check": result.check, "ok": result.ok, "message": message, "remedy": result.remedy}
