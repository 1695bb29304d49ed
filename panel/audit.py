"""Recording who did what: into the table, and into the log."""

from __future__ import annotations

import getpass
import logging
from dataclasses import dataclass

from panel.db import now
from panel.models.events import Activity

ALARMING = ("collecting paused", "password found in clear")

logger = logging.getLogger("mailkeep.activity")


@dataclass(frozen=True)
class Actor:
    """Who asks for a step, and from where."""

    who: str | None = None  # None: the Unix user in the shell
    address: str = ""

    @property
    def name(self) -> str:
        """Who it is, as it is kept."""
        return self.who or _in_shell()

    def record(self, what: str, subject: str = "", detail: str = "") -> None:
        """Record an event of this actor, as `record` does."""
        record(what, subject, detail, who=self.who, address=self.address)


def _in_shell() -> str:
    return f"shell ({getpass.getuser()})"


def recent(what: str, seconds: int = 3600) -> int:
    """How many events `what` there were in the last `seconds`.

    One that lies ahead of now counts as one of now, until an event that was written after it is that
    old: the order in which events were written does not hang on the clock.
    """
    since = now() - seconds
    newest = Activity.at.desc(), Activity.id.desc()
    before = Activity.select(Activity.id).where(Activity.at <= since).order_by(*newest).limit(1).scalar()
    return (
        Activity.select()
        .where((Activity.what == what) & (Activity.at > since) & (Activity.id > (before or 0)))
        .count()
    )


def record(
    what: str, subject: str = "", detail: str = "", *, who: str | None = None, address: str = ""
) -> None:
    """Keep one event. `what` is a verb in the past ('account added'); never pass a secret value.

    With no `who`, it was somebody in the shell, or the worker.
    """
    who = who or _in_shell()
    Activity.create(at=now(), who=who, what=what, subject=subject[:320], address=address[:64], detail=detail)
    told = (f"{what}:", subject, detail, f"by {who}", address and f"from {address}")
    level = logging.WARNING if what in ALARMING else logging.INFO
    logger.log(level, "%s", " ".join(part for part in told if part))
