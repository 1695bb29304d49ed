"""How the last real round of an account went, and when the next one is due."""

from __future__ import annotations

from panel import db
from panel.errors import CannotOpen, MailError, PanelError, PasswordNeeded
from panel.mail import throttling
from panel.models import Account, Collection

MINUTE = 60
# Seconds until the next try after the first, second, … failure in a row.
BACKOFF = tuple(minutes * MINUTE for minutes in (1, 2, 5, 15, 60))
# The same where a server said no: asking it again soon could lock the mailbox.
BACKOFF_REFUSED = tuple(minutes * MINUTE for minutes in (15, 60, 360))
LONGEST = throttling.LONGEST  # no wait is longer; nor is an interval


def success(account: Account, started: int, *, more: bool, pause: int) -> dict[str, object]:
    """What is to be noted of a round that began at `started` and ended well.

    `more`: it left messages for the next one, which is due at once, but behind those that wait.
    `pause`: seconds that its server wants between two sessions.
    """
    now = db.now()
    next_due_at = now + pause if more else started + max(account.interval, pause)
    return {
        "last_success_at": now,
        "problem": None,
        "remedy": None,
        "permanent": False,
        "failing_since": None,
        "failures": 0,
        "next_due_at": next_due_at,
        "waits": max(next_due_at - now, 0),
    }


def failed(account: Account, error: PanelError) -> None:
    """Note what went wrong and when to try again."""
    before = Collection.get_or_none(Collection.account == account)
    if before is None:
        return  # the account was removed meanwhile
    refused = isinstance(error, MailError) and error.permanent
    now, delay = db.now(), _delay(account, error, before.failures)
    _update(
        account,
        problem=error.message,
        remedy=error.remedy,
        permanent=refused or isinstance(error, CannotOpen | PasswordNeeded),
        failing_since=before.failing_since or now,
        failures=before.failures + 1,
        next_due_at=now + delay,
        waits=delay,
    )


def _delay(account: Account, error: PanelError, failures: int) -> int:
    """Seconds until the next try, after so many failures before this one: never less than the server asks."""
    refused = isinstance(error, MailError) and error.permanent
    delays = BACKOFF_REFUSED if refused else BACKOFF
    delay = delays[min(failures, len(delays) - 1)]
    if not isinstance(error, MailError):
        return delay
    if error.step == "after":
        delay = account.interval  # mail does come in
    return max(delay, error.retry_after or 0)


def _update(account: Account, **values: object) -> None:
    Collection.update(**values).where(Collection.account == account).execute()
