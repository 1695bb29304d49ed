"""What page and shell show of alerts, setting recipients and thresholds, and testing the channels."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from email.errors import MessageError
from email.headerregistry import Address

from panel import audit, db
from panel.accounts import rules, totals
from panel.accounts.overview import Health
from panel.alerts import alert_log, channels, conditions, messages, thresholds, webhook
from panel.alerts.alert_log import Entry
from panel.alerts.channels import Channels
from panel.alerts.conditions import Condition
from panel.alerts.thresholds import Thresholds
from panel.audit import Actor
from panel.config import Settings
from panel.errors import BadInput, Conflict, Refused, Throttled
from panel.health import heartbeat, mail
from panel.listing import Listing, ListQuery
from panel.mail.session import ProbeStep
from panel.models import AlertChannels, Heartbeat
from panel.models.one_row import OneRows
from panel.sending import outbox
from panel.times import ago
from panel.vault.snapshot import Snapshot
from panel.vault.vault import Vault
from panel.wording import counted, few

MOST_RECIPIENTS = 10
TESTED = "alerts tested"
TESTS_PER_HOUR = 60
SEPARATOR = re.compile(r"[\s,;]+")


@dataclass(frozen=True)
class Overview:
    """What page and shell show.

    `standing`: what needs attention, but is not sent. `summary` stands where no alert is open; `is_ok` only
    if that was checked just now and found so.
    """

    channels: Channels
    limits: Thresholds
    open: list[Entry]
    standing: list[Condition]
    history: Listing[Entry]
    summary: str = ""
    is_ok: bool = False

    @property
    def count(self) -> int:
        """How many need attention and are not muted."""
        return len(self.standing) + sum(entry.muted_until is None for entry in self.open)

    @property
    def is_grave(self) -> bool:
        """Whether one of these is more than a warning."""
        return any(entry.severity == "bad" and entry.muted_until is None for entry in self.open)


def read(vault: Vault, query: ListQuery = ListQuery(), rows: OneRows | None = None) -> Overview:  # noqa: B008
    """Channels, thresholds, open alerts, and of the history what `query` asks for."""
    key, rows = vault.latest(), rows or OneRows()
    row = rows.of(AlertChannels)
    limits, found = thresholds.of(row), alert_log.open_alerts()
    standing = conditions.standing(key, limits)
    summary, is_ok = ("", False) if found else _summary(key, rows.of(Heartbeat) or Heartbeat())
    return Overview(channels.of(row), limits, found, standing, alert_log.history(query), summary, is_ok)


def attention(key: Snapshot, rows: OneRows) -> tuple[int, str]:
    """How many alerts are open and not muted, with what is not sent, and the gravest severity of them."""
    standing = len(conditions.standing(key, thresholds.of(rows.of(AlertChannels))))
    return rows.open_alerts + standing, "bad" if rows.grave_alerts else "warn"


def _summary(key: Snapshot, beat: Heartbeat) -> tuple[str, bool]:
    """What is known where no alert is open, and whether it is OK."""
    checked_at = beat.noticed_at
    if not heartbeat.is_recent(checked_at):
        last = "have not been checked yet" if checked_at is None else f"were last checked {ago(checked_at)}"
        return f"Alerts {last}. Check that script/server is running.", False
    totals_ = totals.read(key)
    mailboxes = counted(totals_.total, "mailbox") if totals_.total else "no mailboxes yet"
    bad = totals_.health - Counter({Health.PAUSED: totals_.total, Health.OK: totals_.total})
    if bad:
        states = ", ".join(mail.not_collected(bad))
        named = few(totals.not_ok(key), bad.total())
        return f"Of {mailboxes}, {states}: {named}. An alert is sent once that has lasted.", False
    return f"Checked {ago(checked_at)}: worker, encryption key, passwords, key backup; {mailboxes}.", True


def recipients_of(typed: str) -> tuple[str, ...]:
    """The addresses in what was typed. Raises BadInput (field `recipients`)."""
    found = list(dict.fromkeys(each for each in SEPARATOR.split(typed) if each))
    if len(found) > MOST_RECIPIENTS:
        raise BadInput(
            f"There are {len(found)} addresses; alerts go to {MOST_RECIPIENTS} at most.",
            "Use the address of a mailing list.",
            field="recipients",
        )
    return tuple(_address(each) for each in found)


def store(recipients: tuple[str, ...], through: str, webhook_url: str, actor: Actor) -> None:
    """Store where alerts go. `through`: uuid of the account to try first, or empty.

    What no channel accepted is tried again at once. Raises BadInput with the field, and stores nothing then.
    """
    if webhook_url:
        webhook.target(webhook_url)
    if through and through not in {account.uuid for account in outbox.senders(through)}:
        raise Conflict("That mailbox has no server for sending.", "Choose another one.", field="through")
    values = {"recipients": "\n".join(recipients), "through": through, "webhook": webhook_url}
    with db.transaction():
        before = channels.read()
        AlertChannels.insert(id=1).on_conflict_ignore().execute()
        AlertChannels.update(**values, **_unused(before, values)).where(AlertChannels.id == 1).execute()
        alert_log.retry_now()
        actor.record("alert recipients changed", detail=_description(channels.read()))


def set_thresholds(limits: Thresholds, actor: Actor) -> None:
    """Store from when on a problem is an alert. Raises BadInput with the field, and stores nothing then."""
    limits.check()
    with db.transaction():
        AlertChannels.insert(id=1).on_conflict_ignore().execute()
        AlertChannels.update(**asdict(limits)).where(AlertChannels.id == 1).execute()
        text = ", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in asdict(limits).items())
        actor.record("alert thresholds changed", detail=f"{text.capitalize()}.")


def test_mail(settings: Settings, vault: Vault, actor: Actor) -> Iterator[ProbeStep]:
    """Send a test mail as an alert would be sent: a step for each account that is tried.

    Raises Refused where there are no recipients, Throttled after too many tests.
    """
    to = channels.read()
    if not to.recipients:
        raise Refused("No mail address is set.", "Enter one first.")
    _record_test("By mail.", actor)
    return channels.send_mail(None, to, settings, vault)


def test_webhook(settings: Settings, actor: Actor) -> Iterator[ProbeStep]:
    """Send a test event to the webhook. Raises Refused where there is none, Throttled."""
    to = channels.read()
    if not to.webhook:
        raise Refused("No webhook is set.", "Enter its address first.")
    _record_test("By webhook.", actor)
    return (channels.call_webhook(event, to, settings) for event in [messages.test_event(settings)])


def _address(typed: str) -> str:
    try:
        address = rules.address_of(typed)
        Address(addr_spec=address)
    except (BadInput, ValueError, IndexError, MessageError):
        raise BadInput(
            f"“{typed[:80]}” is not an email address.", "Type it as name@example.org.", field="recipients"
        ) from None
    return address


def _unused(before: Channels, values: dict[str, str]) -> dict[str, None]:
    """A channel that was changed has neither worked nor failed yet."""
    changed: dict[str, None] = {}
    if values["recipients"] != "\n".join(before.recipients) or values["through"] != before.through:
        changed |= {"mail_problem": None, "mail_worked_at": None}
    if values["webhook"] != before.webhook:
        changed |= {"webhook_problem": None, "webhook_worked_at": None}
    return changed


def _description(now: Channels) -> str:
    """For Activity: the webhook without its path."""
    to = f"Mail to {', '.join(now.recipients)}." if now.recipients else "No mail."
    return f"{to} Webhook: {now.webhook_origin or 'none'}."


def _record_test(how: str, actor: Actor) -> None:
    recent = audit.recent(TESTED)
    if recent >= TESTS_PER_HOUR:
        raise Throttled(
            f"Alerts were tested {recent} times within an hour.", "Wait a few minutes, then try again."
        )
    actor.record(TESTED, detail=how)
