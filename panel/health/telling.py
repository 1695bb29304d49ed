"""The check of notices: whether whoever is to be told of trouble can be told."""

from __future__ import annotations

from collections.abc import Iterator

from panel.health.check import Check, Install, Link
from panel.models import Notice, NoticeChannels
from panel.times import ago

PAGE = Link("/server/notices", "Open Notices")


def notices(install: Install) -> Iterator[Check]:
    """How each way went when it was last used; nobody to be told is a choice, and said."""
    row = NoticeChannels.get_or_none(NoticeChannels.id == 1)
    if row is None or not (row.recipients or row.webhook):
        says = "Trouble is shown on pages and in the log alone: no mail address and no webhook is set."
        yield Check("notices", True, says, link=PAGE)
        return
    problems = [*_problems(row)]
    if problems:
        mend = "Mend it, then try it on the Notices page or with: flask notices test"
        yield Check("notices", False, " ".join(problems), mend, PAGE)
    else:
        yield Check("notices", True, f"Trouble is told {_how(row)}.", link=PAGE)


def _problems(row: NoticeChannels) -> Iterator[str]:
    if row.recipients and row.mail_problem:
        yield f"The last mail did not go out ({ago(row.mail_failed_at)}): {row.mail_problem}"
    if row.webhook and row.webhook_problem:
        yield f"The webhook failed ({ago(row.webhook_failed_at)}): {row.webhook_problem}"
    waiting = Notice.select().where(Notice.failures > 0).count()
    if waiting:
        yield f"{waiting} {'notice waits' if waiting == 1 else 'notices wait'} for a way that works."


def _how(row: NoticeChannels) -> str:
    count = len(row.recipients.splitlines())
    ways = [f"by mail to {count} {'address' if count == 1 else 'addresses'}"] if count else []
    if row.webhook:
        ways.append("by webhook")
    return " and ".join(ways)
