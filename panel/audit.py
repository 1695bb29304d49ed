"""Recording who did what: in the table of Activity, and in the log."""

from __future__ import annotations

import getpass
import logging
from dataclasses import dataclass

from panel.db import now
from panel.models.events import Activity

ALARMING = ("collecting paused", "unattested password found")  # logged as warnings

logger = logging.getLogger("mailkeep.activity")


@dataclass(frozen=True)
class Actor:
    """Who acts, and from where."""

    who: str | None = None  # None: the Unix user in the shell
    address: str = ""

    @property
    def name(self) -> str:
        """The name that is recorded."""
        return self.who or _in_shell()

    def record(self, what: str, subject: str = "", detail: str = "") -> None:
        """Record an event of this actor, as `record` does."""
        record(what, subject, detail, who=self.who, address=self.address)

    def record_each(self, what: str, subjects: list[str], detail: str = "") -> None:
        """Record the same event for each of many subjects: in Activity, not in the log."""
        if not subjects:
            return
        same = {"at": now(), "who": self.name, "what": what, "address": self.address[:64], "detail": detail}
        Activity.insert_many([{**same, "subject": subject[:320]} for subject in subjects]).execute()


def _in_shell() -> str:
    return f"shell ({getpass.getuser()})"


def recent(what: str) -> int:
    """How many events `what` there were in the last hour.

    One that lies ahead of now counts as one of now, until an event recorded after it is that old: the
    order of the events does not depend on the clock.
    """
    since = now() - 3600
    newest = Activity.at.desc(), Activity.id.desc()
    before = Activity.select(Activity.id).where(Activity.at <= since).order_by(*newest).limit(1).scalar()
    later = (Activity.at > since) & (Activity.id > (before or 0))
    return Activity.select().where((Activity.what == what) & later).count()


def record(
    what: str, subject: str = "", detail: str = "", *, who: str | None = None, address: str = ""
) -> None:
    """Record one event. `what` is a verb in the past ('mailbox added'); never pass a secret.

    Without `who`, it is the Unix user in the shell.
    """
    who = who or _in_shell()
    Activity.create(at=now(), who=who, what=what, subject=subject[:320], address=address[:64], detail=detail)
    parts = (f"{what}:", subject, detail, f"by {who}", address and f"from {address}")
    level = logging.WARNING if what in ALARMING else logging.INFO
    logger.log(level, "%s", " ".join(part for part in parts if part))
