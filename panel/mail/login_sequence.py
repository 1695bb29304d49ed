"""The way into a mail server, step by step, the same for every protocol: name, connect, tls, login."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar

from panel.errors import MailError
from panel.mail import addresses, connect
from panel.mail.policy import Policy
from panel.mail.refusal import ServerRefused, login_failure
from panel.mail.server import MailServer
from panel.mail.wire import Wire
from panel.secret import Secret

SECURITIES = frozenset({"tls", "starttls", "none"})


class Talk(Protocol):
    """One connection, in the words of its protocol. All raise MailError; `login` also ServerRefused."""

    wire: Wire

    def greeting(self) -> None:
        """Wait for the server to begin."""

    def starttls(self) -> None:
        """Ask to go on encrypted; refuse what was sent before that."""

    def login(self) -> None:
        """Log in with what the endpoint's user and secret are."""


T = TypeVar("T", bound=Talk)
Speak = Callable[[Wire, Policy, str, Secret], T]


class LoginSequence(Generic[T]):
    """`steps()` goes it; `talk` is the connection from the moment there is one, for the caller to close."""

    def __init__(
        self, endpoint: MailServer, secret: Secret, policy: Policy, ends_at: float, speak: Speak[T]
    ) -> None:
        self.talk: T | None = None
        self._speak = speak
        self._endpoint = endpoint
        self._secret = secret
        self._policy = policy
        self._ends_at = ends_at

    def steps(self) -> Iterator[tuple[str, str]]:
        """Each step when it is done: its name and what it found. Raises MailError at the one that fails."""
        endpoint, policy = self._endpoint, self._policy
        self._refuse_unknown_kinds()
        found = addresses.resolve(
            endpoint, policy, min(policy.connect_timeout, self._ends_at - time.monotonic())
        )
        yield "name", f"{endpoint.host} is {', '.join(dict.fromkeys(str(one.ip) for one in found))}."
        wire = connect.dial(endpoint.host, found, policy, self._ends_at)
        talk = self.talk = self._speak(wire, policy, endpoint.username, self._secret)
        if endpoint.security != "tls":
            talk.greeting()
        yield "connect", f"{endpoint.host} answers on port {endpoint.port}."
        yield "tls", self._encrypt(talk)
        self._log_in(talk)
        yield "login", f"Logged in as {endpoint.username}."

    def _refuse_unknown_kinds(self) -> None:
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

    def _encrypt(self, talk: T) -> str:
        talk.wire.step = "tls"
        if self._endpoint.security == "none":
            return "Not encrypted: the server runs on this very machine."
        if self._endpoint.security == "starttls":
            talk.starttls()
        version = connect.encrypt(talk.wire, self._policy)
        if self._endpoint.security == "tls":
            talk.greeting()
        return f"Encrypted with {version}, and the certificate is valid for {self._endpoint.host}."

    def _log_in(self, talk: T) -> None:
        talk.wire.step = "login"
        try:
            talk.login()
        except ServerRefused as refused:
            raise login_failure(refused, self._endpoint.host) from None
