"""A real SMTP server (aiosmtpd) on loopback, over TLS and STARTTLS, that keeps what it is handed."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.running import free_port
from tests.servers.certificates import Certificate


@dataclass(frozen=True)
class Taken:
    """One message as it came over the wire."""

    sender: str
    recipients: list[str]
    data: bytes


class _Handler:
    def __init__(self, taken: list[Taken], refused: set[str], logs_in: bool) -> None:
        self._taken = taken
        self._refused = refused
        self._logs_in = logs_in

    async def handle_EHLO(
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        return [line for line in responses if self._logs_in or "AUTH" not in line]

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self._refused:
            return "550 5.1.1 No such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        self._taken.append(Taken(str(envelope.mail_from), list(envelope.rcpt_tos), envelope.content))
        return "250 taken"


class _Patient(SMTP):
    line_length_limit = 12288  # RFC 4954, 4: the answers of AUTH may be longer than other lines

    async def smtp_MAIL(self, arg: str | None) -> None:
        """As aiosmtpd's, which does not know that a relay may name who signed in there (RFC 4954, 5)."""
        await super().smtp_MAIL((arg or "").partition(" AUTH=")[0])


class _Controller(Controller):
    def factory(self) -> SMTP:
        return _Patient(self.handler, **self.SMTP_kwargs)


class SmtpServer:
    """Runs from construction to `stop()`; `taken` is what it was handed, `users` who may log in."""

    host = "localhost"

    def __init__(self, certificate: Certificate, **options: Any) -> None:
        """`options` go to aiosmtpd, for example `auth_exclude_mechanism=["PLAIN"]`."""
        self.taken: list[Taken] = []
        self.refused: set[str] = set()
        self.users: dict[bytes, bytes] = {}
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.chain, certificate.key)
        handler = _Handler(self.taken, self.refused, options.get("auth_required", True))
        common: dict[str, Any] = {
            "hostname": "127.0.0.1", "authenticator": self._authenticate, "auth_required": True,
            "auth_require_tls": False, "enable_SMTPUTF8": True, **options,
        }  # fmt: skip
        self.tls_port, self.starttls_port = free_port(), free_port()
        self._controllers = [
            _Controller(handler, port=self.tls_port, ssl_context=context, **common),
            _Controller(
                handler, port=self.starttls_port, tls_context=context, require_starttls=True, **common
            ),
        ]
        for controller in self._controllers:
            controller.start()

    def _authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        return AuthResult(success=self.users.get(data.login) == data.password, handled=False)

    def stop(self) -> None:
        """End it."""
        for controller in self._controllers:
            controller.stop()
