"""Logging in over IMAP: which ways a server offers, and which it refuses without looking at the password.

A refused password is never sent again: servers lock accounts out for that.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from panel.errors import MailError
from panel.mail.imap_words import quoted
from panel.mail.refusal import MECHANISM, PASSWORD, ServerRefused, recognised, refused_mechanisms
from panel.mail.sasl import sasl_plain
from panel.secret import Secret

if TYPE_CHECKING:
    from panel.mail.imap_protocol import Imap

LONGEST_INITIAL = 900  # a longer response of SASL goes on a line of its own
ABOUT_THE_PASSWORD = frozenset({"AUTHENTICATIONFAILED", "AUTHORIZATIONFAILED", "EXPIRED"})

Way = Callable[[], None]


def login(imap: Imap, offered: frozenset[bytes], username: str, secret: Secret) -> None:
    """Log in by PLAIN, LOGIN (both SASL, in UTF-8) or the LOGIN command (ASCII only), whatever is offered.

    Raises ServerRefused where the password, or logging in for now, was refused;
    MailError where nothing that is offered fits.
    """
    ways = _ways(imap, offered, username, secret)
    refused = None
    for way in ways.values():
        before = imap.wire.credentials_sent
        try:
            return way()
        except ServerRefused as refusal:
            if not _is_the_mechanism(refusal, imap.wire.credentials_sent > before):
                raise
            refused = refusal
    if refused is not None:
        raise refused_mechanisms(refused, imap.wire.host, list(ways))
    what = "takes only letters of ASCII, in username and password"
    if b"LOGINDISABLED" in offered:
        what = "takes no password here"
    raise MailError(
        "login",
        f"{imap.wire.host} {what}: it offers no SASL PLAIN.",
        "Ask its provider how mail programs log in.",
        permanent=True,
    )


def _ways(imap: Imap, offered: frozenset[bytes], username: str, secret: Secret) -> dict[str, Way]:
    """The ways that are offered, each tried at most once, in this order."""
    mechanisms = _mechanisms(offered)
    plain = base64.b64encode(sasl_plain(username, secret))
    pair = [base64.b64encode(username.encode()), base64.b64encode(secret.reveal_bytes())]
    ways: dict[str, Way] = {}
    at_once = {"PLAIN in one line": lambda: _authenticate(imap, b"PLAIN " + plain, [plain])}
    if b"PLAIN" not in mechanisms or len(plain) > LONGEST_INITIAL:
        at_once.clear()
    if b"SASL-IR" in offered:
        ways |= at_once
    if b"PLAIN" in mechanisms:
        ways["PLAIN"] = lambda: _authenticate(imap, b"PLAIN", [plain])
    if b"LOGIN" in mechanisms:
        ways["LOGIN"] = lambda: _authenticate(imap, b"LOGIN", pair)
    words = (username, secret.reveal())
    fits = all(word.isascii() and not any(c in word for c in "\r\n\0") for word in words)
    if fits and b"LOGINDISABLED" not in offered:
        ways["the LOGIN command"] = lambda: _command(imap, [word.encode() for word in words])
    return ways | at_once  # at last without having been offered


def _mechanisms(offered: frozenset[bytes]) -> set[bytes]:
    """What stands behind AUTH=; and beside it, where a server writes `AUTH=PLAIN LOGIN`."""
    named = {name for word in offered if word.startswith(b"AUTH=") for name in word[5:].split(b",")}
    return named | {word for word in offered if named and word in (b"PLAIN", b"LOGIN")}


def _authenticate(imap: Imap, command: bytes, responses: list[bytes]) -> None:
    """AUTHENTICATE: a response for each `+`, until the server says yes or no (RFC 3501, 6.2.2)."""
    left = deque(responses)

    def respond() -> None:
        if left:
            imap.wire.send_credentials(left.popleft() + b"\r\n")
        else:
            imap.wire.send(b"*\r\n")  # it asks for more than the mechanism has: given up

    tag = imap.send(b"AUTHENTICATE " + command, credentials=b" " in command)
    for _ in imap.answers(tag, respond):
        pass


def _command(imap: Imap, words: list[bytes]) -> None:
    for _ in imap.answers(imap.send(b"LOGIN " + b" ".join(map(quoted, words)), credentials=True)):
        pass


def _is_the_mechanism(refused: ServerRefused, was_sent: bool) -> bool:
    """Whether the way of logging in was refused, and not the password, which `was_sent` or not.

    Before the password was sent nothing else can have been. Afterwards BAD is about
    the command, and NO about the password, unless code or words say otherwise.
    """
    if refused.transient:
        return False
    if not was_sent or refused.code == "CANNOT":
        return True
    if refused.code in ABOUT_THE_PASSWORD or recognised(refused):
        return False
    if any(phrase in refused.raw for phrase in PASSWORD):
        return False
    return not refused.understood or any(phrase in refused.raw for phrase in MECHANISM)
