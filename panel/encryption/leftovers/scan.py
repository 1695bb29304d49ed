"""Opening every password once and looking for each in the files of this server.

Files are only listed here and read by a process of its own: closing a file that
this process has open as a database would drop its locks, and a commit could be
lost. Passwords reach that process through a pipe.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from panel import db
from panel.config import Settings
from panel.encryption.leftovers import locations, patterns
from panel.encryption.leftovers.locations import Place
from panel.errors import PanelError, Refused
from panel.models import Account, Endpoint, Person
from panel.secret import Secret
from panel.vault import activate, reports, verification
from panel.vault.reports import Found, Scan
from panel.vault.state import State
from panel.vault.sweep import Progress
from panel.vault.unfinished import ENCRYPTED
from panel.vault.vault import Vault
from panel.vault.verification import Verdict

SEARCH = Path(__file__).with_name("search.py")


@dataclass(frozen=True)
class _Opened:
    account: str
    secret: Secret


def look(
    vault: Vault, settings: Settings, also: Sequence[Path] = (), progress: Progress | None = None
) -> tuple[Verdict, Scan]:
    """Open every stored password, then look for each in every file that can be seen, and below `also`.

    Raises KeyAbsent where the key is missing, unreadable or wrong.
    """
    addresses = {account.uuid: str(account.address) for account in Account.select()}
    opened: list[_Opened] = []

    def each() -> Iterator[verification.Tried]:
        for tried in verification.each_opened(vault, progress):
            if isinstance(tried.found, Secret):
                opened.append(_Opened(addresses.get(tried.row.account_id, tried.row.account_id), tried.found))
            yield tried

    return verification.verdict(each()), _search(opened, settings, also)


def check(
    vault: Vault, settings: Settings, also: Sequence[Path] = (), progress: Progress | None = None
) -> tuple[Verdict, Scan]:
    """`look` for a person who asked, and keep what was found as the newest report.

    While passwords are in clear they are found, of course: that is told and not kept.
    """
    verdict, scan = look(vault, settings, also, progress)
    verification.note_verified(vault)
    if vault.latest().state in ENCRYPTED:
        reports.keep_check(verdict.opened, verdict.failures, scan)
    return verdict, scan


def _search(opened: list[_Opened], settings: Settings, also: Sequence[Path]) -> Scan:
    listed, left_out = locations.of(settings, also)
    names = _names()
    wanted = [each for each in opened if patterns.says_something(each.secret, names)]
    answer = _ask([str(place.path) for place in listed], [patterns.of(each.secret) for each in wanted])
    skipped = [(each.name, each.reason) for each in left_out]
    return Scan(
        searched=tuple(listed[number].name for number in answer["searched"]),
        found=tuple(_found(listed[number], wanted, hits) for number, hits in answer["found"]),
        skipped=(*skipped, *((listed[number].name, why) for number, why in answer["skipped"])),
        looked_for=len(wanted),
        not_looked_for=len(opened) - len(wanted),
        not_visible=tuple(locations.not_visible(settings)),
    )


def _names() -> set[str]:
    """What the database holds in clear of mailboxes and people, in small letters."""
    rows = Endpoint.select(Account.address, Endpoint.username, Endpoint.host).join(Account)
    people = Person.select(Person.email).tuples()
    return {str(name).lower() for row in (*rows.tuples(), *people) for name in row}


def _found(place: Place, wanted: list[_Opened], hits: list[int]) -> Found:
    return Found(place.name, place.kind, _addresses([wanted[hit] for hit in hits]))


def _addresses(opened: list[_Opened]) -> tuple[str, ...]:
    return tuple(sorted({each.account for each in opened}))


def _ask(files: list[str], wanted: list[set[bytes]]) -> dict[str, Any]:
    """Have the separate process search. It gets no environment, so no other secret either."""
    forms = [[base64.b64encode(form).decode() for form in forms] for forms in wanted]
    done = subprocess.run(
        [sys.executable, "-I", str(SEARCH)],
        input=json.dumps({"files": files, "needles": forms}).encode(),
        stdout=subprocess.PIPE,
        env={},
        check=False,
    )
    if done.returncode != 0:
        raise PanelError(
            "The process that looks for old copies ended early; nothing is known about them.",
            "Look at the log, then try again: flask encryption verify --scan",
        )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


# -- reports -------------------------------------------------------------------------


def write_owed(vault: Vault, settings: Settings) -> bool:
    """Look for old copies and finish the report of a sweep, if one is owed and the sweep has ended.

    True where a report was written. What changed meanwhile leaves it owed for the next
    call. Raises KeyAbsent as `look` does.
    """
    pending = reports.pending()
    if pending is None:
        return False
    ends = (State.OFF,) if vault.latest().state is State.OFF else ENCRYPTED
    if vault.latest().state not in ends:
        return False
    verdict, scan = (verification.run(vault), None) if State.OFF in ends else look(vault, settings)
    if reports.pending() != pending or vault.latest().state not in ends:
        return False
    reports.finish(pending, verdict.opened, verdict.failures, scan)
    return True


def again(vault: Vault) -> None:
    """Owe another look; where old copies stood in the database's files, remove them once more before.

    Raises Refused where passwords are not all encrypted: they would be found, of course.
    """
    if vault.latest().state not in ENCRYPTED:
        raise Refused(
            "Old copies are looked for once every password is encrypted.", "Try again when that is done."
        )
    last = reports.last()
    with db.transaction():
        if last is not None and last.scan is not None and last.scan.in_database:
            activate.require_scrub()
        reports.begin("check")


def again_where_found(vault: Vault) -> None:
    """Owe another look, as `again` does, where the last one found something: it may be mended by now."""
    last = reports.last()
    if last is None or last.scan is None or not last.scan.on_this_server:
        return
    with suppress(Refused):  # in another state there is other work to finish, which owes a look itself
        again(vault)
