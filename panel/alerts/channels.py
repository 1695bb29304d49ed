"""Whom to tell, how each way went last, and telling."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage

from panel import db
from panel.alerts import webhook, words
from panel.alerts.alert_log import Due
from panel.config import Settings
from panel.errors import PanelError
from panel.mail.session import ProbeStep
from panel.models import AlertChannels
from panel.sending import outbox
from panel.vault.vault import Vault

CALL_SECONDS = 60.0  # for all calls of the webhook at one time

log = logging.getLogger("mailkeep.notices")


@dataclass(frozen=True)
class Way:
    """How one way went: when it last worked, and what was wrong with the last try, if anything."""

    worked_at: int | None = None
    failed_at: int | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Channels:
    """Whom to tell. `through`: uuid of the account whose server is tried first; empty: by address."""

    recipients: tuple[str, ...] = ()
    through: str = ""
    webhook: str = ""
    mail: Way = Way()
    call: Way = Way()

    @property
    def any(self) -> bool:
        """Whether somebody is told at all, besides pages and log."""
        return bool(self.recipients or self.webhook)

    @property
    def webhook_origin(self) -> str:
        """The webhook without its path, which may hold a secret; empty where there is none."""
        try:
            return webhook.target(self.webhook).origin if self.webhook else ""
        except PanelError:
            return "an address that is not called"


def read() -> Channels:
    """Whom to tell, as stored."""
    row = AlertChannels.get_or_none(AlertChannels.id == 1)
    if row is None:
        return Channels()
    return Channels(
        tuple(row.recipients.splitlines()),
        row.through,
        row.webhook,
        Way(row.mail_worked_at, row.mail_failed_at, row.mail_problem),
        Way(row.webhook_worked_at, row.webhook_failed_at, row.webhook_problem),
    )


def tell(due: Due, channels: Channels, settings: Settings, vault: Vault) -> set[int]:
    """Bring out what is due by every way there is; the rows that at least one took."""
    told: set[int] = set()
    if channels.recipients:
        steps = list(send(due, channels, settings, vault))
        if steps[-1].ok:
            told |= due.ids
    if channels.webhook:
        told |= _call_each(due, channels, settings)
    for entry in (*due.troubles, *due.over):
        way = "Told" if entry.id in told else "Nobody could be told"
        log.info("%s (%s): %s", way, "over" if entry.over_at else "trouble", entry.message)
    return told


def send(due: Due | None, channels: Channels, settings: Settings, vault: Vault) -> Iterator[ProbeStep]:
    """One mail with all that is due, or with None a test: a step for each account that was tried."""
    to = channels.recipients

    def compose(sender: str) -> EmailMessage:
        return words.mail(due, to, settings, sender) if due else words.test_mail(to, settings, sender)

    for step in outbox.send(compose, to, channels.through, settings, vault):
        reached_all = step.ok and not step.remedy
        _note("mail", None if reached_all else f"{step.message} {step.remedy}".strip())
        yield step


def call(told: words.Json, channels: Channels, settings: Settings) -> ProbeStep:
    """One call of the webhook."""
    begun = time.monotonic()
    try:
        message, remedy, ok = webhook.call(channels.webhook, told, settings), "", True
    except PanelError as error:
        message, remedy, ok = error.message, error.remedy, False
    _note("webhook", None if ok else f"{message} {remedy}".strip())
    return ProbeStep("Webhook", ok, time.monotonic() - begun, message, remedy)


def _call_each(due: Due, channels: Channels, settings: Settings) -> set[int]:
    """A call for each trouble, up to the first that fails: the others come with the next try."""
    told: set[int] = set()
    ends_at = time.monotonic() + CALL_SECONDS
    for entry in (*due.troubles, *due.over):
        if time.monotonic() > ends_at or not call(words.called(entry, settings), channels, settings).ok:
            break
        told.add(entry.id)
    return told


def _note(way: str, problem: str | None) -> None:
    """Keep how a try went, for the page and the check."""
    if problem:
        log.warning("%s", problem)
        values: dict[str, object] = {f"{way}_failed_at": db.now(), f"{way}_problem": problem}
    else:
        values = {f"{way}_worked_at": db.now(), f"{way}_problem": None}
    AlertChannels.update(**values).where(AlertChannels.id == 1).execute()
