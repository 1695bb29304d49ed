"""The check of notices: whether whoever is to be told of trouble can be told."""

from __future__ import annotations

from collections.abc import Iterator

from panel import db
from panel.health.check import Check, Install, Link
from panel.models import Alert, AlertChannels
from panel.sending import outbox
from panel.times import ago

SILENT_SECONDS = 90  # the web server looks for trouble every ten
PAGE = Link("/server/alerts", "Open Notices")


def alerts(install: Install) -> Iterator[Check]:
    """Whether somebody looks for trouble, and how each way went when it was last used.

    Nobody to be told is a choice, and said.
    """
    row = install.rows.of(AlertChannels)
    if row is None or not (row.recipients or row.webhook):
        message = "Trouble is shown on pages and in the log alone: no mail address and no webhook is set."
        yield Check("alerts", True, message, link=PAGE, instead="Off")
        return
    problems = [*_problems(row, install)]
    if problems:
        fix = "Correct it, then try it on the Notices page or with: flask alerts test"
        yield Check("alerts", False, " ".join(problems), fix, PAGE)
        return
    used = [row.mail_worked_at] * bool(row.recipients) + [row.webhook_worked_at] * bool(row.webhook)
    message = f"Trouble is told {_how(row)}."
    yield Check("alerts", True, message, link=PAGE, instead="Not tried yet" if None in used else "")


def _problems(row: AlertChannels, install: Install) -> Iterator[str]:
    looked_at = install.heartbeat.noticed_at
    if looked_at is not None and abs(db.now() - looked_at) > SILENT_SECONDS:
        yield f"Trouble was last looked for {ago(looked_at)}: is script/server running?"
    if row.recipients:
        yield from _mail_problems(row, install)
    if row.webhook and row.webhook_problem:
        yield f"The webhook failed ({ago(row.webhook_failed_at)}): {row.webhook_problem}"
    waiting = Alert.select().where(Alert.failures > 0).count()
    if waiting:
        yield f"{waiting} {'alert waits' if waiting == 1 else 'alerts wait'} for a way that works."


def _mail_problems(row: AlertChannels, install: Install) -> Iterator[str]:
    senders = {account.uuid for account in outbox.senders()}
    unreadable = {failure.account for failure in install.key.failures if failure.direction == "out"}
    if not senders:
        yield "No mail can go out: no mailbox has a server for sending."
    elif install.key.state.no_key:
        yield "No mail can go out while the encryption key is not in order."
    elif senders <= unreadable:
        yield "No mail can go out: no stored password for sending opens."
    elif row.mail_problem:
        yield f"The last mail did not reach everybody ({ago(row.mail_failed_at)}): {row.mail_problem}"


def _how(row: AlertChannels) -> str:
    count = len(row.recipients.splitlines())
    ways = []
    if count:
        ways.append(
            f"by mail to {count} {'address' if count == 1 else 'addresses'} ({_used(row.mail_worked_at)})"
        )
    if row.webhook:
        ways.append(f"by webhook ({_used(row.webhook_worked_at)})")
    return " and ".join(ways)


def _used(worked_at: int | None) -> str:
    return "not tried yet" if worked_at is None else f"last {ago(worked_at)}"
