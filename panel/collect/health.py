"""How the last real round of an account went, and when the next one is due."""

from __future__ import annotations

from panel import db
from panel.errors import CannotOpen, MailError, PanelError, PasswordNeeded
from panel.models import Account, Collection

MINUTE = 60
# Seconds until the next try after the first, second, … failure in a row.
BACKOFF = tuple(minutes * MINUTE for minutes in (1, 2, 5, 15, 60))
# The same where a server said no: asking it again soon could lock the mailbox.
BACKOFF_REFUSED = tuple(minutes * MINUTE for minutes in (15, 60, 360))


def succeeded(account: Account, started: int, more: bool) -> None:
    """Note a round that began at `started`. `more`: it left messages for the next one, due at once."""
    _update(
        account,
        last_success_at=db.now(),
        problem=None,
        hint=None,
        permanent=False,
        failing_since=None,
        failures=0,
        next_due_at=started if more else started + account.interval,
    )


def failed(account: Account, error: PanelError) -> None:
    """Note what went wrong and when to try again."""
    before = Collection.get_or_none(Collection.account == account)
    if before is None:
        return  # the account was removed meanwhile
    refused = isinstance(error, MailError) and error.permanent
    _update(
        account,
        problem=error.message,
        hint=error.hint,
        permanent=refused or isinstance(error, CannotOpen | PasswordNeeded),
        failing_since=before.failing_since or db.now(),
        failures=before.failures + 1,
        next_due_at=db.now() + _delay(account, error, before.failures),
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
