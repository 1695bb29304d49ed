"""Reading a folder over IMAP, without changing anything in it; and trying out whether that works."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from imaplib import Internaldate2tuple
from itertools import groupby
from types import TracebackType
from typing import Self

from imapclient import imap_utf7

from panel.errors import MailError
from panel.mail import addresses, connect
from panel.mail.endpoint import Endpoint
from panel.mail.imap_protocol import Answer, Imap, ServerRefused, body_of, quoted, uid_of
from panel.mail.policy import Policy
from panel.secret import Secret

PROBE_SECONDS, PROBE_PATIENCE = 45.0, 15.0  # somebody looks at the page meanwhile
FOLDERS_SHOWN = 30
BODIES_AT_ONCE, SIZES_AT_ONCE = 100, 500  # UIDs per command: lines stay short of every server's limit
UNDER_WAY = 2  # commands sent ahead, so that the server never waits for us
SECURITIES = frozenset({"tls", "starttls", "none"})
PASSING = frozenset({"UNAVAILABLE", "INUSE", "LIMIT", "CONTACTADMIN", "SERVERBUG"})  # RFC 5530

EXISTS = re.compile(rb"\* ([0-9]{1,10}) EXISTS", re.IGNORECASE)
UIDVALIDITY = re.compile(rb"\[UIDVALIDITY ([0-9]{1,10})\]", re.IGNORECASE)
UIDNEXT = re.compile(rb"\[UIDNEXT ([0-9]{1,10})\]", re.IGNORECASE)
LIST = re.compile(rb'\* LIST \(([^)]*)\) (?:"(?:[^"\\]|\\.)*"|NIL) (.*)\Z', re.IGNORECASE | re.DOTALL)
MESSAGES = re.compile(rb"\bMESSAGES ([0-9]{1,10})\b", re.IGNORECASE)
UNSEEN = re.compile(rb"\bUNSEEN ([0-9]{1,10})\b", re.IGNORECASE)
SIZE = re.compile(rb"\bRFC822\.SIZE ([0-9]{1,20})\b", re.IGNORECASE)
SEEN = re.compile(rb"FLAGS \([^)]*\\Seen\b", re.IGNORECASE)


@dataclass(frozen=True)
class Step:
    """One step of a trial: name, connect, tls, login or folder; `mend` says what to do if it failed."""

    name: str
    ok: bool
    seconds: float
    says: str
    mend: str = ""


def probe(endpoint: Endpoint, secret: Secret, folder: str, policy: Policy) -> Iterator[Step]:
    """Try out an endpoint: each step as soon as it is done, ending with the first that fails.

    Raises nothing that a server, a network or a typing error can cause.
    """
    hasty = replace(
        policy,
        deadline=min(policy.deadline, PROBE_SECONDS),
        patience=min(policy.patience, PROBE_PATIENCE),
    )
    session = ImapSession(endpoint, secret, folder, hasty)
    begun = time.monotonic()
    try:
        for name, says in session.steps():
            yield Step(name, True, time.monotonic() - begun, says)
            begun = time.monotonic()
    except MailError as error:
        yield Step(error.step, False, time.monotonic() - begun, error.message, error.hint)
    finally:
        session.close()


class ImapSession:
    """A folder opened read-only (EXAMINE): no flag changes, nothing is marked as seen.

    `uidvalidity`, `uidnext` (0 if the server does not tell) and `exists` are
    those of the moment it was opened. Every method raises MailError.
    """

    def __init__(self, endpoint: Endpoint, secret: Secret, folder: str, policy: Policy) -> None:
        self._endpoint = endpoint
        self._secret = secret
        self._folder = folder
        self._policy = policy
        self._ends_at = time.monotonic() + policy.deadline
        self._connection: Imap | None = None
        self.uidvalidity = self.uidnext = self.exists = 0

    def __enter__(self) -> Self:
        """Connect, log in and open the folder."""
        try:
            for _ in self._open():
                pass
            self._examine()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Log out without waiting for an answer, and close. May be called twice."""
        if self._connection is not None:
            if self._connection.logged_in:
                with suppress(MailError):
                    self._connection.send(b"LOGOUT")
            self._connection.wire.close()
            self._connection = None

    def seconds_left(self) -> float:
        """Until the deadline of this session; who fetches stops before it."""
        return self._ends_at - time.monotonic()

    # -- what is in the folder -----------------------------------------------------

    def uids(self, after: int) -> list[int]:
        """The UIDs above `after`, ascending."""
        if self.exists == 0 or 0 < self.uidnext <= after + 1:
            return []
        answers = self._fetch_command(b"%d:*" % (after + 1), b"(UID)")
        found = {uid for answer in answers if (uid := uid_of(answer)) is not None}
        return sorted(uid for uid in found if uid > after)  # n:* names the last one even if it is below n

    def unseen(self) -> list[int]:
        """The UIDs without the flag \\Seen, ascending."""
        if self.exists == 0:
            return []
        answers = self._fetch_command(b"1:*", b"(UID FLAGS)")
        return sorted({uid for answer in answers if (uid := uid_of(answer)) and not SEEN.search(answer[0])})

    def arrived_since(self, moment: int) -> list[int]:
        """The UIDs that came into the folder at `moment` (UTC seconds) or later by the server's clock."""
        if self.exists == 0:
            return []
        answers = self._fetch_command(b"1:*", b"(UID INTERNALDATE)")
        dated = {uid: Internaldate2tuple(answer[0]) for answer in answers if (uid := uid_of(answer))}
        return sorted(uid for uid, date in dated.items() if date is not None and time.mktime(date) >= moment)

    def sizes(self, uids: Iterable[int]) -> dict[int, int]:
        """Bytes of each message, as the server counts them. Those gone meanwhile are left out."""
        sizes: dict[int, int] = {}
        for answer in self._fetch(uids, b"(UID RFC822.SIZE)", SIZES_AT_ONCE):
            uid, size = uid_of(answer), SIZE.search(answer[0])
            if uid is not None and size is not None:
                sizes[uid] = int(size[1])
        return sizes

    def fetch(self, uids: Iterable[int]) -> Iterator[tuple[int, bytes]]:
        """Each message once, one at a time as it arrives. Those gone meanwhile are left out.

        Raises MessageTooLarge, before anything of such a message is read. Who
        stops in between, or is stopped by an error, cannot use the session any more.
        """
        wanted = set(uids)
        complete = False
        try:
            for answer in self._fetch(sorted(wanted), b"(UID BODY.PEEK[])", BODIES_AT_ONCE):
                uid, body = uid_of(answer), body_of(answer)
                if uid in wanted and body is not None:
                    wanted.discard(uid)
                    yield uid, body
            complete = True
        finally:
            if not complete:
                self.close()

    def _fetch(self, uids: Iterable[int], items: bytes, at_once: int) -> Iterator[Answer]:
        """Ask for many UIDs in several commands, of which the next is sent before one is answered."""
        imap = self._imap("fetch")
        waiting: deque[bytes] = deque()
        for uid_set in uid_sets(uids, at_once):
            waiting.append(imap.send(b"UID FETCH %s %s" % (uid_set, items)))
            if len(waiting) >= UNDER_WAY:
                yield from self._fetched(imap, waiting.popleft())
        while waiting:
            yield from self._fetched(imap, waiting.popleft())

    def _fetch_command(self, uid_set: bytes, items: bytes) -> Iterator[Answer]:
        imap = self._imap("fetch")
        yield from self._fetched(imap, imap.send(b"UID FETCH %s %s" % (uid_set, items)))

    def _fetched(self, imap: Imap, tag: bytes) -> Iterator[Answer]:
        try:
            yield from imap.answers(tag)
        except ServerRefused as refused:
            if refused.code != "EXPUNGEISSUED":  # some of them are gone: said with NO (RFC 5530)
                raise MailError(
                    "fetch",
                    f"{self._endpoint.host} refused to hand out mail. It says: {refused.text}",
                    "Try again later.",
                ) from None

    # -- the way in ------------------------------------------------------------------

    def steps(self) -> Iterator[tuple[str, str]]:
        """Go the whole way once: the name of each step and what it found, when it is done."""
        yield from self._open()
        yield "folder", self._look_around()

    def _open(self) -> Iterator[tuple[str, str]]:
        endpoint, policy = self._endpoint, self._policy
        self._refuse_other_methods()
        found = addresses.resolve(endpoint, policy, min(policy.connect_timeout, self.seconds_left()))
        yield "name", f"{endpoint.host} is {', '.join(dict.fromkeys(str(one.ip) for one in found))}."
        wire = connect.dial(endpoint.host, found, policy, self._ends_at)
        imap = self._connection = Imap(wire, policy, endpoint.username, self._secret)
        if endpoint.security != "tls":
            imap.greeting()
        yield "connect", f"{endpoint.host} answers on port {endpoint.port}."
        yield "tls", self._encrypt(imap)
        self._log_in(imap)
        yield "login", f"Logged in as {endpoint.username}."

    def _refuse_other_methods(self) -> None:
        endpoint = self._endpoint
        if endpoint.security not in SECURITIES:
            raise MailError("tls", "The kind of encryption is not known.", "Choose TLS.", permanent=True)
        if endpoint.auth_method != "plain" or "\0" in endpoint.username:
            raise MailError(
                "login",
                "This way of logging in is not known here.",
                "Choose username and password, and type the username again.",
                permanent=True,
            )

    def _encrypt(self, imap: Imap) -> str:
        imap.wire.step = "tls"
        if self._endpoint.security == "none":
            return "Not encrypted: the server runs on this very machine."
        if self._endpoint.security == "starttls":
            imap.starttls()
        version = connect.encrypt(imap.wire, self._policy)
        if self._endpoint.security == "tls":
            imap.greeting()
        return f"Encrypted with {version}, and the certificate is valid for {self._endpoint.host}."

    def _log_in(self, imap: Imap) -> None:
        imap.wire.step = "login"
        try:
            imap.login()
        except ServerRefused as refused:
            raise MailError(
                "login",
                f"{self._endpoint.host} refused the username or the password. It says: {refused.text}",
                "Type both again. Some providers want a password made for mail programs only.",
                permanent=refused.code not in PASSING,
            ) from None

    def _examine(self) -> None:
        imap = self._imap("folder")
        try:
            for answer in imap.command(b"EXAMINE " + folder_word(self._folder)):
                self._note(answer[0])
        except ServerRefused as refused:
            raise self._no_folder(refused, self._folders()) from None
        if self.uidvalidity == 0:
            raise imap.nonsense()

    def _note(self, line: bytes) -> None:
        if match := EXISTS.match(line):
            self.exists = int(match[1])
        elif match := UIDVALIDITY.search(line):
            self.uidvalidity = int(match[1])
        elif match := UIDNEXT.search(line):
            self.uidnext = int(match[1])

    def _look_around(self) -> str:
        imap = self._imap("folder")
        folders = self._folders()
        messages = unseen = 0
        try:
            for answer in imap.command(b"STATUS " + folder_word(self._folder) + b" (MESSAGES UNSEEN)"):
                if b"STATUS" in answer[0][:9].upper():
                    messages = _number(MESSAGES, answer[-1])
                    unseen = _number(UNSEEN, answer[-1])
        except ServerRefused as refused:
            raise self._no_folder(refused, folders) from None
        return (
            f"“{self._folder}” holds {_counted(messages, 'message')}, {unseen} of them unread. "
            f"Folders: {_listed(folders)}."
        )

    def _folders(self) -> list[str]:
        """The names of the folders that can be opened, INBOX first."""
        imap = self._imap("folder")
        names: list[str] = []
        try:
            for answer in imap.command(b'LIST "" "*"'):
                name = folder_of(answer)
                if name is not None:
                    names.append(imap.shown(name))
        except ServerRefused:
            return []
        return sorted(names, key=lambda name: (name.upper() != "INBOX", name.casefold()))

    def _no_folder(self, refused: ServerRefused, folders: list[str]) -> MailError:
        if self._folder in folders:
            message = f"The folder “{self._folder}” cannot be opened. The server says: {refused.text}"
        else:
            message = f"There is no folder “{self._folder}” in this mailbox."
        hint = f"Choose one of these: {_listed(folders)}." if folders else "Check the name of the folder."
        return MailError("folder", message, hint, permanent=True)

    def _imap(self, step: str) -> Imap:
        if self._connection is None:
            raise MailError(step, f"The session with {self._endpoint.host} has ended.", "Try again later.")
        self._connection.wire.step = step
        return self._connection


