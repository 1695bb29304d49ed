"""Reading a folder over IMAP, and trying out whether that works. `imap_changes` is what may change it."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Self

from panel.errors import MailError
from panel.mail import imap_changes, imap_folders, step
from panel.mail.endpoint import Endpoint
from panel.mail.imap_protocol import Imap
from panel.mail.imap_words import Answer, body_of, date_of, uid_of, uid_sets
from panel.mail.policy import Policy
from panel.mail.refusal import ServerRefused
from panel.mail.step import Step
from panel.mail.way_in import WayIn
from panel.secret import Secret

BODIES_AT_ONCE, SIZES_AT_ONCE = 100, 500  # UIDs per command: lines stay short of every server's limit
MORE_MEANWHILE = 10_000  # messages that may arrive while a folder is open
UNDER_WAY = 2  # commands sent ahead, so that the server never waits for us

SIZE = re.compile(rb"\bRFC822\.SIZE ([0-9]{1,19})\b", re.IGNORECASE)
SEEN = re.compile(rb"FLAGS \([^)]*\\Seen\b", re.IGNORECASE)


def probe(endpoint: Endpoint, secret: Secret, folder: str, policy: Policy) -> Iterator[Step]:
    """Try out an endpoint: each step as soon as it is done, ending with the first that fails.

    Raises nothing that a server, a network or a typing error can cause.
    """
    session = ImapSession(endpoint, secret, folder, step.hasty(policy))
    return step.timed(session.steps(), session.close)


class ImapSession:
    """A folder opened read-only (EXAMINE) unless `writable`. Reading marks nothing as seen in either.

    `uidvalidity`, `uidnext` (0 if the server does not tell) and `exists` are
    those of the moment it was opened. Every method raises MailError.
    """

    pause = 0  # IMAP has no time to be kept between two sessions

    def __init__(
        self, endpoint: Endpoint, secret: Secret, folder: str, policy: Policy, *, writable: bool = False
    ) -> None:
        self._host = endpoint.host
        self._folder = folder
        self._writable = writable
        self._ends_at = time.monotonic() + policy.deadline
        self._way_in = WayIn(endpoint, secret, policy, self._ends_at, Imap)
        self._closed = False
        self._refused = False
        self.uidvalidity = self.uidnext = self.exists = 0

    def steps(self) -> Iterator[tuple[str, str]]:
        """Go the whole way once without opening the folder: each step when it is done, and what it found."""
        yield from self._way_in.steps()
        yield "folder", imap_folders.describe(self._imap("folder"), self._folder)

    def __enter__(self) -> Self:
        """Connect, log in and open the folder."""
        try:
            for _ in self._way_in.steps():
                pass
            opened = imap_folders.open_folder(self._imap("folder"), self._folder, writable=self._writable)
        except BaseException:
            self.close()
            raise
        self.uidvalidity, self.uidnext, self.exists = opened.uidvalidity, opened.uidnext, opened.exists
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Log out without waiting for an answer, and close. May be called twice."""
        imap = self._way_in.talk
        if imap is None or self._closed:
            return
        self._closed = True
        if imap.logged_in:
            with suppress(MailError):
                imap.send(b"LOGOUT")
        imap.wire.close()

    @property
    def ended(self) -> bool:
        """Whether nothing more can be asked of it."""
        return self._closed

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
        dates = {uid: date_of(answer) for answer in answers if (uid := uid_of(answer))}
        return sorted(uid for uid, date in dates.items() if date is not None and date >= moment)

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
            yield from self._bodies(wanted, BODIES_AT_ONCE)
            if self._refused:
                yield from self._bodies(wanted, 1)  # one that is refused hides no others
            complete = True
        finally:
            if not complete:
                self.close()

    # -- what is done with what was fetched; only in a `writable` folder -----------------

    def mark_seen(self, uids: Iterable[int]) -> None:
        """Mark messages as read. Those gone meanwhile are left out."""
        imap_changes.mark_seen(self._imap("after"), uids)

    def move(self, uids: Iterable[int], folder: str) -> None:
        """Move messages into another folder, which must be there."""
        imap_changes.move(self._imap("after"), uids, folder)

    def delete(self, uids: Iterable[int]) -> None:
        """Delete these messages, and no others that somebody has marked as deleted."""
        imap_changes.delete(self._imap("after"), uids)

    # -- one command after the other -----------------------------------------------------

    def _bodies(self, wanted: set[int], at_once: int) -> Iterator[tuple[int, bytes]]:
        """The messages that come of asking for `wanted`, which are taken out of it."""
        self._refused = False
        for answer in self._fetch(sorted(wanted), b"(UID BODY.PEEK[])", at_once, lenient=True):
            uid, body = uid_of(answer), body_of(answer)
            if uid in wanted and body is not None:
                wanted.discard(uid)
                yield uid, body

    def _fetch(
        self, uids: Iterable[int], items: bytes, at_once: int, *, lenient: bool = False
    ) -> Iterator[Answer]:
        """Ask for many UIDs in several commands, of which the next is sent before one is answered."""
        imap = self._imap("fetch")
        waiting: deque[bytes] = deque()
        for uid_set in uid_sets(uids, at_once):
            waiting.append(imap.send(b"UID FETCH %s %s" % (uid_set, items)))
            if len(waiting) >= UNDER_WAY:
                yield from self._fetched(imap, waiting.popleft(), lenient)
        while waiting:
            yield from self._fetched(imap, waiting.popleft(), lenient)

    def _fetch_command(self, uid_set: bytes, items: bytes) -> Iterator[Answer]:
        """Ask for all at once. Raises MailError for more answers than the folder can have messages."""
        imap = self._imap("fetch")
        answers = self._fetched(imap, imap.send(b"UID FETCH %s %s" % (uid_set, items)), False)
        for count, answer in enumerate(answers):
            if count > self.exists + MORE_MEANWHILE:
                raise imap.too_much()
            yield answer

    def _fetched(self, imap: Imap, tag: bytes, lenient: bool) -> Iterator[Answer]:
        """The answers of one command. A NO ends it, `lenient`, with `_refused` set, else with a MailError.

        Only what was completed with OK tells that something is not there.
        """
        try:
            yield from imap.answers(tag)
        except ServerRefused as refused:
            if lenient and not refused.passing:
                self._refused = True  # one of them cannot be had, or is gone (EXPUNGEISSUED, RFC 5530)
                return
            raise MailError(
                "fetch",
                f"{self._host} refused to hand out mail. It says: {refused.text}",
                "Try again later.",
            ) from None

    def _imap(self, doing: str) -> Imap:
        imap = self._way_in.talk
        if imap is None or self._closed:
            raise MailError(doing, f"The session with {self._host} has ended.", "Try again later.")
        imap.wire.step = doing
        return imap
