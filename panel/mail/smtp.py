"""Sending a message over SMTP; and trying out whether that works."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from copy import deepcopy
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import formatdate, make_msgid

from panel.errors import BadInput, MailError
from panel.mail import steps
from panel.mail.address import to_wire
from panel.mail.login_sequence import LoginSequence
from panel.mail.policy import Policy
from panel.mail.refusal import ServerRefused, failure
from panel.mail.server import MailServer
from panel.mail.smtp_protocol import Smtp
from panel.mail.steps import Step
from panel.secret import Secret


def probe(endpoint: MailServer, secret: Secret, policy: Policy) -> Iterator[Step]:
    """Try out an endpoint up to logging in: each step as soon as it is done, up to the first that fails.

    Raises nothing that a server, a network or a typing error can cause.
    """
    session = _Session(endpoint, secret, steps.interactive(policy))
    return steps.timed(session.steps(), session.close)


def send(
    endpoint: MailServer,
    secret: Secret,
    policy: Policy,
    message: EmailMessage,
    sender: str,
    recipients: Sequence[str],
) -> None:
    """Hand `message` over. A recipient that is refused refuses the whole message.

    Raises MailError; then nobody has it, or the connection broke at the very end. What
    the server does after it took the message is no error.
    """
    session = _Session(endpoint, secret, steps.interactive(policy))
    try:
        for _ in session.steps():
            pass
        session.send(message, sender, recipients)
    finally:
        session.close()


def trial_message(address: str) -> EmailMessage:
    """What is sent to try an account out: to itself. Raises BadInput for what cannot be an address."""
    message = EmailMessage()
    domain = to_wire(address).rpartition("@")[2]
    message["From"] = message["To"] = address
    message["Subject"] = "Test message from Mailkeep"
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(domain=domain)
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's absence note answers it
    message.set_content("Mailkeep can send mail through this account.\n")
    return message


class _Session:
    def __init__(self, endpoint: MailServer, secret: Secret, policy: Policy) -> None:
        self._way_in = LoginSequence(endpoint, secret, policy, time.monotonic() + policy.deadline, Smtp)

    def steps(self) -> Iterator[tuple[str, str]]:
        return self._way_in.steps()

    def send(self, message: EmailMessage, sender: str, recipients: Sequence[str]) -> None:
        smtp = self._way_in.talk
        assert smtp is not None  # the steps were gone
        smtp.wire.step = "send"
        try:
            data, options, envelope = _encoded(smtp, message, [sender, *recipients])
            smtp.command(b"MAIL FROM:<%s>%s" % (envelope[0], options))
            for recipient in envelope[1:]:
                smtp.command(b"RCPT TO:<%s>" % recipient)
            smtp.command(b"DATA", b"354")
            smtp.wire.send(data)
            smtp.command(b".")
        except ServerRefused as refused:
            host, remedy = smtp.wire.host, "See whether this account may send as its address."
            raise failure(refused, host, "send", f"{host} did not take the message.", remedy) from None
        except BadInput as error:
            raise MailError("send", error.message, "Correct it.", permanent=True) from None

    def close(self) -> None:
        smtp = self._way_in.talk
        if smtp is None:
            return
        with suppress(MailError):
            smtp.wire.send(b"QUIT\r\n")
        smtp.wire.close()


def _encoded(
    smtp: Smtp, message: EmailMessage, addresses: Sequence[str]
) -> tuple[bytes, bytes, Sequence[bytes]]:
    """The message as DATA, dot-stuffed and ended by CRLF; the options of MAIL FROM; the addresses.

    The body is in 7 bits whatever is in it, which every server takes. Raises BadInput, MailError.
    """
    envelope = [to_wire(address) for address in addresses]
    international = not all(address.isascii() for address in envelope)
    if international and b"SMTPUTF8" not in smtp.capabilities:
        raise MailError(
            "send",
            f"{smtp.wire.host} takes only addresses whose part before the @ is in ASCII.",
            "Send from and to an address without such letters.",
            permanent=True,
        )
    if international:
        raw = message.as_bytes(policy=SMTPUTF8.clone(cte_type="7bit"))
        options, envelope = b" SMTPUTF8", list(addresses)
    else:
        raw = _with_wire_addresses(message).as_bytes(policy=SMTP.clone(cte_type="7bit"))
        options = b""
    lines = [b"." + line if line.startswith(b".") else line for line in raw.splitlines()]
    return b"\r\n".join(lines) + b"\r\n", options, [address.encode() for address in envelope]


def _with_wire_addresses(message: EmailMessage) -> EmailMessage:
    """The message with the domains in its address fields in ASCII too."""
    changed = deepcopy(message)
    for name in ("From", "To", "Cc"):
        field = message[name]
        if field is not None and not str(field).isascii():
            people = [
                Address(one.display_name, one.username, to_wire(one.addr_spec).rpartition("@")[2])
                for one in field.addresses
            ]
            changed.replace_header(name, ", ".join(map(str, people)))
    return changed
