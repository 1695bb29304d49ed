"""A server's refusal, and what people read of it.

Nothing is compared with the password. Before credentials were sent, the server's text
is shown as it came: it cannot repeat what the server has not seen. Afterwards it
is dropped: people read a sentence of ours where the answer is recognised, and response
codes and numbers (docs/decisions/0027).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from panel.errors import MailError
from panel.mail.known_answers import (
    BUSY,
    BY_CLOCK,
    KNOWN,
    KNOWN_OF_TOKENS,
    LOGIN_CODES,
    NO_SCOPE,
    REFUSED_LOGIN,
    REFUSED_TOKEN,
    SCOPE_MISSING,
    KnownRefusal,
)

if TYPE_CHECKING:
    from panel.mail.wire import Wire

LONGEST_SHOWN, LONGEST_READ = 200, 1000  # characters shown of an answer, bytes looked at
RETRIES = "Mailkeep tries again automatically."
IN_COMMANDS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,99}\Z")  # no shell reads anything else into it


class ServerRefused(Exception):
    """A command was refused, with the response `code` of the protocol ("" where it is none that we know).

    `text`: what the server wrote, fit to be shown; empty once credentials were sent.
    `transient`: the same may be granted later, without anybody changing anything; where
    it is not given, the text decides if there is no code.
    `understood`: false where the server did not understand the command (IMAP's BAD).
    `raw`: what the server wrote, to recognise an answer by. Never shown, stored or logged.
    """

    def __init__(
        self,
        code: str,
        text: str,
        *,
        transient: bool | None = None,
        understood: bool = True,
        raw: bytes = b"",
    ) -> None:
        super().__init__(code)
        self.code = code
        self.text = text
        self.understood = understood
        self.raw = raw[:LONGEST_READ].lower()
        self.transient = not code and self.mentions(BUSY) if transient is None else transient

    def mentions(self, phrases: tuple[bytes, ...]) -> bool:
        return any(phrase in self.raw for phrase in phrases)

    @property
    def as_sentence(self) -> str:
        """What may be shown of the answer, as a sentence that follows ours; or nothing."""
        if self.text:
            return f" It says: {self.text}"
        return f" Its code: {self.code}." if self.code else ""


def recognised(refused: ServerRefused, known: tuple[KnownRefusal, ...] = KNOWN) -> KnownRefusal | None:
    """The answer that we know, if it is one."""
    return next((one for one in known if refused.mentions(one.phrases)), None)


def ends_by_clock(text: bytes) -> bool:
    """Whether a goodbye says that only the time of the session or of its token has run out."""
    beginning = text[:LONGEST_READ].lower()
    return any(phrase in beginning for phrase in BY_CLOCK)


def failure(
    refused: ServerRefused, wire: Wire, message: str, remedy: str, *, permanent: bool | None = None
) -> MailError:
    """The refusal as an error for people: the one place where this is done.

    `message` is what people read, unless the answer is recognised. It is permanent
    unless it is transient, or where `permanent` is false.
    """
    if known := recognised(refused):
        return _as_known(known, wire)
    lasting = not refused.transient and permanent is not False
    return MailError(wire.step, message + refused.as_sentence, remedy, permanent=lasting)


def login_failure(refused: ServerRefused, wire: Wire) -> MailError:
    """The refusal to log in as an error for people: not every one is about the password."""
    default = ("cannot open the mailbox now.", RETRIES) if refused.transient else REFUSED_LOGIN
    what, remedy = LOGIN_CODES.get(refused.code, default)
    return failure(refused, wire, f"{wire.host} {what}", remedy)


def token_failure(refused: ServerRefused, wire: Wire, status: str) -> MailError:
    """As `login_failure`, of an access token. `status` is what the server's challenge named as the reason.

    The token counts as refused unless the answer says that another one would be refused too.
    """
    if known := recognised(refused, KNOWN_OF_TOKENS) or recognised(refused):
        error = _as_known(known, wire)
        error.token_refused = known in KNOWN and refused.mentions((b"invalid credential",))
        return error
    if refused.transient:
        return login_failure(refused, wire)
    if status in NO_SCOPE:
        what, remedy, reason = (*SCOPE_MISSING, "no-scope")
    elif refused.code == "AUTHORIZATIONFAILED":
        what, remedy, reason = (*LOGIN_CODES[refused.code], "not-connected")
    else:
        what, remedy, reason = (*REFUSED_TOKEN, "token-refused")
    error = failure(refused, wire, f"{wire.host} {what}", remedy)
    error.reason, error.token_refused = reason, reason == "token-refused"
    return error


def refused_mechanisms(refused: ServerRefused, wire: Wire, tried: list[str], secret: str) -> MailError:
    """No mechanism that the server offers was accepted: it never checked the `secret`, named for people."""
    message = f"{wire.host} refused each login method that it offers ({', '.join(tried)}), not the {secret}."
    return failure(refused, wire, message, f"Ask its provider how mail programs sign in with {_a(secret)}.")


def _as_known(known: KnownRefusal, wire: Wire) -> MailError:
    user = wire.username
    message = known.message.format(host=wire.host, user=shown(user.encode()))
    remedy = known.remedy.format(mailbox=user if IN_COMMANDS.match(user) else "MAILBOX")
    return MailError(wire.step, message, remedy, permanent=known.permanent, reason=known.reason)


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def shown(text: bytes) -> str:
    """A text of a server on one line, shortened, control characters escaped."""
    text_read = text[: 4 * LONGEST_SHOWN].decode("utf-8", "backslashreplace").strip()
    clean = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text_read)
    return clean if len(clean) <= LONGEST_SHOWN else clean[: LONGEST_SHOWN - 1] + "…"
