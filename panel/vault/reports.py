"""Reports of sweeps: begun together with the sweep, finished by the scan for leftovers after it.

They are stored for people. A report without an end is pending: any process finishes it
(`scan.finish_report`), so that a kill loses none.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from typing import Any, Literal

from peewee import fn

from panel import db
from panel.models import SweepReport
from panel.models.prepared import Prepared
from panel.program import as_typed
from panel.vault.owners import Failure
from panel.vault.reading import secrets
from panel.wording import counted

Kind = Literal["enable", "rotate", "disable", "cancel", "found", "check"]
DID = {
    "enable": "Encryption was turned on",
    "rotate": "The key was changed",
    "disable": "Encryption was turned off",
    "cancel": "Turning encryption off was cancelled",
    "found": "Passwords in clear text were encrypted",
    "check": "All passwords were checked",
}
MOST_REPORTS = 20  # reports; older ones go

REMEDIES = {
    "database": "This is the database itself. End other programs that read it, then run flask encryption "
    "resume, or “Scan again” on the page. If it is found again, the password was entered in another "
    "field too: change it.",
    "queue": "This is the job queue. Stop Mailkeep, delete the queue files and start it again: "
    "nothing in them is needed.",
    "data": "This file is not part of Mailkeep. Delete it, or protect it as you protect the passwords, or "
    "change them.",
    "also": "Delete this copy when it is no longer needed, or change the passwords at their providers.",
}

TELLS_NOTHING = (
    "shorter than eight characters, a common word, or part of an address, username or server name."
)

logger = logging.getLogger("mailkeep.encryption")


@dataclass(frozen=True)
class Found:
    """A file that holds passwords, and of which accounts."""

    name: str
    kind: str  # a Kind of encryption.leftovers.scan
    accounts: tuple[str, ...]

    @property
    def remedy(self) -> str:
        return as_typed(REMEDIES[self.kind])


@dataclass(frozen=True)
class Scan:
    """What a search saw. Names of files and addresses of accounts, never a value."""

    searched: tuple[str, ...] = ()
    found: tuple[Found, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()  # name, why
    looked_for: int = 0  # passwords
    not_looked_for: int = 0  # those whose find would say nothing (`scan.worth_searching`)
    not_visible: tuple[str, ...] = ()

    @property
    def is_green(self) -> bool:
        """Whether something was looked for, and nothing found."""
        return bool(self.looked_for and self.searched) and not self.found

    @property
    def verdict(self) -> str:
        """What was looked for, where, and what was found: nothing more is promised."""
        if self.found:
            files = counted(len(self.found), "file")
            return f"Leftovers in clear text were found in {files}. {self.left_out}".rstrip()
        if not self.is_green:
            return f"No password was searched for. {self.left_out}".rstrip()
        none = f"No leftovers in clear text found in {counted(len(self.searched), 'file')}."
        return f"{none} {self.left_out}".rstrip()

    @property
    def left_out(self) -> str:
        """How many passwords were not looked for, and why; empty where all were."""
        if not self.not_looked_for:
            return ""
        total = self.looked_for + self.not_looked_for
        return f"Searched for {self.looked_for} of {total} passwords; the others are {TELLS_NOTHING}"

    @property
    def in_database(self) -> bool:
        """Whether removing leftovers from the database once more may help."""
        return any(each.kind == "database" for each in self.found)

    @property
    def on_this_server(self) -> bool:
        """Whether something was found where every search looks, not only where a person had it look too."""
        return any(each.kind != "also" for each in self.found)


@dataclass(frozen=True)
class Findings:
    """A finished report. `scan` is None where passwords are in clear text: nothing to search for."""

    kind: str
    begun_at: int
    finished_at: int
    moved: int
    opened: int
    failed: tuple[tuple[str, str], ...]  # address, reason
    scan: Scan | None
    others: int = 0  # of those opened, how many are no passwords

    @property
    def did(self) -> str:
        """What it is the report of."""
        return DID.get(self.kind, DID["check"])

    @property
    def counts(self) -> str:
        """How many passwords were moved, and how many can be decrypted."""
        if not (self.moved or self.opened or self.failed):
            return "No passwords were stored."
        if self.scan is None:
            return ""
        moved = f"{secrets(self.moved, others=self.others)} encrypted. " if self.moved else ""
        return f"{moved}{self.opened} of {self.opened + len(self.failed)} can be decrypted."

    @property
    def verdict(self) -> str:
        """What was found, in a sentence. It promises nothing about what was not searched."""
        if self.scan is None:
            if not self.opened:
                return "No passwords are stored."
            return (
                f"{counted(self.opened, 'password')} in clear text in the database, and in every new backup."
            )
        return self.scan.verdict


def begin(kind: Kind) -> None:
    """Begin a report. Call it in the transaction that begins the work."""
    SweepReport.insert(kind=kind, begun_at=db.now()).execute()


def count_moved(count: int) -> None:
    """Add to the newest pending report; values found in clear text begin one of their own."""
    if pending() is None:
        begin("found")
    SweepReport.update(moved=SweepReport.moved + count).where(SweepReport.id == pending()).execute()


def cancel() -> None:
    """Turning off was cancelled: what is pending now is the report of encrypting again."""
    drop("disable")
    begin("cancel")


def drop(kind: Kind) -> None:
    """Forget the pending report of what was not done."""
    SweepReport.delete().where(SweepReport.finished_at.is_null() & (SweepReport.kind == kind)).execute()


def pending() -> int | None:
    """The id of the newest report that waits for its search; None where none does."""
    waiting = SweepReport.select(SweepReport.id).where(SweepReport.finished_at.is_null())
    newest = waiting.order_by(SweepReport.id.desc()).first()
    return newest.id if newest else None


def finish(
    report_id: int, opened: int, failures: tuple[Failure, ...], scan: Scan | None, others: int = 0
) -> None:
    """Write what was found into the report `report_id` and into older ones that never came to it.

    `others`: how many of those `opened` are no passwords.
    """
    with db.transaction():
        SweepReport.update(
            finished_at=db.now(), opened=opened, result=_result(failures, scan, others)
        ).where(SweepReport.finished_at.is_null() & (SweepReport.id <= report_id)).execute()  # fmt: skip
        _forget_old()


def keep_check(opened: int, failures: tuple[Failure, ...], scan: Scan, others: int = 0) -> None:
    """Keep what a person's own check found, as the newest report."""
    with db.transaction():
        SweepReport.insert(
            kind="check", begun_at=db.now(), finished_at=db.now(), opened=opened,
            result=_result(failures, scan, others),
        ).execute()  # fmt: skip
        _forget_old()


