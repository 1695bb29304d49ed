"""`flask deliver …`: where mail goes out to."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import asdict

import click

from panel.audit import Actor
from panel.deliver import mailboxes, status
from panel.printing import print_json, say
from panel.services import current
from panel.shell import PanelGroup, json_option
from panel.times import ago, parsed
from panel.wording import counted

WAIT_SECONDS = 15.0  # for the deliverer to see a request, beside the time that the target may take

deliver = PanelGroup("deliver", help="Delivering mail to a helpdesk.")


@deliver.command("targets")
@json_option
@click.pass_context
def targets_(context: click.Context, json_: bool) -> None:
    """List the targets and how they are doing. Exit status 1 if mail does not go out."""
    found = status.outgoing(current().settings, reported_waiting=True)
    if json_:
        print_json([asdict(each) for each in found.targets])
    elif not found.broken:
        for each in found.targets:
            say(_sentence(each, found.default))
    if found.problem:
        say(f"{found.problem} {found.remedy}", err=True)
    if found.problem or any(each.since for each in found.targets):
        context.exit(1)


def _sentence(state: status.TargetState, default: str) -> str:
    default_ = " (default)" if state.name == default else ""
    count = counted(state.mailboxes, "mailbox")
    how = f"last delivered {ago(state.delivered_at)}" if state.delivered_at else ""
    if state.since:
        how = f"failing, first {ago(state.since)}: {state.answer}"
    return "; ".join(
        filter(None, (f"{state.name}{default_}: {state.does or 'not in the targets file'}", count, how))
    )


@deliver.command()
@click.argument("name")
@click.pass_context
def test(context: click.Context, name: str) -> None:
    """Have the deliverer send a sample message to the target NAME. Exit status 1 if that fails."""
    settings = current().settings
    id_ = mailboxes.request_sample(settings, name, Actor())
    target = status.read_targets(settings)[0].by_name[name]
    ends_at = time.monotonic() + target.timeout + WAIT_SECONDS
    while (found := mailboxes.sample_result(settings, id_)) is None and time.monotonic() < ends_at:
        time.sleep(0.2)
    ok, answer = found or (False, "The deliverer has not answered. Is it running? See: flask deliver targets")
    say(f"{'ok' if ok else 'FAILED'}  {name}: {answer}".rstrip(" :"))
    if not ok:
        context.exit(1)


@deliver.command()
@click.argument("account")
@click.option("--since", metavar="DATE", help="Of what was delivered, only since this day or time.")
@click.option("--set-aside", is_flag=True, help="Only what was set aside.")
def again(account: str, since: str | None, set_aside: bool) -> None:
    """Deliver once more what ACCOUNT has kept: mail that was set aside, and mail of the last days.

    Each message gets a new delivery id, so that the helpdesk does not drop it as a repeat.
    """
    settings, found = current().settings, mailboxes.find(account)
    at = 0 if since is None else parsed(since, settings.timezone)
    count = mailboxes.again(settings, found.uuid, at, only_aside=set_aside, actor=Actor())
    say(f"{count or 'No'} {'message is' if count == 1 else 'messages are'} delivered again.")


@deliver.command()
def run() -> None:
    """Deliver mail until stopped, as the helpdesk's Unix user: needs spool and targets file alone."""
    os.execv(sys.executable, [sys.executable, "-m", "panel.deliver"])  # noqa: S606 - as app.py does
