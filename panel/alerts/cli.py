"""`flask alerts …`: the same as the page."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import click

from panel import db
from panel.accounts import service as accounts
from panel.alerts import channels, service
from panel.alerts.alert_log import Entry
from panel.alerts.service import Overview
from panel.alerts.webhook import signing_key as webhook_key
from panel.audit import Actor
from panel.errors import Refused
from panel.printing import print_json, print_lines, say
from panel.sending import outbox
from panel.services import current
from panel.shell import PanelGroup, json_option
from panel.times import ago, exact, until
from panel.wording import counted

alerts = PanelGroup("alerts", help="Alerts: recipients, what is open, history.")


@alerts.command("list")
@json_option
def list_(json_: bool) -> None:
    """Show recipients, open alerts and history."""
    overview = service.read(current().vault)
    if json_:
        print_json(_as_json(overview))
    else:
        print_lines(_recipients(overview) + _alerts(overview))


@alerts.command("set")
@click.option("--to", "recipients", default=None, help="Mail addresses, separated by commas; empty for none.")
@click.option("--through", default=None, help="Mailbox to send through first; empty for any that works.")
@click.option("--webhook", default=None, help="https:// address to call; empty for none.")
@click.option("--failing-minutes", type=int, help="How long a mailbox fails before it is an alert.")
@click.option("--unverified-days", type=int, help="How long the key may have no verified backup.")
@click.option("--disk-percent", type=int, help="Free disk space below which it is an alert.")
@click.option("--waiting-minutes", type=int, help="How long mail may wait to go out.")
def set_(recipients: str | None, through: str | None, webhook: str | None, **numbers: int | None) -> None:
    """Set recipients, and from when on a problem is an alert. What is not given stays as it is."""
    limits = {name: value for name, value in numbers.items() if value is not None}
    channels_given = not (recipients is None and through is None and webhook is None)
    if not channels_given and not limits:
        raise click.UsageError("Give --to, --through, --webhook or a threshold.")
    before = service.read(current().vault)
    with db.transaction():  # all of it, or nothing
        if limits:
            service.set_thresholds(replace(before.limits, **limits), Actor())
        if channels_given:
            stored = before.channels
            to = stored.recipients if recipients is None else service.recipients_of(recipients)
            first = stored.through if through is None else (accounts.find(through)[0].uuid if through else "")
            url = stored.webhook if webhook is None else webhook.strip()
            service.store(to, first, url, Actor())
    print_lines(_recipients(service.read(current().vault)))


@alerts.command()
@click.pass_context
def test(context: click.Context) -> None:
    """Send a test through each channel that is set. Exit status 1 where one fails."""
    services = current()
    to, actor, ok = channels.read(), Actor(), True
    if not to.any:
        raise Refused("No mail address and no webhook is set.", "Set one with: flask alerts set")
    tests = [service.test_mail(services.settings, services.vault, actor)] if to.recipients else []
    tests += [service.test_webhook(services.settings, actor)] if to.webhook else []
    for steps in tests:
        for step in steps:
            say(f"{'OK' if step.ok else 'Failed'}  {step.name}: {step.message} {step.remedy}".rstrip())
        ok = ok and step.ok
    if not ok:
        context.exit(1)


@alerts.command("signing-key")
def signing_key() -> None:
    """Print the key that the webhook's receiver checks signatures with."""
    say(webhook_key(current().settings))


def _recipients(overview: Overview) -> list[str]:
    to, limits = overview.channels, overview.limits
    through = next((each.address for each in outbox.senders(to.through) if each.uuid == to.through), "")
    lines = [
        f"mail to: {', '.join(to.recipients) or 'none'}{f', first through {through}' if through else ''}",
        f"webhook: {to.webhook_origin or 'none'}",
        f"alert after: mailbox failing {limits.failing_minutes} min, backup not verified"
        f" {counted(limits.unverified_days, 'day')}, disk under {limits.disk_percent}% free,"
        f" mail waiting to go out {limits.waiting_minutes} min",
    ]
    return lines + [f"Failing  {use.problem}" for use in (to.mail_use, to.webhook_use) if use.problem]


def _alerts(overview: Overview) -> list[str]:
    zone = current().settings.timezone
    lines = [
        f"Open      {each.message} Since {exact(each.since, zone)}. {_sent(each, overview)} {each.remedy}"
        for each in overview.open
    ]
    lines += [f"Not sent  {each.message} {each.remedy}" for each in overview.standing]
    if not lines:
        lines = [f"{'OK' if overview.is_ok else 'Needs attention'}  No alerts. {overview.summary}"]
    return lines + [
        f"Resolved  {each.message} From {exact(each.since, zone)}, resolved {ago(each.resolved_at)}."
        for each in overview.history.rows
    ]


def _sent(entry: Entry, overview: Overview) -> str:
    if entry.muted_until is not None:
        return f"Muted by {entry.muted_by} until {exact(entry.muted_until, current().settings.timezone)}."
    if entry.failures:
        return f"Not sent yet; next attempt {until(entry.next_at)}."
    if entry.notified_at is None:
        return (
            "Will be sent within a minute." if overview.channels.any else "Not sent: no recipients are set."
        )
    times = "once" if entry.notified_times == 1 else f"{entry.notified_times} times, last"
    to = f" to {entry.notified_to}" if entry.notified_to else ""
    return f"Sent {times} {ago(entry.notified_at)}{to}; next reminder {until(entry.next_at)}."


def _as_json(overview: Overview) -> dict[str, Any]:
    to = overview.channels
    return {
        "recipients": list(to.recipients),
        "through": to.through or None,
        "webhook": to.webhook_origin or None,
        "mail_use": asdict(to.mail_use),
        "webhook_use": asdict(to.webhook_use),
        "thresholds": asdict(overview.limits),
        "open": [_entry(entry) for entry in overview.open],
        "history": [_entry(entry) for entry in overview.history.rows],
        "not_sent": [{"condition": each.name, "message": each.message} for each in overview.standing],
        "summary": overview.summary or None,
    }


def _entry(entry: Entry) -> dict[str, Any]:
    return {name: value for name, value in asdict(entry).items() if name not in ("id", "path")}
