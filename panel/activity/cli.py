"""`flask activity`: who did what, when, from where."""

from __future__ import annotations

from dataclasses import asdict

import click

from panel.activity import log
from panel.activity.log import Filter
from panel.services import current
from panel.shell import PanelGroup, json_option, print_json, say
from panel.times import exact

activity = PanelGroup("activity", help="Events: who did what, when and from where.")


@activity.command("list")
@click.option("--what", default="", help="Only events of this kind.")
@click.option("--text", default="", help="Only events with this text in who, subject or address.")
@click.option(
    "--count", type=click.IntRange(1), default=50, show_default=True, help="How many of the newest."
)
@json_option
def list_(what: str, text: str, count: int, json_: bool) -> None:
    """List events, newest first."""
    events = log.newest(Filter(what, text), count)
    if json_:
        print_json([asdict(event) for event in events])
        return
    if not events:
        say("No matching events." if what or text else "No events yet.")
    zone = current().settings.timezone
    for event in events:
        what = f"{event.what}: {event.subject}" if event.subject else event.what
        place = f" from {event.address}" if event.address else ""
        say(f"{exact(event.at, zone)}  {what} by {event.who}{place} {event.detail}".rstrip())
