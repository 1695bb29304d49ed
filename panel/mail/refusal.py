"""A server's refusal, and what people read of it.

Nothing is compared with the password. Before credentials were sent, the server's text
is shown as it came: it cannot repeat what the server has not seen. Afterwards it
is dropped: people read a sentence of ours where the answer is recognised, and response
codes and numbers (docs/decisions/0027).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from panel.errors import MailError

if TYPE_CHECKING:
    from panel.mail.wire import Wire

LONGEST_SHOWN, LONGEST_READ = 200, 1000  # characters shown of an answer, bytes looked at
RETRIES = "Mailkeep tries again automatically."


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
        """Whether the server's text holds one of `phrases`."""
        return any(phrase in self.raw for phrase in phrases)

    @property
    def as_sentence(self) -> str:
        """What may be shown of the answer, as a sentence that follows ours; or nothing."""
        if self.text:
            return f" It says: {self.text}"
        return f" Its code: {self.code}." if self.code else ""


@dataclass(frozen=True)
class KnownRefusal:
    """An answer that is recognised by a phrase in it, whatever its code."""

    phrases: tuple[bytes, ...]
    message: str
    remedy: str
    permanent: bool = True


KNOWN = (
    KnownRefusal(
        (b"authenticated but not connected",),
        "{host} accepted the login, but cannot open the mailbox.",
        "Check that the username names the mailbox itself or has full access to it. "
        "Exchange also answers this way while it is busy.",
        permanent=False,
    ),
    KnownRefusal(
        (b"unsafe login",),
        "{host} does not let mail programs open this mailbox.",
        "Allow IMAP in the mailbox's settings, and enter the authorization code that it gives there.",
    ),
    KnownRefusal(
        (b"application-specific password", b"app-specific password", b"app password"),
        "{host} requires an app password instead of the usual password.",
        "Create one in the security settings of the mailbox, and enter it here.",
    ),
    KnownRefusal(
        (b"not enabled for imap", b"imap access is disabled", b"imap is disabled", b"imap access disabled",
         b"not enabled for pop", b"pop access is disabled", b"pop3 is disabled", b"imap use is disabled"),
        "{host} has access by mail programs switched off for this mailbox.",
        "Switch it on in the mailbox's settings, or ask its provider.",
    ),
    KnownRefusal(
        (b"web login required", b"log in via your web browser", b"please log in with your web browser"),
        "{host} requires the user to sign in with a web browser first.",
        "Sign in on the provider's web site and confirm that it was you.",
    ),
    KnownRefusal(
        (b"basicauthblocked", b"basic authentication is disabled", b"smtpclientauthentication is disabled"),
        "{host} accepts no password for this mailbox.",
        "Ask the provider's administrator whether sign-in by password can be allowed.",
    ),
)  # fmt: skip

# How a server refuses a mechanism, where its code does not distinguish that from a refused password.
MECHANISM = (
    b"mechanism", b"not supported", b"unsupported", b"not implemented", b"unknown command", b"unrecognized",
    b"unrecognised", b"not available", b"auth type", b"initial response", b"authentication type",
    b"authentication method", b"invalid command", b"bad command", b"no such command", b"command not",
    b"syntax",
)  # fmt: skip
# What servers write without a code where it is not for good. ("Try again" alone follows a wrong password.)
BUSY = (
    b"temporar", b"unavailable", b"again later", b"try later", b"busy", b"in use", b"internal error",
    b"server error", b"system error", b"too many connections", b"too many simultaneous", b"too many sessions",
    b"timed out", b"already locked", b"mailbox locked", b"mailbox is locked", b"maildrop locked",
    b"maildrop is locked",
)  # fmt: skip
PASSWORD = (b"password", b"credential", b"authentication fail", b"login fail", b"auth fail", b"login error")

REFUSED_LOGIN = (
    "refused the username or password.",
    "Enter the new password, and check the username. Some providers require an app password.",
)
LOGIN_CODES = {
    "AUTHORIZATIONFAILED": (
        "does not let this user open the mailbox.",
        "Check the username. It may need access to the mailbox at its provider.",
    ),
    "EXPIRED": (
        "refused the password because it has expired.",
        "Change it at the provider, then enter the new one here.",
    ),
    "PRIVACYREQUIRED": ("accepts no password without encryption.", "Choose TLS or STARTTLS."),
    "IN-USE": ("cannot open the mailbox now.", "Another program has the mailbox open."),
    "SYS/PERM": ("cannot open the mailbox now.", "Ask the mailbox provider."),
}


def recognised(refused: ServerRefused) -> KnownRefusal | None:
    """The answer that we know, if it is one."""
    return next((one for one in KNOWN if refused.mentions(one.phrases)), None)


def failure(
    refused: ServerRefused, wire: Wire, message: str, remedy: str, *, permanent: bool | None = None
) -> MailError:
    """The refusal as an error for people: the one place where this is done.

    `message` is what people read, unless the answer is recognised. It is permanent
    unless it is transient, or where `permanent` is false.
    """
    if known := recognised(refused):
        message = known.message.format(host=wire.host)
        return MailError(wire.step, message, known.remedy, permanent=known.permanent)
    lasting = not refused.transient and permanent is not False
    return MailError(wire.step, message + refused.as_sentence, remedy, permanent=lasting)


def login_failure(refused: ServerRefused, wire: Wire) -> MailError:
    """The refusal to log in as an error for people: not every one is about the password."""
    default = ("cannot open the mailbox now.", RETRIES) if refused.transient else REFUSED_LOGIN
    what, remedy = LOGIN_CODES.get(refused.code, default)
    return failure(refused, wire, f"{wire.host} {what}", remedy)


def refused_mechanisms(refused: ServerRefused, wire: Wire, tried: list[str]) -> MailError:
    """No mechanism that the server offers was accepted: it never checked the password."""
    message = f"{wire.host} refused each login method that it offers ({', '.join(tried)}), not the password."
    return failure(refused, wire, message, "Ask its provider how mail programs sign in with a password.")


def shown(text: bytes) -> str:
    """A text of a server on one line, shortened, control characters escaped."""
    text_read = text[: 4 * LONGEST_SHOWN].decode("utf-8", "backslashreplace").strip()
    clean = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text_read)
    return clean if len(clean) <= LONGEST_SHOWN else clean[: LONGEST_SHOWN - 1] + "…"
