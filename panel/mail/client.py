"""What IMAP, POP3 and SMTP share of one connection: STARTTLS, logging in, and how it ends."""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from panel.errors import MailError
from panel.mail import throttling
from panel.mail.policy import Policy
from panel.mail.refusal import ServerRefused, login_failure, refused_mechanisms
from panel.mail.wire import Wire
from panel.secret import Secret

Mechanisms = dict[str, Callable[[], None]]


class ProtocolClient(ABC):
    """The commands of one connection. Every method raises MailError."""

    protocol: ClassVar[str]
    tls_port: ClassVar[int]
    starttls_port: ClassVar[int]
    goodbye: ClassVar[bytes] = b"QUIT\r\n"

    def __init__(self, wire: Wire, policy: Policy, username: str, secret: Secret) -> None:
        self.wire = wire
        self.logged_in = False
        self._policy = policy
        self._username = username
        self._secret = secret
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
        """The offered login methods, in the order to try them. May raise ServerRefused, as each of them."""

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
        """
        try:
            self._log_in()
        except ServerRefused as refused:
            raise login_failure(refused, self.wire) from None
        self.logged_in = True

    def _log_in(self) -> None:
        mechanisms, refused = self._mechanisms(), None
        for log_in in mechanisms.values():
            before = self.wire.credentials_sent
            try:
                return log_in()
            except ServerRefused as refusal:
                was_sent = self.wire.credentials_sent > before
                if refusal.transient or not self._is_about_mechanism(refusal, was_sent=was_sent):
                    raise
                refused = refusal
        if refused is None or (self._ascii_command and not self._fits_ascii()):
            raise self._no_mechanism()
        raise refused_mechanisms(refused, self.wire, list(mechanisms))

    def _no_mechanism(self) -> MailError:
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

    def check_throttling(self, text: bytes) -> None:
        """Raise MailError where a refusal asks for a pause: nothing more is sent, not even a goodbye."""
        seconds = throttling.suggested(text)
        if seconds is not None:
            self.logged_in = False
            raise throttling.asked_to_wait(self.wire.step, self.wire.host, seconds)

    def not_greeted(self, refusal: str | None) -> MailError:
        """The server began with a refusal, or (None) with another protocol."""
        if refusal is not None:
            said = f" It says: {refusal}" if refusal else ""
            return self.wire.error(f"accepts no connections now.{said}", "Try again later.")
        ports = f"{self.protocol} uses {self.tls_port} (TLS) or {self.starttls_port} (STARTTLS)."
        return self.wire.error(f"sent no {self.protocol} greeting.", f"Check the port: {ports}")

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
