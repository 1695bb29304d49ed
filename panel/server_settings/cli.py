"""`flask settings`: every setting, its value and where it comes from."""

from __future__ import annotations

import click

from panel.config import ROOT
from panel.printing import print_json, say
from panel.server_settings import service
from panel.services import current
from panel.shell import PanelCommand, json_option


@click.command("settings", cls=PanelCommand)
@json_option
def settings(json_: bool) -> None:
    """Show every setting and where it comes from.

    Secrets are shown as 'set'.
    """
    found = service.read(current().settings, ROOT / "docs/settings.md")
    if json_:
        print_json({row.name: {"value": row.value, "source": row.source} for row in found.rows})
        return
    for row in found.rows:
        say(f"{row.name}={row.value}  ({row.source})")
