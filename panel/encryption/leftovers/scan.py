"""Decrypting every password once and searching the files of this server for it.

Files are only listed here and read by a process of its own: closing a file that this process has open as a
database would drop its locks, and a commit could be lost. Passwords reach that process through a pipe.
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

from panel import db
from panel.config import ROOT, Settings
from panel.encryption.leftovers.search import SHORTEST, Searcher
from panel.errors import PanelError, Refused
from panel.models import Account, Consent, Endpoint, OauthApp, Person
from panel.models.endpoint import PASSWORD
from panel.models.oauth import CLIENT_SECRET, REFRESH_TOKEN
from panel.models.submission import SUBMISSION
from panel.people.password_rules import is_common
from panel.secret import Secret
from panel.vault import activate, owners, reports, verification
from panel.vault.reports import Found, Scan
from panel.vault.rows import Row
from panel.vault.state import State
from panel.vault.sweep import Progress
from panel.vault.unfinished import ENCRYPTED
from panel.vault.vault import Vault
from panel.vault.verification import Verdict

SEARCH = Path(__file__).with_name("search.py")
WORDS = re.compile(rf"\w{{{SHORTEST},}}")
SEARCHED = (PASSWORD, CLIENT_SECRET, REFRESH_TOKEN, SUBMISSION)  # kinds of secret
SQLITE = "sqlite:///"
SQLITE_FILES = ("", "-wal", "-shm", "-journal")
NOT_VISIBLE = (
    "old backups and snapshots",
    "replicas",
    "swap and hibernation files",
    "blocks that the file system or the disk has set aside",
    "collected mail",
)

Kind = Literal["database", "queue", "data", "also"]


class _Location(NamedTuple):
    """One file. `name`: what people read, short where it lies in the data directory."""

    path: Path
    name: str
    kind: Kind


class _Decrypted(NamedTuple):
    row: Row
    secret: Secret


def look(
    vault: Vault, settings: Settings, also: Sequence[Path] = (), progress: Progress | None = None
) -> tuple[Verdict, Scan]:
    """Decrypt all that is stored, then search every file that can be seen, and all below `also`, for each
    password, client secret and refresh token. (The others are ids and names.)

    Raises KeyAbsent where the key is missing, unreadable or wrong.
    """
    decrypted: list[_Decrypted] = []

    def each() -> Iterator[verification.Tried]:
        for tried in verification.each_opened(vault, progress):
            if isinstance(tried.found, Secret) and tried.row.bound[-1] in SEARCHED and tried.found.reveal():
                decrypted.append(_Decrypted(tried.row, tried.found))
            yield tried

    return verification.verdict(each()), _search(decrypted, settings, also)


def check(
    vault: Vault, settings: Settings, also: Sequence[Path] = (), progress: Progress | None = None
) -> tuple[Verdict, Scan]:
    """`look` for a person who asked, and keep what was found as the newest report.

    While passwords are stored in clear text they are found, of course: that is returned and not kept.
    """
    verdict, scan = look(vault, settings, also, progress)
    verification.note_verified(vault)
    if vault.latest().state in ENCRYPTED:
        reports.keep_check(verdict.opened, verdict.failures, scan, verdict.others)
    return verdict, scan


def _search(decrypted: list[_Decrypted], settings: Settings, also: Sequence[Path]) -> Scan:
    locations = list(_locations(settings, also))
    numbers = worth_searching([each.secret.reveal() for each in decrypted], _names())
    wanted = [decrypted[number] for number in numbers]
    answers = _run([each.path for each in locations], [each.secret for each in wanted])
    outcomes = list(zip(locations, answers, strict=True))
    searched = [(each, hits) for each, hits in outcomes if isinstance(hits, list)]
    return Scan(
        searched=tuple(each.name for each, _ in searched),
        found=tuple(_found(each, wanted, hits) for each, hits in searched if hits),
        skipped=tuple((each.name, reason) for each, reason in outcomes if isinstance(reason, str)),
        looked_for=len(wanted),
        not_looked_for=len(decrypted) - len(wanted),
        not_visible=tuple(_not_visible(settings)),
    )


def _found(location: _Location, wanted: list[_Decrypted], hits: list[int]) -> Found:
    return Found(location.name, location.kind, tuple(sorted(owners.names(wanted[hit].row for hit in hits))))


def _run(files: list[Path], secrets: list[Secret]) -> list[Any]:
    """Have the separate process search. It gets no environment, so no other secret either."""
    request = {"files": [str(path) for path in files], "secrets": [secret.reveal() for secret in secrets]}
    done = subprocess.run(
        [sys.executable, "-I", str(SEARCH)],
        input=json.dumps(request).encode(),
        stdout=subprocess.PIPE,
        env={},
        check=False,
    )
    if done.returncode != 0:
        raise PanelError(
            "The process that scans for leftovers ended early; nothing is known about them.",
            "Read the log, then try again: flask encryption verify --scan",
        )
    answers: list[Any] = json.loads(done.stdout)
    return answers


# -- which passwords -----------------------------------------------------------------


def worth_searching(secrets: Sequence[str], names: Iterable[str]) -> list[int]:
    """The numbers of those whose find would mean that a password stands there.

    Not the short and the common ones, nor what Mailkeep itself writes in clear text: (part of) one of the
    `names`, which are addresses, usernames and servers, or of a word of its own code.
    """
    strong = [n for n, text in enumerate(secrets) if len(text) >= SHORTEST and not is_common(text)]
    code = (path.read_text("utf-8") for path in (ROOT / "panel").rglob("*.py"))
    words = {word for text in code for word in WORDS.findall(text)}
    public = io.BytesIO("\n".join([*names, *words]).lower().encode("utf-8", "replace"))
    found = Searcher(secrets[number].lower() for number in strong).secrets_in(public)
    return [number for place, number in enumerate(strong) if place not in found]


def _names() -> Iterator[str]:
    """What the database holds of mailboxes and people in clear text."""
    servers = Endpoint.select(Account.address, Endpoint.username, Endpoint.host).join(Account).tuples()
    people = Person.select(Person.email, Person.name).tuples()
    apps = OauthApp.select(OauthApp.name, OauthApp.client_id, OauthApp.issuer).tuples()
    consents = Consent.select(Consent.signs_in_as, Consent.subject).tuples()
    return (str(name) for row in (*servers, *people, *apps, *consents) for name in row)


# -- which files ---------------------------------------------------------------------


def _locations(settings: Settings, also: Sequence[Path]) -> Iterator[_Location]:
    """Every file of database and queue, in the data directory and below `also`, each once.

    The key files and the mail spool are left out.
    """
    seen = set()
    for root, kind in _roots(settings, also):
        for path in _below(root, settings.mail_spool):
            if path not in seen and not _is_key(path, settings.key_file):
                seen.add(path)
                yield _Location(path, _name(path, settings.data_dir), kind)


def _roots(settings: Settings, also: Sequence[Path]) -> Iterator[tuple[Path, Kind]]:
    own: tuple[tuple[Kind, str], ...] = (("database", settings.database_url), ("queue", settings.queue_url))
    for kind, url in own:
        if url.startswith(SQLITE):
            path = Path(url.removeprefix(SQLITE)).absolute()
            yield from ((path.with_name(path.name + end), kind) for end in SQLITE_FILES)
    yield settings.data_dir.absolute(), "data"
    yield from ((path.absolute(), "also") for path in also)


def _below(path: Path, spool: Path) -> Iterator[Path]:
    """What lies at and below `path`, by name. Of what is no readable file the search says why."""
    if path == spool:
        return
    try:
        inside = sorted(path.iterdir()) if path.is_dir() and not path.is_symlink() else None
    except OSError:
        inside = None
    if inside is None:
        yield path
    for each in inside or ():
        yield from _below(each, spool)


def _is_key(path: Path, key_file: Path) -> bool:
    """Whether it is the key file or a copy that Mailkeep set aside itself (`KeyStore.retire` and others)."""
    aside = path.name.startswith(f"{key_file.stem}.") and path.suffix == ".bin"
    return path.parent == key_file.parent and (path == key_file or aside)


def _name(path: Path, data_dir: Path) -> str:
    inside = path.is_relative_to(data_dir) and path != data_dir
    return os.fsencode(path.relative_to(data_dir) if inside else path).decode("utf-8", "replace")


def _not_visible(settings: Settings) -> list[str]:
    """What may hold leftovers and cannot be searched from here."""
    urls = {"database": settings.database_url, "queue": settings.queue_url}
    servers = [f"the files of the {what} server" for what, url in urls.items() if not url.startswith(SQLITE)]
    return [*servers, *NOT_VISIBLE]


# -- reports -------------------------------------------------------------------------


def finish_report(vault: Vault, settings: Settings) -> bool:
    """Scan for leftovers and finish the report of a sweep, if one is pending and the sweep has ended.

    True where a report was written. What changed meanwhile leaves it pending for the next
    call. Raises KeyAbsent as `look` does.
    """
    pending = reports.pending()
    state = vault.latest().state if pending is not None else None
    ends = (State.OFF,) if state is State.OFF else ENCRYPTED
    if pending is None or state not in ends:
        return False
    verdict, scan = (verification.run(vault), None) if state is State.OFF else look(vault, settings)
    if reports.pending() != pending or vault.latest().state not in ends:
        return False
    reports.finish(pending, verdict.opened, verdict.failures, scan, verdict.others)
    return True


def again(vault: Vault) -> None:
    """Ask for another scan; where leftovers stood in the database's files, remove them once more before.

    Raises Refused where passwords are not all encrypted: they would be found, of course.
    """
    if vault.latest().state not in ENCRYPTED:
        raise Refused(
            "The scan for leftovers runs once every password is encrypted.", "Try again when that is done."
        )
    last = reports.last()
    with db.transaction():
        if last is not None and last.scan is not None and last.scan.in_database:
            activate.require_scrub()
        reports.begin("check")


def again_where_found(vault: Vault) -> None:
    """Ask for another scan, as `again` does, where the last one found something: it may be gone by now."""
    last = reports.last()
    if last is None or last.scan is None or not last.scan.on_this_server:
        return
    with suppress(Refused):  # in another state there is other work to finish, which asks for a scan itself
        again(vault)