def uid_sets(uids: Iterable[int], at_once: int) -> Iterator[bytes]:
    """UIDs as sets of IMAP (`1:3,7`), at most `at_once` in each."""
    ordered = sorted(set(uids))
    for begin in range(0, len(ordered), at_once):
        batch = ordered[begin : begin + at_once]
        # Neighbours keep the same distance to their place in the list.
        runs = groupby(enumerate(batch), key=lambda pair: pair[1] - pair[0])
        yield b",".join(_run([uid for _, uid in run]) for _, run in runs)


def _run(uids: list[int]) -> bytes:
    return b"%d" % uids[0] if len(uids) == 1 else b"%d:%d" % (uids[0], uids[-1])


def folder_word(folder: str) -> bytes:
    """A folder's name as IMAP writes it: modified UTF-7 (RFC 3501, 5.1.3), quoted."""
    if not folder or any(c in folder for c in "\r\n\0"):
        raise MailError("folder", "The name of the folder cannot be used.", "Type it again.", permanent=True)
    return quoted(imap_utf7.encode(folder))


def folder_of(answer: Answer) -> str | None:
    """The name in an answer to LIST; None for other answers and for folders that hold no messages."""
    match = LIST.match(answer[0])
    if match is None or b"\\noselect" in match[1].lower() or b"\\nonexistent" in match[1].lower():
        return None
    word = answer[1] if len(answer) > 1 else match[2].strip()
    if word.startswith(b'"') and len(answer) == 1:
        word = re.sub(rb"\\(.)", rb"\1", word[1:-1])
    try:
        return str(imap_utf7.decode(word))
    except (ValueError, LookupError):
        return word.decode("ascii", "replace")


def _number(pattern: re.Pattern[bytes], text: bytes) -> int:
    match = pattern.search(text)
    return int(match[1]) if match else 0


def _counted(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _listed(folders: list[str]) -> str:
    more = len(folders) - FOLDERS_SHOWN
    return ", ".join(folders[:FOLDERS_SHOWN]) + (f" and {more} more" if more > 0 else "")
