"""The check of alerts: whether recipients are notified when something fails."""

from __future__ import annotations

from collections.abc import Iterator

from panel.health import heartbeat
from panel.health.check import Check, Install, Label, Link
from panel.models import Alert, AlertChannels
from panel.sending import outbox
from panel.times import ago
from panel.wording import counted

PAGE = Link("/server/alerts", "Open Alerts")


def alerts(install: Install) -> Iterator[Check]:
    """Whether alerts are checked for, and whether each channel worked when it was last used."""
    row = install.rows.of(AlertChannels)
    if row is None or not (row.recipients or row.webhook):
        message = "No mail address and no webhook is set. Alerts appear only on pages and in the log."
        yield Check("alerts", True, message, link=PAGE, passed_as=Label.OFF)
    elif problems := list(_problems(row, install)):
        remedy = "Solve this, then send a test from the Alerts page, or run: flask alerts test"
        yield Check("alerts", False, " ".join(problems), remedy, PAGE)
    else:
        used = [row.mail_worked_at] * bool(row.recipients) + [row.webhook_worked_at] * bool(row.webhook)
        status = Label.PENDING if None in used else Label.OK
        yield Check("alerts", True, f"Alerts go {_channels(row)}.", link=PAGE, passed_as=status)


def _problems(row: AlertChannels, install: Install) -> Iterator[str]:
    checked_at = install.heartbeat.noticed_at
    if checked_at is not None and not heartbeat.is_recent(checked_at):
        yield f"The last check for alerts was {ago(checked_at)}; it should run every 10 seconds."
    if row.recipients:
        yield from _mail_problems(row, install)
    if row.webhook and row.webhook_problem:
        yield f"The webhook failed {ago(row.webhook_failed_at)}: {row.webhook_problem}"
    waiting = Alert.select().where(Alert.failures > 0).count()
    if waiting:
        yield f"{counted(waiting, 'alert')} could not be sent yet."


def _mail_problems(row: AlertChannels, install: Install) -> Iterator[str]:
    senders = {account.uuid for account in outbox.senders(row.through)}
    unreadable = {failure.account for failure in install.key.failures if failure.stops_sending}
    if not senders:
        yield "Alert mail cannot be sent: no mailbox has a server for sending."
    elif install.key.state.no_key:
        yield "Alert mail cannot be sent while the encryption key is unavailable."
    elif senders <= unreadable:
        yield "Alert mail cannot be sent: no stored password for sending can be decrypted."
    elif row.mail_problem:
        yield f"Alert mail failed for some recipients {ago(row.mail_failed_at)}: {row.mail_problem}"


def _channels(row: AlertChannels) -> str:
    channels = []
    if row.recipients:
        count = len(row.recipients.splitlines())
        channels.append(f"by mail to {counted(count, 'address')} ({_used(row.mail_worked_at)})")
    if row.webhook:
        channels.append(f"to the webhook ({_used(row.webhook_worked_at)})")
    return " and ".join(channels)


def _used(worked_at: int | None) -> str:
    return "not tested yet" if worked_at is None else f"last sent {ago(worked_at)}"
