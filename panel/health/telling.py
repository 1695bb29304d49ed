"""The check of notices: whether whoever is to be told of trouble can be told."""

from __future__ import annotations

from collections.abc import Iterator

from panel import db
from panel.health.check import Check, Install, Link
from panel.models import Notice, NoticeChannels
from panel.sending import outbox
from panel.times import ago

SILENT_SECONDS = 90  # the web server looks for trouble every ten
PAGE = Link("/server/notices", "Open Notices")


def notices(install: Install) -> Iterator[Check]:
    """Whether somebody looks for trouble, and how each way went when it was last used.

    Nobody to be told is a choice, and said.
    """
    row = NoticeChannels.get_or_none(NoticeChannels.id == 1)
    if row is None or not (row.recipients or row.webhook):
        says = "Trouble is shown on pages and in the log alone: no mail address and no webhook is set."
        yield Check("notices", True, says, link=PAGE, instead="Off")
        return
    problems = [*_problems(row, install)]
    if problems:
        fix = "Correct it, then try it on the Notices page or with: flask notices test"
        yield Check("notices", False, " ".join(problems), fix, PAGE)
        return
    used = [row.mail_worked_at] * bool(row.recipients) + [row.webhook_worked_at] * bool(row.webhook)
    says = f"Trouble is told {_how(row)}."
    yield Check("notices", True, says, link=PAGE, instead="Not tried yet" if None in used else "")


def _problems(row: NoticeChannels, install: Install) -> Iterator[str]:
    looked_at = install.vitals.noticed_at
    if looked_at is not None and abs(db.now() - looked_at) > SILENT_SECONDS:
        yield f"Trouble was last looked for {ago(looked_at)}: is script/server running?"
    if row.recipients:
        yield from _mail_problems(row, install)
    if row.webhook and row.webhook_problem:
        yield f"The webhook failed ({ago(row.webhook_failed_at)}): {row.webhook_problem}"
    waiting = Notice.select().where(Notice.failures > 0).count()
    if waiting:
        yield f"{waiting} {'notice waits' if waiting == 1 else 'notices wait'} for a way that works."


def _mail_problems(row: NoticeChannels, install: Install) -> Iterator[str]:
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


def _how(row: NoticeChannels) -> str:
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
