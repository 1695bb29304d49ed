"""IMAP with IDLE (RFC 2177): the server says what comes, and nobody asks it.

Between two rounds a session rests: `idle` sends the command, and from then on only `hear` is called, by one
thread for all sessions, which therefore must never wait. `end_idle` belongs to a round again.
"""

from __future__ import annotations

from panel.errors import MailError
from panel.mail.imap_protocol import LITERAL, LONGEST_LITERAL, Imap
from panel.mail.imap_syntax import Answer, exists_of, is_expunge
from panel.mail.policy import Policy
from panel.mail.refusal import ServerRefused
from panel.mail.server import MailServer
from panel.mail.wire import Wire
from panel.secret import Secret

READS = 8  # in one turn: a server that floods us does not keep the others waiting
MOST_HEARD = 2**20  # bytes while a session rests: 25,000 changes of flags


class IdleRefused(MailError):
    """The server offered IDLE, and then refused it or ended it by itself: ask it again after a while."""


class IdleImap(Imap):
    """`exists` is how many messages the open folder has, by all that the server said since it was opened."""

    def __init__(self, wire: Wire, policy: Policy, endpoint: MailServer, secret: Secret) -> None:
        super().__init__(wire, policy, endpoint, secret)
        self.exists = 0
        self.seen = 0  # `exists` when was asked what there is, less what was removed since
        self._idle: bytes | None = None  # the tag of IDLE while it is under way
        self._continued = False  # whether the server has said `+`

    def _untagged(self, line: bytes) -> Answer:
        answer = super()._untagged(line)
        if (exists := exists_of(answer)) is not None:
            self.exists = exists
            self.seen = min(self.seen, exists)  # some shrink without EXPUNGE
        elif is_expunge(answer):
            self.exists, self.seen = max(self.exists - 1, 0), max(self.seen - 1, 0)
        return answer

    def asked(self) -> None:
        """What the server has announced by now is in what it will answer."""
        self.seen = self.exists

    @property
    def has_news(self) -> bool:
        """Whether there is more than when was last asked. Flags, RECENT and removed messages are no news."""
        return self.exists > self.seen

    # -- at rest ---------------------------------------------------------------------------

    def idle(self) -> None:
        """Ask for word of what comes, without waiting for the `+`: EXISTS may come before it."""
        self._idle, self._continued = self.send(b"IDLE"), False
        self.wire.rest()

    def hear(self) -> None:
        """Take in what has come, without waiting. Raises MailError where the session has ended, or must."""
        for _ in range(READS):
            came = self.wire.read_now()
            while (line := self.wire.line_now()) is not None:  # what is left in the buffer wakes nobody
                self._hear(line.lstrip(b" \t"))
            if not came:
                return

    def _hear(self, line: bytes) -> None:
        if LITERAL.search(line[-LONGEST_LITERAL:]):
            raise self.protocol_violation()  # to read it would be to wait; nothing that comes here has one
        if line.startswith((b"* ", b"*\t")):
            self._untagged(line)
        elif line.startswith(b"+") and not self._continued:
            self._continued = True
        else:
            self._tagged(line)
        if self._answered > MOST_HEARD:
            raise self.too_much()
        if self._idle in self._done_early:
            raise IdleRefused(self.wire.step, f"{self.wire.host} ended IDLE.", "New mail is asked for.")

    def end_idle(self, policy: Policy) -> None:
        """Begin a round: what is read from now on is under `policy`. Raises MailError.

        A server that has not said `+` yet is sent DONE once it does.
        """
        self._policy, tag = policy, self._idle or b""
        self._idle = None
        if self._continued:
            self._done()
        try:
            for _ in self.answers(tag, None if self._continued else self._done):
                pass
        except ServerRefused:
            raise IdleRefused(
                self.wire.step, f"{self.wire.host} refused IDLE.", "New mail is asked for."
            ) from None

    def _done(self, _challenge: bytes = b"") -> None:
        self.wire.send(b"DONE\r\n")
