"""The socket layer under every mail protocol: lines and blocks of bytes, with caps and one deadline.

The mail clients of the standard library count their timeout per read, so a
server that drips bytes holds them for ever, and they allocate what a server
announces. Here each read is bounded in time by the session's deadline, and
each size is checked before memory is taken for it.
"""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import suppress

from panel.errors import MailError
from panel.mail.policy import Policy
from panel.mail.refusal import shown

CHUNK = 2**16
RECORD = 2**14  # bytes, the most that TLS holds back of what it has read
FRESH = 0.25  # seconds for which a timeout set on the socket is taken to be still right
# Probes after two minutes keep the connection known to routers on the way, and find a dead peer in four.
KEEP_ALIVE = (
    ((socket.SOL_SOCKET, socket.SO_KEEPALIVE), 1),
    ((socket.IPPROTO_TCP, socket.TCP_KEEPIDLE), 120),
    ((socket.IPPROTO_TCP, socket.TCP_KEEPINTVL), 30),
    ((socket.IPPROTO_TCP, socket.TCP_KEEPCNT), 4),
)


class HungUp(MailError):
    """The server has ended the connection."""


class Wire:
    """A connected socket of one session. `step` names what the session is doing, for errors."""

    def __init__(self, connection: socket.socket, host: str, policy: Policy, ends_at: float) -> None:
        """Take over `connection`; `ends_at` is the session's deadline in `time.monotonic()` seconds."""
        self.step = "connect"
        self.host = host
        self.username = ""  # whom the session is for, once that is known; for errors too
        self.credentials_sent = 0  # how often
        self._socket = connection
        self._policy = policy
        self._ends_at = ends_at
        self._idle_timeout = policy.idle_timeout
        self._buffer = bytearray()
        self._start = 0  # of what is unread in the buffer
        self._received = 0
        self._timed_at = float("-inf")
        policy.interrupt.watch(connection)

    # -- reading -------------------------------------------------------------------

    def line(self) -> bytes:
        """The next line without its line end. Raises MailError when it is longer than the policy allows."""
        searched = self._start
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            if searched - self._start > self._policy.max_line:
                raise self._protocol_violation("a line without an end")
            searched -= self._more()
        line = bytes(memoryview(self._buffer)[self._start : end])
        self._start = end + 1
        if len(line) > self._policy.max_line:
            raise self._protocol_violation("a line without an end")
        return line.removesuffix(b"\r")

    def exactly(self, size: int) -> bytes:
        """The next `size` bytes. The caller has checked `size`: memory for it is taken at once."""
        block = bytearray(size)
        with memoryview(block) as view, memoryview(self._buffer) as buffered:
            have = min(size, len(buffered) - self._start)
            view[:have] = buffered[self._start : self._start + have]
            self._start += have
            while have < size:
                have += self.receive_into(view[have:])
        return bytes(block)

    def some(self) -> bytes:
        """All that has arrived and was not asked for; waits until there is something."""
        if not self.unread:
            self._more()
        block = bytes(memoryview(self._buffer)[self._start :])
        self._start = len(self._buffer)
        return block

    def put_back(self, size: int) -> None:
        """The last `size` bytes that `some` returned count as unread again."""
        self._start -= size

    @property
    def unread(self) -> int:
        """How many bytes were received and not yet asked for."""
        return len(self._buffer) - self._start

    # -- without waiting, between two pieces of work (`panel.mail.imap_idle`) ---------------

    def fileno(self) -> int:
        """For `selectors`. What `line_now` and `read_now` find first does not make it readable."""
        return self._socket.fileno()

    def line_now(self) -> bytes | None:
        """As `line`, but None where the end of the line is not here yet."""
        if self._buffer.find(b"\n", self._start) >= 0:
            return self.line()
        if self.unread > self._policy.max_line:
            raise self._protocol_violation("a line without an end")
        return None

    def read_now(self) -> bool:
        """Read what has come, at most as much as one TLS record holds. False where nothing has."""
        self._timed_at = float("-inf")
        try:
            self._socket.settimeout(0)
            came = self._socket.recv(RECORD)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except (OSError, ValueError) as error:
            raise self.failure(error) from None
        if not came:
            raise self.hung_up()
        self._buffer = self._buffer[self._start :] + came
        self._start = 0
        return True

    def send_now(self, data: bytes) -> None:
        """Write `data` as far as that goes without waiting: for a goodbye that nobody depends on."""
        self._timed_at = float("-inf")
        with suppress(OSError, ValueError):
            self._socket.settimeout(0)
            self._socket.send(data)

    def rest(self) -> None:
        """Hold no more memory than needed, and notice a peer that is gone, while nothing is asked."""
        self._buffer, self._start = self._buffer[self._start :], 0
        with suppress(OSError):
            for option, value in KEEP_ALIVE:
                self._socket.setsockopt(*option, value)

    def go_on(self, policy: Policy, ends_at: float) -> None:
        """Begin another piece of work, with its own limits, deadline and interrupt."""
        self._policy, self._ends_at, self._received = policy, ends_at, 0
        self.allow_silence(policy.idle_timeout)
        policy.interrupt.watch(self._socket)

    def _more(self) -> int:
        """Read into the buffer; returns by how many bytes what is unread moved towards its front."""
        moved = self._start
        del self._buffer[:moved]
        self._start = 0
        chunk = bytearray(CHUNK)
        with memoryview(chunk) as view:
            self._buffer += view[: self.receive_into(view)]
        return moved

    def receive_into(self, view: memoryview) -> int:
        """Wait for bytes and write them into `view`, past the buffer of `line`. Returns how many, never 0."""
        try:
            self._set_timeout()
            count = self._socket.recv_into(view)
        except (OSError, ValueError) as error:
            raise self.failure(error) from None
        if count == 0:
            raise self._too_late() if self._policy.interrupt.ended else self.hung_up()
        self._received += count
        if self._received > self._policy.max_session:
            raise self._protocol_violation(f"more than {self._policy.max_session >> 20} MiB in one session")
        return count

    # -- writing, TLS, time ----------------------------------------------------------

    def send(self, data: bytes) -> None:
        self._timed_at = float("-inf")
        try:
            self._set_timeout()
            self._socket.sendall(data)
        except (OSError, ValueError) as error:
            raise self.failure(error) from None

    def send_credentials(self, data: bytes) -> None:
        """Write all of `data`, which holds (a part of) the password: from now on `server_text` is empty."""
        self.credentials_sent += 1
        self.send(data)

    def server_text(self, text: bytes) -> str:
        """A text of the server, fit to be shown; nothing once it may have the password to repeat."""
        return "" if self.credentials_sent else shown(text)

    def encrypt(self, context: ssl.SSLContext) -> str:
        """Shake hands and verify the server as `host`. Returns the version, such as TLSv1.3.

        Raises ssl.SSLError and OSError as they come: `connect` puts them into words.
        """
        self._timed_at = float("-inf")
        self._set_timeout()
        wrapped = context.wrap_socket(self._socket, server_hostname=self.host, do_handshake_on_connect=False)
        self._socket = wrapped
        self._policy.interrupt.watch(wrapped)
        wrapped.do_handshake()
        return wrapped.version() or "TLS"

    def close(self) -> None:
        """Close the connection, however it stands."""
        with suppress(OSError):
            self._socket.close()

    def allow_silence(self, seconds: float) -> None:
        """From now on the server may say nothing for so long, within the session's deadline."""
        self._idle_timeout = seconds
        self._timed_at = float("-inf")

    def seconds_left(self) -> float:
        """Until the session's deadline; negative afterwards."""
        return self._ends_at - time.monotonic()

    def _set_timeout(self) -> None:
        """At most until the deadline. Setting it costs a system call, so not before every read."""
        now = time.monotonic()
        left = self._ends_at - now
        if left <= 0 or self._policy.interrupt.ended:
            raise self._too_late()
        if now - self._timed_at > FRESH:
            self._socket.settimeout(min(left, self._idle_timeout))
            self._timed_at = now

    # -- errors ----------------------------------------------------------------------

    def error(self, what: str, remedy: str, *, permanent: bool = False, reason: str = "") -> MailError:
        """What the server did, as an error of the step that the session is at."""
        return MailError(self.step, f"{self.host} {what}", remedy, permanent=permanent, reason=reason)

    def failure(self, error: Exception) -> MailError:
        """What went wrong on the socket, in words."""
        if isinstance(error, TimeoutError) or self._policy.interrupt.ended:
            return self._too_late()
        if isinstance(error, ssl.SSLError):
            return self.error("broke the encrypted connection.", "Try again later.")
        return self.hung_up()

    def _too_late(self) -> MailError:
        remedy = "Check the port and the kind of encryption, or try again later."
        return self.error("did not answer in time.", remedy)

    def hung_up(self) -> HungUp:
        """The server has ended the connection."""
        return HungUp(self.step, f"{self.host} closed the connection.", "Check the port, or try again later.")

    def _protocol_violation(self, what: str) -> MailError:
        return self.error(f"sent {what}, so it may not be a mail server.", "Check the name and the port.")
