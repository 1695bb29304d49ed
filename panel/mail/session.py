"""One session with a mail server: name, connect, tls, login, then what the protocol adds; and probing it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import ClassVar, Generic, Self, TypeVar

from panel.errors import MailError
from panel.mail import connect, sasl_oauth
from panel.mail.client import ProtocolClient
from panel.mail.policy import Policy
from panel.mail.server import MailServer
from panel.secret import Secret

SECURITIES = frozenset({"tls", "starttls", "none"})
# A person waits meanwhile, and a thread of the web server is held, which counts as stuck
# where none of its threads answers for half a minute (`panel.serve.children`).
PROBE_SECONDS, PROBE_IDLE_SECONDS = 25.0, 15.0

C = TypeVar("C", bound=ProtocolClient)


@dataclass(frozen=True)
class ProbeStep:
    """One step of a probe; `remedy` is what to do if it failed.

    `name` is name, connect, tls or login; at last folder (IMAP), count (POP3) or send (SMTP).
    `error` is what it failed with, where that was the mail server's doing.
    """

    name: str
    ok: bool
    seconds: float
    message: str
    remedy: str = ""
    messages: int | None = None  # how many the mailbox holds, once that is known
    error: MailError | None = None


def interactive(policy: Policy) -> Policy:
    """The same limits, with a deadline for a person who waits."""
    deadline, idle = min(policy.deadline, PROBE_SECONDS), min(policy.idle_timeout, PROBE_IDLE_SECONDS)
    return replace(policy, deadline=deadline, idle_timeout=idle)


class MailSession(Generic[C]):
    """Logged in inside `with`. Every method raises MailError."""

    client_type: ClassVar[type[ProtocolClient]]

    def __init__(self, endpoint: MailServer, secret: Secret, policy: Policy) -> None:
        self.host = endpoint.host
        self._endpoint = endpoint
        self._secret = secret
        self._policy = policy
        self._ends_at = time.monotonic() + policy.deadline
        self._connected: C | None = None
        self._closed = False
        self._held: int | None = None  # messages, as a probe has counted them

    def __enter__(self) -> Self:
        try:
            for _ in self._login_steps():
                pass
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Say goodbye without waiting for an answer, and close. May be called twice."""
        if self._connected is None or self._closed:
            return
        self._closed = True
        if self._connected.logged_in:
            with suppress(MailError):
                self._connected.wire.send(self._connected.goodbye)
        self._connected.wire.close()

    @property
    def ended(self) -> bool:
        """Whether nothing more can be asked of it."""
        return self._closed

    def seconds_left(self) -> float:
        """Until the deadline of this session; who fetches stops before it."""
        return self._ends_at - time.monotonic()

    def probe(self) -> Iterator[ProbeStep]:
        """Each step as soon as it is done, ending with the first that fails; then the session is closed.

        Raises nothing that a server, a network or a typing error can cause.
        """
        started = time.monotonic()
        try:
            for name, message in self._probe_steps():
                yield ProbeStep(name, True, time.monotonic() - started, message, messages=self._held)
                started = time.monotonic()
        except MailError as error:
            seconds = time.monotonic() - started
            yield ProbeStep(error.step, False, seconds, error.message, error.remedy, error=error)
        finally:
            self.close()

    def _open(self) -> None:
        """What follows logging in."""

    def _probe_steps(self) -> Iterator[tuple[str, str]]:
        """Each step when it is done: its name and what it found."""
        return self._login_steps()

    def _client(self, step: str) -> C:
        """The connection, for what is now done."""
        if self._connected is None or self._closed:
            raise MailError(step, f"The session with {self.host} has ended.", "Try again later.")
        self._connected.wire.step = step
        return self._connected

    # -- the login sequence, the same for every protocol ---------------------------------

    def _login_steps(self) -> Iterator[tuple[str, str]]:
        endpoint, policy = self._endpoint, self._policy
        self._require_known_kinds()
        found = connect.resolve(endpoint, policy, min(policy.connect_timeout, self.seconds_left()))
        yield "name", f"{endpoint.host} is {', '.join(dict.fromkeys(str(one.ip) for one in found))}."
        wire = connect.dial(endpoint.host, found, policy, self._ends_at)
        client: C = self.client_type(wire, policy, endpoint, self._secret)  # type: ignore[assignment]
        self._connected = client
        if endpoint.security != "tls":
            client.greeting()
        yield "connect", f"{endpoint.host} answers on port {endpoint.port}."
        yield "tls", self._encrypt(client)
        client.wire.step = "login"
        client.login()
        self._secret = Secret("")  # a session may stay open for days
        by_token = endpoint.auth_method == "oauth"
        yield "login", f"Signed in {'to' if by_token else 'as'} {endpoint.username}."

    def _require_known_kinds(self) -> None:
        endpoint = self._endpoint
        if endpoint.security not in SECURITIES:
            raise MailError("tls", "The kind of encryption is not known.", "Choose TLS.", permanent=True)
        if endpoint.auth_method == "oauth":
            sasl_oauth.require_sendable(endpoint.username, self._secret)
        elif endpoint.auth_method != "plain" or "\0" in endpoint.username:
            remedy = "Choose username and password, and enter the username again."
            raise MailError("login", "The login method is not known.", remedy, permanent=True)

    def _encrypt(self, client: C) -> str:
        client.wire.step = "tls"
        if self._endpoint.security == "none":
            return "Not encrypted: the mail server runs on this server."
        if self._endpoint.security == "starttls":
            client.starttls()
        version = connect.encrypt(client.wire, self._policy, client.check_port)
        if self._endpoint.security == "tls":
            client.greeting()
        return f"Encrypted with {version}. The certificate is valid for {self._endpoint.host}."