def last() -> Findings | None:
    """The newest report that is finished; None where there is none that can be read."""
    return newest()[0]


def newest() -> tuple[Findings | None, bool]:
    """The same, and whether a report waits for its search: read in one statement."""
    found = _NEWEST.all()
    finished = [row for row in found if row.finished_at is not None]
    try:
        return (_report(finished[-1]) if finished else None), len(finished) < len(found)
    except (ValueError, TypeError, KeyError):  # UnicodeDecodeError too: it was edited
        logger.warning("the newest report of a sweep is damaged and is not shown")
        return None, len(finished) < len(found)


def _newest() -> Any:
    waiting = SweepReport.finished_at.is_null()
    last_id = SweepReport.select(fn.MAX(SweepReport.id)).where(~waiting)  # no clock decides which it is
    return SweepReport.select().where(waiting | (SweepReport.id == last_id)).order_by(SweepReport.id)


_NEWEST = Prepared(_newest)


def _forget_old() -> None:
    finished = SweepReport.finished_at.is_null(False)
    newest = SweepReport.select(SweepReport.id).where(finished).order_by(SweepReport.id.desc())
    older = finished & SweepReport.id.not_in(newest.limit(MOST_REPORTS))
    SweepReport.delete().where(older).execute()


def _result(failures: tuple[Failure, ...], scan: Scan | None, others: int) -> str:
    failed = [(failure.address, failure.reason) for failure in failures]
    return json.dumps({"failed": failed, "scan": asdict(scan) if scan else None, "others": others})


def _report(row: Any) -> Findings:
    result = json.loads(row.result)
    scan = result["scan"]
    return Findings(
        kind=str(row.kind),
        begun_at=int(row.begun_at),
        finished_at=int(row.finished_at),
        moved=int(row.moved),
        opened=int(row.opened),
        failed=_pairs(result["failed"]),
        scan=_scan(scan) if scan else None,
        others=int(result.get("others", 0)),
    )


def _scan(scan: dict[str, Any]) -> Scan:
    return Scan(
        searched=tuple(map(str, scan["searched"])),
        found=tuple(_found(each) for each in scan["found"]),
        skipped=_pairs(scan["skipped"]),
        looked_for=int(scan["looked_for"]),
        not_looked_for=int(scan["not_looked_for"]),
        not_visible=tuple(map(str, scan["not_visible"])),
    )


def _found(each: dict[str, Any]) -> Found:
    if each["kind"] not in REMEDIES:
        raise ValueError("an unknown kind of location")
    return Found(str(each["name"]), str(each["kind"]), tuple(map(str, each["accounts"])))


def _pairs(pairs: list[Any]) -> tuple[tuple[str, str], ...]:
    return tuple((str(one), str(other)) for one, other in pairs)
