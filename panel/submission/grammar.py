"""The arguments of commands: paths with their options, and what AUTH carries (RFC 5321, 4.1.2; RFC 4616)."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from panel.errors import BadInput
from panel.mail.server import address_to_wire

PATH = re.compile(r"(FROM|TO): ?<([^<>\s]{0,320})>((?: +[^\s]+)*)", re.IGNORECASE)
SIZE = re.compile(r"[0-9]{1,20}")


class BadCommand(Exception):
    """A command that is not understood or allowed; `reply` says why."""

    def __init__(self, reply: str) -> None:
        super().__init__(reply)
        self.reply = reply


@dataclass(frozen=True)
class Route:
    """The address of MAIL or RCPT, "" for the null sender, and the options of MAIL."""

    address: str
    size: int = 0
    eight_bit: bool = False
    utf8: bool = False


def text(line: bytes) -> str:
    """The line as text. Raises BadCommand for control characters and for what is not UTF-8."""
    try:
        decoded = line.decode("utf-8")
    except UnicodeDecodeError:
        raise BadCommand("500 5.5.2 That is not UTF-8.") from None
    if not decoded.isprintable():
        raise BadCommand("500 5.5.2 A command has no control characters.")
    return decoded


def sender(argument: str) -> Route:
    """What follows MAIL. Raises BadCommand."""
    address, options = _path(argument, "FROM")
    found: dict[str, str] = {}
    for option in options:
        name, _, value = option.partition("=")
        if name.upper() in found:
            raise BadCommand("501 5.5.4 An option is given twice.")
        found[name.upper()] = value.upper()
    size, body, utf8 = found.pop("SIZE", "0"), found.pop("BODY", "7BIT"), found.pop("SMTPUTF8", None)
    found.pop("AUTH", None)  # who sent it first, of which nothing is relayed (RFC 4954, 5)
    if found or body not in ("7BIT", "8BITMIME") or utf8 or not SIZE.fullmatch(size):
        raise BadCommand("555 5.5.4 This option is not known here.")
    return Route(_checked(address, allowed=utf8 is not None), int(size), body == "8BITMIME", utf8 is not None)


def recipient(argument: str, *, utf8: bool) -> str:
    """What follows RCPT. Raises BadCommand."""
    address, options = _path(argument, "TO")
    if options:
        raise BadCommand("555 5.5.4 This option is not known here.")
    if not address:
        raise BadCommand("501 5.1.3 The address is empty.")
    return _checked(address, allowed=utf8)


def _path(argument: str, word: str) -> tuple[str, list[str]]:
    found = PATH.fullmatch(argument)
    if found is None or found[1].upper() != word:
        raise BadCommand(f"501 5.5.4 It takes {word}:<name@example.org>.")
    return found[2], found[3].split()


def _checked(address: str, *, allowed: bool) -> str:
    if not address.isascii() and not allowed:
        raise BadCommand("553 5.6.7 This address needs SMTPUTF8.")
    try:
        if address:
            address_to_wire(address)
    except BadInput:
        raise BadCommand("501 5.1.3 That cannot be an address.") from None
    return address


def decoded(response: bytes) -> bytes:
    """A response of AUTH. Raises BadCommand, also where the client gives up."""
    if response == b"*":
        raise BadCommand("501 5.7.0 Signing in was cancelled.")
    try:
        return base64.b64decode(response.strip(), validate=True)
    except binascii.Error:
        raise BadCommand("501 5.5.2 That is not base64.") from None


def plain(response: bytes) -> tuple[str, bytes]:
    """Username and password of SASL PLAIN. Raises BadCommand."""
    parts = decoded(response).split(b"\0")
    if len(parts) != 3 or parts[0] not in (b"", parts[1]):
        raise BadCommand("501 5.5.2 That is not SASL PLAIN.")
    return parts[1].decode("utf-8", "replace"), parts[2]
