"""Logging in by an access token: SASL XOAUTH2 (Google, Microsoft) and OAUTHBEARER (RFC 7628).

Both send the token in one response. A server that refuses it may first send a challenge
that says why, which has to be answered before it completes the command.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass

from panel.errors import MailError
from panel.mail.server import MailServer
from panel.secret import Secret

LONGEST_TOKEN = 2**15  # characters; Microsoft's have 2,000 to 5,000
LONG_TOKEN = 4000  # characters that every server is expected to read; Dovecot 2.3 reads 6,000
LONGEST_USER = 1024  # characters
LONGEST_CHALLENGE = 4096  # characters that are looked at
UNSENDABLE = frozenset("\x00\x01\r\n")  # would end the user early, or a line
TOKEN = re.compile(r"[\x21-\x7e]+\Z")
STATUS = re.compile(rb'"status"\s{0,9}:\s{0,9}"([A-Za-z0-9_]{1,40})"')


def xoauth2(server: MailServer, token: Secret) -> bytes:
    """The response of XOAUTH2, before base64."""
    return b"user=%s\x01auth=Bearer %s\x01\x01" % (server.username.encode(), token.reveal_bytes())


def oauthbearer(server: MailServer, token: Secret) -> bytes:
    """The response of OAUTHBEARER (RFC 7628, 3.1), before base64."""
    user = server.username.replace("=", "=3D").replace(",", "=2C").encode()  # saslname of RFC 5801
    place = b"host=%s\x01port=%d\x01" % (server.host.encode(), server.port)
    return b"n,a=%s,\x01%sauth=Bearer %s\x01\x01" % (user, place, token.reveal_bytes())


@dataclass(frozen=True)
class TokenMechanism:
    """One of the two: how its response is made, and what answers a challenge that says no."""

    name: str
    response: Callable[[MailServer, Secret], bytes]
    ending: bytes


# In the order of preference: docs/decisions/0042.
MECHANISMS = (
    TokenMechanism("XOAUTH2", xoauth2, b""),
    TokenMechanism("OAUTHBEARER", oauthbearer, b"AQ=="),  # ^A, RFC 7628, 3.2.3
)


class TokenExchange:
    """The client's side of one login: what is written for each challenge.

    `initial`: the token goes with the command (`begin`), not on a line of its own.
    `status` is what a challenge named as the reason of a refusal; "" as long as there was none.
    """

    def __init__(
        self, mechanism: TokenMechanism, server: MailServer, token: Secret, *, initial: bool = False
    ) -> None:
        self.initial = initial
        self.refused = False  # by a challenge
        self.status = ""
        self.sent = False  # whether the server has the token
        self._response = base64.b64encode(mechanism.response(server, token))
        self._ending = mechanism.ending
        self._asks_again = False  # whether an empty challenge may mean that the token was not read yet

    def begin(self) -> bytes:
        """The token, for the command itself."""
        self.sent = self._asks_again = True
        return self._response

    def answer(self, challenge: bytes) -> bytes | None:
        """What to write for a challenge: the token, the end of a refusal, or None: it asks for too much."""
        if not self.sent or (self._asks_again and not challenge.strip()):
            self.sent, self._asks_again = True, False
            return self._response
        if self.refused:
            return None
        self.refused = True
        self.status = refused_status(challenge)
        return self._ending


def refused_status(challenge: bytes) -> str:
    """The status in the challenge of a server that refused a token, such as 401 or invalid_token; or "".

    Nothing else of it is read: it may repeat the token.
    """
    encoded = challenge.strip()[:LONGEST_CHALLENGE]
    try:
        text = base64.b64decode(encoded[: len(encoded) // 4 * 4])
    except ValueError:
        return ""
    found = STATUS.search(text)
    return found[1].decode().lower() if found else ""


def require_sendable(user: str, token: Secret) -> None:
    """Raise MailError for a user or token that would say something else once it is sent."""
    if len(user) > LONGEST_USER or UNSENDABLE & set(user):
        remedy = "Enter it again."
        raise MailError("login", "The username cannot be sent to a mail server.", remedy, permanent=True)
    text = token.reveal()
    if len(text) > LONGEST_TOKEN or not TOKEN.match(text):
        raise MailError(
            "login", "The provider's access token cannot be sent to a mail server.",
            "Connect the mailbox again.", permanent=True, reason="token-refused", token_refused=True,
        )  # fmt: skip
