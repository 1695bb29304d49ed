"""Reading a folder over IMAP, what may happen to its messages after delivery, and probing both."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from types import TracebackType

from panel.errors import MailError
from panel.mail import imap_folders
from panel.mail.imap_idle import IdleImap
from panel.mail.imap_syntax import (
    Items,
    body_of,
    date_of,
    fetched,
    found_by,
    is_seen,
    size_of,
    uid_of,
    uid_sets,
)
from panel.mail.policy import Policy
from panel.mail.refusal import RETRIES, ServerRefused, failure, recognised
from panel.mail.server import MailServer
from panel.mail.session import MailSession, ProbeStep, interactive
from panel.mail.wire import HungUp
from panel.secret import Secret

# UIDs per command: lines stay short of every server's limit
BODIES_AT_ONCE, SIZES_AT_ONCE, CHANGED_AT_ONCE = 100, 500, 500
MORE_MEANWHILE = 10_000  # messages that may arrive while a folder is open
UNDER_WAY = 2  # commands sent ahead, so that the server never waits for us

MOST_MESSAGES = 1_000_000  # where the folder does not report how many it holds
BAD_IN_A_ROW = 3  # commands that the server did not understand, one after the other
DONE_SECONDS = 10.0  # for which a session that rested is given to answer


def probe(endpoint: MailServer, secret: Secret, folder: str, policy: Policy) -> Iterator[ProbeStep]:
    """As `MailSession.probe`: name, connect, tls, login, folder."""
    return ImapSession(endpoint, secret, folder, interactive(policy)).probe()


class ImapSession(MailSession[IdleImap]):
    """A folder opened read-only (EXAMINE) unless `writable`. Reading marks nothing as seen in either.

    `uidvalidity` and `uidnext` (0 if the server does not report it) and `exists` (None then)
    are those of the moment it was opened. None of them is proof: what is in the
    folder is always asked for. Every method raises MailError, also where the
    answers to it cannot be read: silence is never taken for 'nothing there'.
    """

    client_type = IdleImap
    pause = 0  # IMAP has no minimum time between two sessions

    def __init__(
        self, endpoint: MailServer, secret: Secret, folder: str, policy: Policy, *, writable: bool = False
    ) -> None:
        super().__init__(endpoint, secret, policy)
        self._folder = folder
        self._writable = writable
        self._refused = False
        self._bad = 0  # commands in a row that were not understood
        self._all: list[int] | None = None  # all UIDs, where they were listed for `highest`
        self._rests = False
        self.uidvalidity = self.uidnext = 0
        self.exists: int | None = None

    def _probe_steps(self) -> Iterator[tuple[str, str]]:
        yield from self._login_steps()
        message, self._held = imap_folders.describe(self._client("folder"), self._folder)
        yield "folder", message

    def _open(self) -> None:
        opened = imap_folders.open_folder(self._client("folder"), self._folder, writable=self._writable)
        self.uidvalidity, self.uidnext, self.exists = opened.uidvalidity, opened.uidnext, opened.exists

    # -- between two rounds: the server is asked to say what comes -----------------------

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it, unless it rests."""
        if kind is not None or not self._rests:
            self.close()

    def rest(self) -> bool:
        """Send IDLE at the end of a round: the session stays open after `with`. False where it cannot.

        Until `resume` only `hear`, `has_news`, `fileno` and `close` may be called; none of them waits.
        """
        imap = self._client("fetch")
        if b"IDLE" not in imap.capabilities():
            return False
        imap.idle()
        self._rests, self._all = True, None
        return True

    def hear(self) -> None:
        """Take in what the server has said. Raises MailError where the session has ended."""
        self._client("fetch").hear()

    @property
    def has_news(self) -> bool:
        """Whether the server has announced messages since it was last asked what there is."""
        return self._client("fetch").has_news

    def fileno(self) -> int:
        """For `selectors`."""
        return self._client("fetch").wire.fileno()

    def resume(self, policy: Policy) -> None:
        """End IDLE and open the folder anew, under `policy` and with a fresh deadline. Raises MailError.

        UIDNEXT, EXISTS and UIDVALIDITY are of the moment of opening (RFC 3501, 6.3.1).
        """
        self._ends_at, self._policy = time.monotonic() + policy.deadline, policy
        imap, self._rests = self._client("folder"), False
        imap.wire.go_on(policy, time.monotonic() + min(policy.deadline, DONE_SECONDS))
        imap.end_idle(policy)  # by that time, whatever else the server says
        imap.wire.go_on(policy, self._ends_at)
        imap.wire.allow_silence(min(policy.idle_timeout, DONE_SECONDS))
        self._open()
        imap.wire.allow_silence(policy.idle_timeout)

    def close(self) -> None:
        """As `MailSession.close`; one that rests does not wait for its goodbye to be taken."""
        if self._rests and self._connected is not None and not self._closed:
            self._closed = True
            self._connected.wire.send_now(b"DONE\r\n" + self._connected.goodbye)
            self._connected.wire.close()
        super().close()

    # -- what is in the folder -----------------------------------------------------

    def highest(self) -> int:
        """The highest UID; 0 in an empty folder. What was listed for it serves the next `uids` too."""
        self._all = self.uids(0)
        return max(self._all, default=0)

    def uids(self, after: int) -> list[int]:
        """The UIDs above `after`, ascending."""
        found: Iterable[int] | None
        found, self._all = self._all, None
        if found is None:
            self._client("fetch").asked()
            may_be_none = 0 < self.uidnext <= after + 1
            found = self._listed(b"%d:*" % (after + 1), b"(UID)", may_be_none=may_be_none)
        return sorted(uid for uid in found if uid > after)  # n:* names the last one even if it is below n

    def unseen(self) -> list[int]:
        """The UIDs without the flag \\Seen, ascending."""
        return sorted(
            uid for uid, items in self._listed(b"1:*", b"(UID FLAGS)").items() if not is_seen(items)
        )

    def arrived_since(self, moment: int) -> list[int]:
        """The UIDs that came into the folder at `moment` (UTC seconds) or later by the server's clock.

        Those whose date cannot be read are among them: rather too many than one lost.
        """
        dates = {uid: date_of(items) for uid, items in self._listed(b"1:*", b"(UID INTERNALDATE)").items()}
        return sorted(uid for uid, date in dates.items() if date is None or date >= moment)

    def sizes(self, uids: Iterable[int]) -> dict[int, int]:
        """Bytes of each message, as the server counts them (0 where it does not). Those gone are left out."""
        wanted = set(uids)
        sizes: dict[int, int] = {}
        for items in self._fetch(wanted, b"(UID RFC822.SIZE)", SIZES_AT_ONCE):
            if (uid := uid_of(items)) in wanted:
                sizes[uid] = size_of(items) or sizes.get(uid, 0)
        for uid_set in uid_sets(wanted - sizes.keys(), SIZES_AT_ONCE):
            sizes |= dict.fromkeys(self._search(uid_set) & wanted, 0)  # silence does not mean it is gone
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
            if self._refused and wanted:
                yield from self._bodies(wanted, 1)  # one that is refused hides no others
            complete = True
        except HungUp:
            if wanted:
                raise  # else all is here, and how the server ends the session is no error of the work
        finally:
            if not complete:
                self.close()

    # -- after delivery; only in a `writable` folder, and only by UID ----------------------

    def mark_seen(self, uids: Iterable[int]) -> None:
        """Mark messages as read. Those gone meanwhile are left out."""
        for uid_set in uid_sets(uids, CHANGED_AT_ONCE):
            self._change(b"UID STORE %s +FLAGS.SILENT (\\Seen)" % uid_set, "marked as read")

    def move(self, uids: Iterable[int], folder: str) -> None:
        """Move messages into another, existing folder by MOVE (RFC 6851), else by copying and deleting.

        Killed between copying and deleting, the second way leaves a copy in both
        folders and makes another one next time; nothing is lost.
        """
        can_move = b"MOVE" in self._client("after").capabilities()
        if not can_move:
            self._require_uidplus()
        for uid_set in uid_sets(uids, CHANGED_AT_ONCE):
            self._into(folder, b"UID %s %s " % (b"MOVE" if can_move else b"COPY", uid_set))
            if not can_move:
                self._delete(uid_set)

    def _into(self, folder: str, command: bytes) -> None:
        imap = self._client("after")
        try:
            imap_folders.named(imap, folder, lambda word: imap.run(command + word))
        except ServerRefused as refused:
            raise self._unchanged(refused, f"moved to “{folder}”") from None

    def delete(self, uids: Iterable[int]) -> None:
        """Delete these messages for good, and no others that are marked as deleted."""
        self._require_uidplus()
        for uid_set in uid_sets(uids, CHANGED_AT_ONCE):
            self._delete(uid_set)

    def _delete(self, uid_set: bytes) -> None:
        self._change(b"UID STORE %s +FLAGS.SILENT (\\Deleted)" % uid_set, "deleted")
        self._change(b"UID EXPUNGE %s" % uid_set, "deleted")

    def _require_uidplus(self) -> None:
        """A plain EXPUNGE would also remove what another program has marked as deleted (RFC 4315)."""
        imap = self._client("after")
        if b"UIDPLUS" not in imap.capabilities():
            raise imap.wire.error(
                "cannot delete single messages (it lacks UIDPLUS). All mail was delivered.",
                "Choose to leave mail on the server, or to mark it as read.",
            )

    def _change(self, command: bytes, what: str) -> None:
        try:
            self._client("after").run(command)
        except ServerRefused as refused:
            raise self._unchanged(refused, what) from None

    def _unchanged(self, refused: ServerRefused, what: str) -> MailError:
        missing = refused.code in ("TRYCREATE", "NONEXISTENT")
        message = f"Mail was delivered, but cannot be {what} on {self.host}."
        remedy = (
            "Create that folder, or choose another." if missing else "Choose to leave mail on the server."
        )
        return failure(refused, self._client("after").wire, message, remedy, permanent=False)

    # -- one command after the other -----------------------------------------------------

    def _bodies(self, wanted: set[int], at_once: int) -> Iterator[tuple[int, bytes]]:
        """The messages that come of asking for `wanted`, which are taken out of it."""
        self._refused = False
        nameless = False
        for items in self._fetch(sorted(wanted), b"(UID BODY.PEEK[])", at_once, lenient=True):
            uid, body = uid_of(items), body_of(items)
            nameless = nameless or (uid is None and body is not None)
            if uid in wanted and body is not None:
                wanted.discard(uid)
                self._bad = 0
                yield uid, body
        if nameless and wanted:
            raise self._client("fetch").unreadable("which message it sent")

    def _fetch(
        self, uids: Iterable[int], items: bytes, at_once: int, *, lenient: bool = False
    ) -> Iterator[Items]:
        """Ask for many UIDs in several commands, of which the next is sent before one is answered."""
        waiting: deque[bytes] = deque()
        for uid_set in uid_sets(uids, at_once):
            waiting.append(self._client("fetch").send(b"UID FETCH %s %s" % (uid_set, items)))
            if len(waiting) >= UNDER_WAY:
                yield from self._fetched(waiting.popleft(), lenient)
        while waiting:
            yield from self._fetched(waiting.popleft(), lenient)

    def _listed(self, uid_set: bytes, items: bytes, *, may_be_none: bool = False) -> dict[int, Items]:
        """What FETCH reports of each message in `uid_set`. What it may have left out, SEARCH finds.

        `may_be_none`: the folder's UIDNEXT means that nothing is there; FETCH without an answer agrees.
        """
        if self.exists == 0 and not self._search(uid_set):
            return {}
        found: dict[int, Items] = {}
        nameless = self._refused = False
        tag = self._client("fetch").send(b"UID FETCH %s %s" % (uid_set, items))
        for count, one in enumerate(self._fetched(tag, lenient=True)):
            self._require_possible(count)
            uid = uid_of(one)
            nameless = nameless or uid is None
            if uid is not None:
                found.setdefault(uid, {}).update(one)
        short = uid_set == b"1:*" and len(found) < (self.exists or 0)
        if self._refused or nameless or short or not (found or may_be_none):
            found = {uid: {} for uid in self._search(uid_set)} | found
        if not found and short:
            raise self._client("fetch").unreadable("which messages the folder holds")
        return found

    def _search(self, uid_set: bytes) -> set[int]:
        """The UIDs of `uid_set` that are there. Raises MailError where the answer leaves it open."""
        imap = self._client("fetch")
        found: set[int] = set()
        answered = self.exists == 0  # then silence only repeats it
        try:
            for answer in imap.command(b"UID SEARCH UID " + uid_set):
                uids = found_by(answer)
                answered = answered or uids is not None
                found |= uids or set()
                self._require_possible(len(found))
        except ServerRefused as refused:
            if self.exists == 0 and not refused.transient:
                return set()
            raise self._no_mail(refused) from None
        except ValueError:
            answered = False
        if not answered:
            raise imap.unreadable("which messages the folder holds")
        self._bad = 0
        return found

    def _require_possible(self, count: int) -> None:
        """Raise MailError for more answers than the folder can have messages."""
        if count > (self.exists + MORE_MEANWHILE if self.exists else MOST_MESSAGES):
            raise self._client("fetch").too_much()

    def _fetched(self, tag: bytes, lenient: bool) -> Iterator[Items]:
        """The answers of one command. A NO ends it, `lenient`, with `_refused` set, else with a MailError.

        Only a completion with OK means that something is not there.
        """
        try:
            for answer in self._client("fetch").answers(tag):
                items = fetched(answer)
                if items is not None:
                    yield items
        except ServerRefused as refused:
            self._bad = 0 if refused.understood else self._bad + 1
            waits = refused.transient or recognised(refused) is not None
            if lenient and not waits and self._bad < BAD_IN_A_ROW:
                self._refused = True  # one of them cannot be fetched, or is gone (EXPUNGEISSUED, RFC 5530)
                return
            raise self._no_mail(refused) from None

    def _no_mail(self, refused: ServerRefused) -> MailError:
        wire = self._client("fetch").wire
        return failure(refused, wire, f"{self.host} refused to hand out mail.", RETRIES, permanent=False)
