"""`flask activity`: who did what, when, from where."""

from __future__ import annotations

from dataclasses import asdict

import click

from panel.activity import log
from panel.activity.log import Filter
from panel.listing import LONGEST_SEARCH
from panel.printing import print_json, say
from panel.services import current
from panel.shell import PanelGroup, count_option, json_option
from panel.times import exact

activity = PanelGroup("activity", help="Events: who did what, when and from where.")


@activity.command("list")
@click.option("--what", default="", help="Only events of this kind.")
@click.option("--who", default="", help="Only events by this person or program.")
@click.option("--text", default="", help="Only events with this text in who, subject or address.")
@click.option("--days", type=click.IntRange(0, 36_500), default=0, help="Only events of so many days.")
@count_option
@json_option
def list_(what: str, who: str, text: str, days: int, count: int, json_: bool) -> None:
    """List events, newest first."""
    chosen = Filter(what, text[:LONGEST_SEARCH], who, days)
    events = log.newest(chosen, count)
    if json_:
        print_json([asdict(event) for event in events])
        return
    if not events:
        say("No matching events." if chosen.any else "No events yet.")
    zone = current().settings.timezone
    for event in events:
        what = f"{event.what}: {event.subject}" if event.subject else event.what
        place = f" from {event.address}" if event.address else ""
        say(f"{exact(event.at, zone)}  {what} by {event.who}{place} {event.detail}".rstrip())
