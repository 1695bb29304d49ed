"""Saying whom to tell, and trying out whether that works. Page and shell call the same functions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from email.errors import MessageError
from email.headerregistry import Address

from panel import audit, db
from panel.accounts import rules, totals
from panel.accounts.overview import Health
from panel.alerts import alert_log, channels, webhook, words
from panel.alerts.alert_log import Entry
from panel.alerts.channels import Channels
from panel.audit import Actor
from panel.config import Settings
from panel.errors import BadInput, Refused, Throttled
from panel.health import heartbeat, mail
from panel.mail.session import ProbeStep
from panel.models import AlertChannels
from panel.sending import outbox
from panel.times import ago
from panel.vault.snapshot import Snapshot
from panel.vault.vault import Vault

MOST_RECIPIENTS = 10
SHOWN = 20  # of what is over
TESTED = "notices tested"
TESTS_PER_HOUR = 60
BETWEEN = re.compile(r"[\s,;]+")


@dataclass(frozen=True)
class Picture:
    """All there is to show: whom to tell, what is wrong now, what was lately.

    `quiet`: what stands where nothing is told of; `is_green` only if that was looked at and is so.
    """

    channels: Channels
    now: list[Entry]
    over: list[Entry]
    quiet: str
    is_green: bool


def picture(vault: Vault) -> Picture:
    """What page and shell show."""
    quiet, is_green = _quiet(vault.latest())
    return Picture(channels.read(), alert_log.now_wrong(), alert_log.lately_over(SHOWN), quiet, is_green)


def _quiet(key: Snapshot) -> tuple[str, bool]:
    """What can be said where no notice is open, and whether it is good."""
    looked_at = heartbeat.read().noticed_at
    if looked_at is None or abs(db.now() - looked_at) > mail.SILENT_SECONDS:
        last = "was not looked for yet" if looked_at is None else f"was last looked for {ago(looked_at)}"
        return f"Trouble {last}. Is script/server running?", False
    mailboxes = totals.read(key)
    found = mailboxes.health - Counter({Health.PAUSED: mailboxes.total, Health.OK: mailboxes.total})
    if found:
        addresses, count = totals.not_ok(key), found.total()
        more = f" and {count - len(addresses)} more" if count > len(addresses) else ""
        how = ", ".join(mail.not_collected(found))
        return (
            f"But of {mailboxes.total} mailboxes {how}: {', '.join(addresses)}{more}."
            " A notice is sent after an hour of failures.",
            False,
        )
    count = mailboxes.total
    boxes = {0: "there is no mailbox yet", 1: "1 mailbox"}.get(count, f"{count} mailboxes")
    return f"Checked {ago(looked_at)}: worker, encryption key, stored passwords, key backup; {boxes}.", True


def recipients_of(typed: str) -> tuple[str, ...]:
    """The addresses in what was typed. Raises BadInput (field `recipients`)."""
    found = list(dict.fromkeys(each for each in BETWEEN.split(typed) if each))
    if len(found) > MOST_RECIPIENTS:
        raise BadInput(
            f"There are {len(found)} addresses; {MOST_RECIPIENTS} at most are told.",
            "Use the address of a mailing list.",
            field="recipients",
        )
    return tuple(_address(each) for each in found)


def store(recipients: tuple[str, ...], through: str, webhook_url: str, actor: Actor) -> None:
    """Store whom to tell. `through`: uuid of the account to try first, or empty.

    What no channel took is tried again at once. Raises BadInput, naming the field; nothing is stored then.
    """
    if webhook_url:
        webhook.target(webhook_url)
    if through and through not in {account.uuid for account in outbox.senders()}:
        raise BadInput("That account does not send mail.", "Choose another one.", field="through")
    values = {"recipients": "\n".join(recipients), "through": through, "webhook": webhook_url}
    with db.transaction():
        before = channels.read()
        AlertChannels.insert(id=1).on_conflict_ignore().execute()
        AlertChannels.update(**values, **_forgotten(before, values)).where(AlertChannels.id == 1).execute()
        alert_log.try_again()
        audit.record("notices changed", "", _told(channels.read()), who=actor.who, address=actor.address)


def test_mail(settings: Settings, vault: Vault, actor: Actor) -> Iterator[ProbeStep]:
    """Send a test mail as a notice would go: a step for each account that is tried.

    Raises Refused where nobody is to be told by mail, Throttled after too many tests.
    """
    to = channels.read()
    if not to.recipients:
        raise Refused("No address is set that a mail could go to.", "Set one first.")
    _record_test("By mail.", actor)
    return channels.send(None, to, settings, vault)


def test_webhook(settings: Settings, actor: Actor) -> Iterator[ProbeStep]:
    """Call the webhook by way of trial. Raises Refused where there is none, Throttled."""
    to = channels.read()
    if not to.webhook:
        raise Refused("No webhook is set.", "Set its address first.")
    _record_test("By webhook.", actor)
    return (channels.call(told, to, settings) for told in [words.test_call(settings)])


def _address(typed: str) -> str:
    try:
        address = rules.address_of(typed)
        Address(addr_spec=address)
    except (BadInput, ValueError, IndexError, MessageError):
        raise BadInput(
            f"“{typed[:80]}” is not an e-mail address.", "Type it as name@example.org.", field="recipients"
        ) from None
    return address


def _forgotten(before: Channels, values: dict[str, str]) -> dict[str, None]:
    """What was changed has neither worked nor failed yet."""
    changed: dict[str, None] = {}
    if values["recipients"] != "\n".join(before.recipients) or values["through"] != before.through:
        changed |= {"mail_problem": None, "mail_worked_at": None}
    if values["webhook"] != before.webhook:
        changed |= {"webhook_problem": None, "webhook_worked_at": None}
    return changed


def _told(now: Channels) -> str:
    """For Activity: the webhook without its path."""
    mail = f"Mail to {', '.join(now.recipients)}." if now.recipients else "No mail."
    return f"{mail} Webhook: {now.webhook_origin or 'none'}."


def _record_test(how: str, actor: Actor) -> None:
    recent = audit.recent(TESTED)
    if recent >= TESTS_PER_HOUR:
        raise Throttled(f"There were {recent} tests within an hour.", "Wait some minutes, then try again.")
    audit.record(TESTED, "", how, who=actor.who, address=actor.address)
