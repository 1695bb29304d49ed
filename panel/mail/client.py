"""What IMAP, POP3 and SMTP share of one connection: STARTTLS, logging in, and how it ends."""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from functools import partial
from typing import ClassVar

from panel.errors import MailError
from panel.mail import throttling
from panel.mail.known_answers import KNOWN_OF_TOKENS
from panel.mail.policy import Policy
from panel.mail.refusal import (
    RETRIES,
    ServerRefused,
    ends_by_clock,
    failure,
    login_failure,
    recognised,
    refused_mechanisms,
    token_failure,
)
from panel.mail.sasl_oauth import LONG_TOKEN, MECHANISMS, TokenExchange, TokenMechanism
from panel.mail.server import MailServer
from panel.mail.wire import HungUp, Wire
from panel.secret import Secret

Mechanisms = dict[str, Callable[[], None]]


class ProtocolClient(ABC):
    """The commands of one connection. Every method raises MailError."""

    protocol: ClassVar[str]
    tls_port: ClassVar[int]
    starttls_port: ClassVar[int]
    goodbye: ClassVar[bytes] = b"QUIT\r\n"

    def __init__(self, wire: Wire, policy: Policy, endpoint: MailServer, secret: Secret) -> None:
        """`secret` is a password, or an access token where the endpoint's method is `oauth`."""
        self.wire = wire
        self.logged_in = False
        self._policy = policy
        self._endpoint = endpoint
        self._username = wire.username = endpoint.username
        self._secret = secret
        self._by_token = endpoint.auth_method == "oauth"
        self._challenged = False  # whether the server has refused a token by a challenge,
        self._why_refused = ""  # and the reason that it named
        self._ascii_command = False  # whether a command without SASL can carry a password in ASCII

    @abstractmethod
    def greeting(self) -> None:
        """Wait for the server to begin."""

    @abstractmethod
    def _request_starttls(self) -> None:
        """Raise ServerRefused where STARTTLS is not offered or not granted."""

    @abstractmethod
    def _forget_capabilities(self) -> None:
        """What was offered before TLS or login may be forged, or differ afterwards."""

    @abstractmethod
    def _mechanisms(self) -> Mechanisms:
        """The ways to send a password, in the order to try them. May raise ServerRefused, as each of them."""

    @abstractmethod
    def _offered(self) -> Collection[str]:
        """The names of the SASL mechanisms that are offered. May raise ServerRefused."""

    @abstractmethod
    def _exchange(self, mechanism: str, exchange: TokenExchange) -> None:
        """Log in by an access token. Raises ServerRefused."""

    @abstractmethod
    def _is_about_mechanism(self, refused: ServerRefused, *, was_sent: bool) -> bool:
        """Whether the mechanism was refused, and not the password, which `was_sent` or not."""

    def starttls(self) -> None:
        """Switch to TLS: nothing sent in clear text is read afterwards (RFC 3501, 6.2.1; CVE-2011-0411)."""
        try:
            self._request_starttls()
        except ServerRefused:
            raise self.wire.error(
                "does not begin STARTTLS on this port. No password was sent.",
                f"Choose TLS (port {self.tls_port}). If STARTTLS worked before, "
                "the traffic may be tampered with.",
                permanent=True,
            ) from None
        if self.wire.unread:
            raise self.wire.error(
                "sent more before the encryption than it may. Nothing was sent to it.",
                f"The traffic may be tampered with. Choose TLS (port {self.tls_port}).",
                permanent=True,
            )
        self._forget_capabilities()

    def login(self) -> None:
        """Log in by the first mechanism that the server does not refuse as such.

        A refused password is never sent again: servers lock accounts out for that.
        A token goes only to a server that offers a mechanism for tokens.
        """
        try:
            self._log_in(self._token_mechanisms() if self._by_token else self._mechanisms())
        except ServerRefused as refused:
            if not self._by_token:
                raise login_failure(refused, self.wire) from None
            if not self.wire.credentials_sent:
                what = f"{self.wire.host} refused to let this program sign in. No token was sent."
                raise failure(refused, self.wire, what, RETRIES, permanent=False) from None
            raise token_failure(refused, self.wire, self._why_refused) from None
        self.logged_in = True
        self._secret = Secret("")  # a session may stay open for days

    def _log_in(self, mechanisms: Mechanisms) -> None:
        refused = None
        for log_in in mechanisms.values():
            before = self.wire.credentials_sent
            try:
                return log_in()
            except ServerRefused as refusal:
                was_sent = self.wire.credentials_sent > before
                if (
                    self._challenged
                    or refusal.transient
                    or not self._is_about_mechanism(refusal, was_sent=was_sent)
                ):
                    raise
                refused = refusal
        if refused is None or (not self._by_token and self._ascii_command and not self._fits_ascii()):
            raise self._no_mechanism()
        if self._by_token and recognised(refused, KNOWN_OF_TOKENS):
            raise refused
        secret = "access token" if self._by_token else "password"
        raise refused_mechanisms(refused, self.wire, list(mechanisms), secret)

    def _token_mechanisms(self) -> Mechanisms:
        return {one.name: partial(self._by, one) for one in self._offered_for_tokens()}

    def _offered_for_tokens(self) -> list[TokenMechanism]:
        offered = self._offered()
        return [one for one in MECHANISMS if one.name in offered]

    def _by(self, mechanism: TokenMechanism, *, initial: bool = False) -> None:
        exchange = TokenExchange(mechanism, self._endpoint, self._secret, initial=initial)
        try:
            self._exchange(mechanism.name, exchange)
        except HungUp:
            length = len(self._secret.reveal())
            if not exchange.sent or length <= LONG_TOKEN:
                raise
            what = f"closed the connection when it was sent an access token of {length} characters."
            remedy = "It may be too long for this server. Ask for tokens with fewer groups and claims."
            raise self.wire.error(what, remedy, reason="token-too-long") from None
        finally:
            self._challenged, self._why_refused = exchange.refused, exchange.status
        if not exchange.sent:
            raise self.protocol_violation()  # let in without having seen the token

    def _answer_challenge(self, exchange: TokenExchange, challenge: bytes) -> None:
        answer = exchange.answer(challenge)
        if answer is None:
            raise self.protocol_violation()
        self.wire.send_credentials(answer + b"\r\n")

    def _no_mechanism(self) -> MailError:
        if self._by_token:
            return self.wire.error(
                "does not offer to sign in by access token (XOAUTH2, OAUTHBEARER). No token was sent.",
                "Check the name of the server, or choose username and password.",
                permanent=True, reason="no-token-login",
            )  # fmt: skip
        only_ascii = self._ascii_command and not self._fits_ascii()
        what = (
            "accepts only ASCII characters in username and password" if only_ascii else "accepts no password"
        )
        remedy = "Ask its provider how mail programs sign in."
        return self.wire.error(f"{what}: it offers no SASL PLAIN.", remedy, permanent=True)

    def _fits_ascii(self) -> bool:
        texts = (self._username, self._secret.reveal())
        return all(text.isascii() and not {"\r", "\n", "\0"} & set(text) for text in texts)

    def _plain_response(self) -> bytes:
        """The response of SASL PLAIN (RFC 4616): no authorization identity, then both in UTF-8."""
        return base64.b64encode(b"\0" + self._username.encode() + b"\0" + self._secret.reveal_bytes())

    def _login_responses(self) -> list[bytes]:
        """The two responses of SASL LOGIN."""
        return [base64.b64encode(self._username.encode()), base64.b64encode(self._secret.reveal_bytes())]

    def check_refusal(self, text: bytes) -> None:
        """Raise MailError where a refusal asks for a pause, or says that the session's time has run out.

        Nothing more is sent then, not even a goodbye.
        """
        seconds = throttling.suggested(text)
        if seconds is not None:
            self.logged_in = False
            raise throttling.asked_to_wait(self.wire.step, self.wire.host, seconds, text)
        if self.logged_in and ends_by_clock(text):
            self.logged_in = False
            message = f"{self.wire.host} ended the session: its time, or its access token's, has run out."
            raise HungUp(self.wire.step, message, RETRIES, session_ended=True)

    def not_greeted(self, refusal: str | None) -> MailError:
        """The server began with a refusal, or (None) with another protocol."""
        if refusal is not None:
            said = f" It says: {refusal}" if refusal else ""
            return self.wire.error(f"accepts no connections now.{said}", "Try again later.")
        return self.wire.error(f"sent no {self.protocol} greeting.", self.check_port)

    @property
    def check_port(self) -> str:
        """What to do where the port may be that of another protocol or encryption."""
        ports = f"{self.protocol} uses {self.tls_port} (TLS) or {self.starttls_port} (STARTTLS)."
        return f"Check the port: {ports}"

    def protocol_violation(self) -> MailError:
        """The server speaks another protocol."""
        what = f"sent an answer that is not {self.protocol}."
        return self.wire.error(what, "Check the name and the port, or try again later.")

    def too_much(self) -> MailError:
        """The server sends without end."""
        return self.wire.error(
            "sent more than a mail server can have to send.",
            "Check the name of the server. If it is right, ask its provider.",
        )
