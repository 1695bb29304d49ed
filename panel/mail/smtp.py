"""Sending a message over SMTP; and trying out whether that works."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import formatdate, make_msgid

from panel.errors import MailError
from panel.mail import step
from panel.mail.endpoint import Endpoint
from panel.mail.policy import Policy
from panel.mail.refusal import ServerRefused
from panel.mail.smtp_protocol import Smtp
from panel.mail.step import Step
from panel.mail.way_in import WayIn
from panel.secret import Secret


def probe(endpoint: Endpoint, secret: Secret, policy: Policy) -> Iterator[Step]:
    """Try out an endpoint up to logging in: each step as soon as it is done, up to the first that fails.

    Raises nothing that a server, a network or a typing error can cause.
    """
    session = _Session(endpoint, secret, step.hasty(policy))
    return step.timed(session.steps(), session.close)


def send(
    endpoint: Endpoint,
    secret: Secret,
    policy: Policy,
    message: EmailMessage,
    sender: str,
    recipients: Sequence[str],
) -> None:
    """Hand `message` over. A recipient that is refused refuses the whole message.

    Raises MailError; then nobody has it, or the connection broke at the very end.
    """
    session = _Session(endpoint, secret, step.hasty(policy))
    try:
        for _ in session.steps():
            pass
        session.send(message, sender, recipients)
    finally:
        session.close()


def trial_message(address: str) -> EmailMessage:
    """What is sent to try an account out: to itself."""
    message = EmailMessage()
    message["From"] = message["To"] = address
    message["Subject"] = "Test message from Mailkeep"
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(domain=address.rpartition("@")[2].encode("idna").decode() or "invalid")
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's absence note answers it
    message.set_content("Mailkeep can send mail through this account.\n")
    return message


class _Session:
    def __init__(self, endpoint: Endpoint, secret: Secret, policy: Policy) -> None:
        self._way_in = WayIn(endpoint, secret, policy, time.monotonic() + policy.deadline, Smtp)

    def steps(self) -> Iterator[tuple[str, str]]:
        return self._way_in.steps()

    def send(self, message: EmailMessage, sender: str, recipients: Sequence[str]) -> None:
        smtp = self._way_in.talk
        assert smtp is not None  # the steps were gone
        smtp.wire.step = "send"
        try:
            data, options = _encoded(smtp, message, [sender, *recipients])
            smtp.command(b"MAIL FROM:" + _path(smtp, sender) + options)
            for recipient in recipients:
                smtp.command(b"RCPT TO:" + _path(smtp, recipient))
            smtp.command(b"DATA", b"354")
            smtp.wire.send(data)
            smtp.command(b".")
        except ServerRefused as refused:
            raise MailError(
                "send",
                f"{smtp.wire.host} did not take the message. It says: {refused.text}",
                "See whether this account may send as its address.",
                permanent=not refused.passing,
            ) from None

    def close(self) -> None:
        smtp = self._way_in.talk
        if smtp is None:
            return
        with suppress(MailError):
            smtp.wire.send(b"QUIT\r\n")
        smtp.wire.close()


def _encoded(smtp: Smtp, message: EmailMessage, addresses: Sequence[str]) -> tuple[bytes, bytes]:
    """The message as DATA, dot-stuffed and ended by CRLF, and the options of MAIL FROM that it needs."""
    international = not all(address.isascii() for address in addresses)
    if international and b"SMTPUTF8" not in smtp.capabilities:
        raise MailError(
            "send",
            f"{smtp.wire.host} takes only addresses in ASCII.",
            "Send from and to an address without such letters.",
            permanent=True,
        )
    raw = message.as_bytes(policy=SMTPUTF8 if international else SMTP)
    lines = [b"." + line if line.startswith(b".") else line for line in raw.splitlines()]
    return b"\r\n".join(lines) + b"\r\n", b" SMTPUTF8 BODY=8BITMIME" if international else b""


def _path(smtp: Smtp, address: str) -> bytes:
    if not address.isprintable() or any(c in address for c in "<> "):
        raise MailError(
            "send", f"“{address[:80]}” cannot be an address in SMTP.", "Correct it.", permanent=True
        )
    return b"<" + address.encode() + b">"
