"""The target that hands a message to an LMTP server (RFC 2033), over the panel's own wire."""

from __future__ import annotations

import re
import socket
import time
from contextlib import suppress
from dataclasses import replace

from panel.deliver.message import Disposition, OutgoingMessage, TryResult, result
from panel.deliver.targets import RECIPIENT, LmtpTarget
from panel.errors import MailError
from panel.mail import connect
from panel.mail.policy import Policy
from panel.mail.server import MailServer
from panel.mail.smtp_data import as_data
from panel.mail.wire import HungUp, Wire

REPLY = re.compile(rb"([2-5][0-9]{2})([ -]|\Z)(.*)", re.DOTALL)
MOST_LINES = 100  # of one reply
CONNECT_SECONDS = 10.0


def deliver(target: LmtpTarget, message: OutgoingMessage, policy: Policy) -> TryResult:
    """Hand it over. 250 at the end: delivered; 5xx to RCPT or DATA: refused; everything else: later."""
    recipient = target.recipient or message.mailbox
    if not RECIPIENT.match(recipient):
        return result(Disposition.LATER, "The mailbox has no address that LMTP can name.")
    try:
        wire = _dial(target, policy)
        try:
            return _converse(wire, message, recipient)
        finally:
            wire.close()
    except MailError as error:
        return result(Disposition.LATER, error.message)


def _dial(target: LmtpTarget, policy: Policy) -> Wire:
    ends_at = time.monotonic() + target.timeout
    policy = replace(policy, connect_timeout=CONNECT_SECONDS, idle_timeout=target.timeout, max_line=2048)
    if target.address.startswith("/"):
        return _dial_socket(target.address, policy, ends_at)
    host, _, port = target.address.rpartition(":")
    where = MailServer("lmtp", host.strip("[]"), int(port), "", "")
    web = replace(policy, ports=frozenset({where.port}))
    return connect.dial(where.host, connect.resolve(where, web, CONNECT_SECONDS), web, ends_at)


def _dial_socket(path: str, policy: Policy, ends_at: float) -> Wire:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(CONNECT_SECONDS)
        connection.connect(path)
    except OSError as error:
        connection.close()
        why = (error.strerror or "no answer in time").lower()
        raise MailError("connect", f"{path} cannot be reached: {why}.", "Check the path.") from None
    return Wire(connection, path, policy, ends_at)


def _converse(wire: Wire, message: OutgoingMessage, recipient: str) -> TryResult:
    code, text = _reply(wire)
    if code == 220:
        code, text = _command(wire, "LHLO [127.0.0.1]")
    if code != 250:
        return result(Disposition.LATER, f"{code} {text}")
    offered = {word.split(" ")[0].upper() for word in text.split("\n")[1:]}
    extras = [f"SIZE={message.size}"] if "SIZE" in offered else []
    extras += ["BODY=8BITMIME"] if "8BITMIME" in offered else []
    extras += [f"ENVID={message.id}"] if "DSN" in offered else []
    extras += ["SMTPUTF8"] if "SMTPUTF8" in offered and not recipient.isascii() else []
    code, text = _command(wire, " ".join(["MAIL FROM:<>", *extras]))
    if code != 250:
        return result(Disposition.LATER, f"{code} {text}")
    code, text = _command(wire, f"RCPT TO:<{recipient}>")
    if code // 100 == 2:
        code, text = _command(wire, "DATA")
        if code == 354:
            code, text = _hand_over(wire, message)
        elif code < 400:  # an answer to something else: the server has no message
            return result(Disposition.LATER, f"{code} {text}")
    disposition = {2: Disposition.DELIVERED, 5: Disposition.REFUSED}.get(code // 100, Disposition.LATER)
    return result(disposition, f"{code} {text}")


def _hand_over(wire: Wire, message: OutgoingMessage) -> tuple[int, str]:
    """Send the message. The answer to it, or the refusal of a server that hung up before its end."""
    message.file.seek(0)
    whole = False
    with suppress(HungUp):
        for piece in as_data(message.file):
            wire.send(piece)
        wire.send(b".\r\n")
        whole = True
    code, text = _reply(wire)
    if not whole and code < 400:
        raise wire.hung_up()
    return code, text


def _command(wire: Wire, line: str) -> tuple[int, str]:
    wire.step = "send"
    wire.send(f"{line}\r\n".encode())
    return _reply(wire)


def _reply(wire: Wire) -> tuple[int, str]:
    """The code and the text, its lines kept. Raises MailError for what is no reply."""
    lines = []
    for _ in range(MOST_LINES):
        found = REPLY.match(wire.line())
        if found is None:
            break
        lines.append(found[3].decode("utf-8", "replace"))
        if found[2] != b"-":
            return int(found[1]), "\n".join(lines)
    raise wire.error("does not answer as an LMTP server.", "Check the address.")
