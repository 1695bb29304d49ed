"""`flask alerts …`: the same as the page."""

from __future__ import annotations

from typing import Any

import click

from panel.accounts import service as accounts
from panel.alerts import channels, service, webhook
from panel.alerts.alert_log import Entry
from panel.alerts.channels import Way
from panel.alerts.service import Picture
from panel.audit import Actor
from panel.sending import outbox
from panel.services import current
from panel.shell import PanelGroup, json_option, print_json, print_lines, say
from panel.times import ago, exact, until

alerts = PanelGroup("alerts", help="Who is told of trouble, and of what.")


@alerts.command("list")
@json_option
def list_(json_: bool) -> None:
    """Tell who is told, what is wrong now and what was lately."""
    picture = service.picture(current().vault)
    if json_:
        print_json(_plain(picture))
        return
    print_lines(_lines(picture))


@alerts.command("set")
@click.option("--to", "to", default=None, help="Mail addresses with commas between; empty for none.")
@click.option("--through", default=None, help="Account to send through first; empty for any that works.")
@click.option("--webhook", "url", default=None, help="https:// address to call; empty for none.")
def set_(to: str | None, through: str | None, url: str | None) -> None:
    """Say whom to tell. What is not given stays."""
    if to is None and through is None and url is None:
        raise click.UsageError("Give --to, --through or --webhook.")
    before = channels.read()
    recipients = before.recipients if to is None else service.recipients_of(to)
    first = before.through if through is None else (accounts.find(through)[0].uuid if through else "")
    service.store(recipients, first, before.webhook if url is None else url.strip(), Actor())
    print_lines(_whom(service.picture(current().vault)))


@alerts.command()
@click.pass_context
def test(context: click.Context) -> None:
    """Send a test mail and call the webhook, whichever is set. Exit status 1 where one fails."""
    services = current()
    to, actor, well = channels.read(), Actor(), True
    if not to.any:
        say("Nobody is told: no mail address and no webhook is set.")
        context.exit(1)
    tests = [service.test_mail(services.settings, services.vault, actor)] if to.recipients else []
    tests += [service.test_webhook(services.settings, actor)] if to.webhook else []
    for steps in tests:
        for step in steps:
            say(f"{'ok' if step.ok else 'FAILED'}  {step.name}: {step.message} {step.remedy}".rstrip())
        well = well and step.ok
    if not well:
        context.exit(1)


@alerts.command("signing-key")
def signing_key() -> None:
    """Print the key with which whoever receives the webhook checks its signature."""
    say(webhook.signing_key(current().settings))


def _lines(picture: Picture) -> list[str]:
    zone = current().settings.timezone
    lines = _whom(picture)
    for entry in picture.now:
        lines.append(
            f"NOT OK  {entry.message} Since {exact(entry.since, zone)}."
            f" {_told(entry, picture)} {entry.remedy}"
        )
    if not picture.now:
        lines.append(f"{'OK' if picture.is_green else 'NOT OK'}  No notice is open. {picture.quiet}")
    for entry in picture.over:
        lines.append(f"over    {entry.message} From {exact(entry.since, zone)}, over {ago(entry.over_at)}.")
    return lines


def _whom(picture: Picture) -> list[str]:
    now = picture.channels
    through = next((each.address for each in outbox.senders() if each.uuid == now.through), "")
    lines = [
        f"mail to: {', '.join(now.recipients) or 'nobody'}{f', first through {through}' if through else ''}",
        f"webhook: {now.webhook_origin or 'none'}",
    ]
    return lines + [f"FAILED  {way.problem}" for way in (now.mail, now.call) if way.problem]


def _told(entry: Entry, picture: Picture) -> str:
    if entry.failures:
        return f"Nobody could be told; next try {until(entry.next_at)}."
    if entry.notified_at is None:
        return "Told soon." if picture.channels.any else "Nobody is told."
    return f"Told {entry.notified_times} times, last {ago(entry.notified_at)}; again {until(entry.next_at)}."


def _plain(picture: Picture) -> dict[str, Any]:
    now = picture.channels
    return {
        "recipients": list(now.recipients),
        "through": now.through or None,
        "webhook": now.webhook_origin or None,
        "mail": _way(now.mail),
        "call": _way(now.call),
        "now": [_entry(entry) for entry in picture.now],
        "over": [_entry(entry) for entry in picture.over],
        "quiet": picture.quiet if not picture.now else None,
    }


def _way(way: Way) -> dict[str, Any]:
    return {"worked_at": way.worked_at, "failed_at": way.failed_at, "problem": way.problem}


def _entry(entry: Entry) -> dict[str, Any]:
    names = (
        "condition",
        "message",
        "remedy",
        "since",
        "over_at",
        "notified_at",
        "notified_times",
        "failures",
        "next_at",
    )
    return {name: getattr(entry, name) for name in names}
