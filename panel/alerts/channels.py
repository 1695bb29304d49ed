"""The channels that alerts are sent through: what is set, how each last worked, and sending."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage

from panel import db
from panel.alerts import messages, webhook
from panel.alerts.alert_log import Due
from panel.config import Settings
from panel.errors import PanelError
from panel.mail.session import ProbeStep
from panel.models import AlertChannels
from panel.sending import outbox
from panel.vault.vault import Vault

WEBHOOK_SECONDS = 60.0  # for all calls of the webhook at one time

log = logging.getLogger("mailkeep.alerts")


@dataclass(frozen=True)
class LastUse:
    """When a channel last worked and last failed, and the problem of the last attempt, if it failed."""

    worked_at: int | None = None
    failed_at: int | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Channels:
    """Where alerts go. `through`: uuid of the account whose server is tried first; empty: by address."""

    recipients: tuple[str, ...] = ()
    through: str = ""
    webhook: str = ""
    mail_use: LastUse = LastUse()
    webhook_use: LastUse = LastUse()

    @property
    def any(self) -> bool:
        """Whether alerts go anywhere besides pages and log."""
        return bool(self.recipients or self.webhook)

    @property
    def webhook_origin(self) -> str:
        """The webhook without its path, which may hold a secret; empty where there is none."""
        try:
            return webhook.target(self.webhook).origin if self.webhook else ""
        except PanelError:
            return "an address that is not allowed"


def read() -> Channels:
    return of(AlertChannels.get_or_none(AlertChannels.id == 1))


def of(row: AlertChannels | None) -> Channels:
    if row is None:
        return Channels()
    return Channels(
        tuple(row.recipients.splitlines()),
        row.through,
        row.webhook,
        LastUse(row.mail_worked_at, row.mail_failed_at, row.mail_problem),
        LastUse(row.webhook_worked_at, row.webhook_failed_at, row.webhook_problem),
    )


def send(due: Due, channels: Channels, settings: Settings, vault: Vault) -> dict[int, str]:
    """Send what is due through every channel; the ids of what at least one accepted, and who received it."""
    sent: dict[int, str] = {}
    if channels.recipients:
        steps = list(send_mail(due, channels, settings, vault))
        if steps[-1].ok:
            sent = dict.fromkeys((entry.id for entry in due.all), ", ".join(channels.recipients))
    if channels.webhook:
        for called in _call_for_each(due, channels, settings):
            sent[called] = f"{sent[called]} and the webhook" if called in sent else "the webhook"
    for entry in due.all:
        state = "resolved" if entry.resolved_at else "open"
        log.info("Alert %s (%s): %s", "sent" if entry.id in sent else "not sent", state, entry.message)
    return sent


def send_mail(due: Due | None, channels: Channels, settings: Settings, vault: Vault) -> Iterator[ProbeStep]:
    """One mail with all that is due, or with None a test: a step for each account that was tried."""
    to = channels.recipients

    def compose(sender: str) -> EmailMessage:
        if due is None:
            return messages.test_mail(to, settings, sender)
        return messages.mail(due, to, settings, sender)

    for step in outbox.send(compose, to, channels.through, settings, vault):
        reached_all = step.ok and not step.remedy
        _record_use("mail", "" if reached_all else f"{step.message} {step.remedy}".strip())
        yield step


def call_webhook(event: messages.Json, channels: Channels, settings: Settings) -> ProbeStep:
    begun = time.monotonic()
    try:
        message, remedy, ok = webhook.call(channels.webhook, event, settings), "", True
    except PanelError as error:
        message, remedy, ok = error.message, error.remedy, False
    _record_use("webhook", "" if ok else f"{message} {remedy}".strip())
    return ProbeStep("Webhook", ok, time.monotonic() - begun, message, remedy)


def _call_for_each(due: Due, channels: Channels, settings: Settings) -> set[int]:
    """A call for each alert, up to the first that fails: the others follow with the next attempt."""
    sent: set[int] = set()
    ends_at = time.monotonic() + WEBHOOK_SECONDS
    for entry in due.all:
        event = messages.event(entry, settings)
        if time.monotonic() > ends_at or not call_webhook(event, channels, settings).ok:
            break
        sent.add(entry.id)
    return sent


def _record_use(channel: str, problem: str) -> None:
    """Record how an attempt went, for the page and the check."""
    if problem:
        log.warning("%s", problem)
    values = {
        f"{channel}_{'failed' if problem else 'worked'}_at": db.now(),
        f"{channel}_problem": problem or None,
    }
    AlertChannels.update(**values).where(AlertChannels.id == 1).execute()
