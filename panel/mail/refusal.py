"""A server's no, and what people read of it.

Nothing is compared with the password. Before credentials were sent, the server's words
are shown as they came: they cannot repeat what the server has not seen. Afterwards they
are dropped: people read a sentence of ours where the answer is recognised, and response
codes and numbers (docs/decisions/0027).
"""

from __future__ import annotations

from dataclasses import dataclass

from panel.errors import MailError

LONGEST_SHOWN, LONGEST_READ = 200, 1000  # characters shown of an answer, bytes looked at
BY_ITSELF = "Mailkeep tries again by itself."


class ServerRefused(Exception):
    """A command was refused, with the response `code` of the protocol ("" where it is none that we know).

    `text`: the server's words, fit to be shown; empty once credentials were sent.
    `passing`: the same may be granted later, without anybody changing anything.
    `understood`: false where the server did not understand the command (IMAP's BAD).
    `raw`: the server's words, to recognise an answer by. Never shown, stored or logged.
    """

    def __init__(
        self, code: str, text: str, *, transient: bool = False, understood: bool = True, raw: bytes = b""
    ) -> None:
        super().__init__(code)
        self.code = code
        self.text = text
        self.transient = transient
        self.understood = understood
        self.raw = raw[:LONGEST_READ].lower()

    def sounds_busy(self) -> bool:
        """Whether its words say that it is not for good."""
        return any(phrase in self.raw for phrase in BUSY)

    @property
    def said(self) -> str:
        """What may be shown of the answer, as a sentence that follows ours; or nothing."""
        if self.text:
            return f" It says: {self.text}"
        return f" Its code: {self.code}." if self.code else ""


@dataclass(frozen=True)
class Known:
    """An answer that is recognised by a phrase in it, whatever its code."""

    phrases: tuple[bytes, ...]
    message: str
    remedy: str
    permanent: bool = True


KNOWN = (
    Known(
        (b"authenticated but not connected",),
        "{host} accepted the sign-in, but does not open the mailbox.",
        "Check that the username names the mailbox itself or has full access to it. "
        "Exchange also answers so while it is busy.",
        permanent=False,
    ),
    Known(
        (b"unsafe login",),
        "{host} does not let mail programs open this mailbox.",
        "Allow IMAP in the mailbox's settings, and enter the authorization code that it gives there.",
    ),
    Known(
        (b"application-specific password", b"app-specific password", b"app password"),
        "{host} wants an app password instead of the usual password.",
        "Create one in the security settings of the mailbox, and enter it here.",
    ),
    Known(
        (b"not enabled for imap", b"imap access is disabled", b"imap is disabled", b"imap access disabled",
         b"not enabled for pop", b"pop access is disabled", b"pop3 is disabled", b"imap use is disabled"),
        "{host} says that access by mail programs is off for this mailbox.",
        "Switch it on in the mailbox's settings, or ask its provider.",
    ),
    Known(
        (b"web login required", b"log in via your web browser", b"please log in with your web browser"),
        "{host} wants the user to sign in with a web browser first.",
        "Sign in on the provider's web site and confirm that it was you.",
    ),
    Known(
        (b"basicauthblocked", b"basic authentication is disabled", b"smtpclientauthentication is disabled"),
        "{host} takes no password for this mailbox.",
        "Ask the provider's administrator whether sign-in by password can be allowed.",
    ),
)  # fmt: skip

# How a server refuses a way of logging in, where its code does not tell that from a refused password.
MECHANISM = (
    b"mechanism", b"not supported", b"unsupported", b"not implemented", b"unknown command", b"unrecognized",
    b"unrecognised", b"not available", b"auth type", b"initial response",
)  # fmt: skip
# What servers say without a code where it is not for good. ("Try again" alone follows a wrong password.)
BUSY = (
    b"temporar", b"unavailable", b"again later", b"try later", b"busy", b"in use", b"internal error",
    b"server error", b"system error", b"too many connections", b"too many simultaneous", b"timed out",
)  # fmt: skip
PASSWORD = (b"password", b"credential", b"authentication fail", b"login fail", b"auth fail", b"login error")


def recognised(refused: ServerRefused) -> Known | None:
    """The answer that we know, if it is one."""
    return next((one for one in KNOWN if any(phrase in refused.raw for phrase in one.phrases)), None)


def failure(
    refused: ServerRefused, host: str, step: str, message: str, remedy: str, *, permanent: bool | None = None
) -> MailError:
    """The refusal as an error for people: the one place where this is done.

    `message` says what it meant, unless the answer is recognised. It is permanent
    unless the code says otherwise, or where `permanent` is false.
    """
    if known := recognised(refused):
        return MailError(step, known.message.format(host=host), known.remedy, permanent=known.permanent)
    lasting = not refused.transient and permanent is not False
    return MailError(step, message + refused.said, remedy, permanent=lasting)


def login_failure(refused: ServerRefused, host: str) -> MailError:
    """The refusal to log in as an error for people: not every one is about the password."""
    message = f"{host} refused the username or the password."
    remedy = "Type both again. Some providers want a password made for mail programs only."
    if refused.transient:
        message, remedy = f"{host} does not log anybody in now.", BY_ITSELF
    elif refused.code == "AUTHORIZATIONFAILED":
        message = f"{host} does not let this user open the mailbox."
        remedy = "Check the username; it may need access to the mailbox at its provider."
    elif refused.code == "EXPIRED":
        message = f"{host} says that the password has expired."
        remedy = "Change it at the provider, then enter the new one here."
    elif refused.code == "PRIVACYREQUIRED":
        message, remedy = f"{host} takes no password without encryption.", "Choose TLS or STARTTLS."
    return failure(refused, host, "login", message, remedy)


def refused_mechanisms(refused: ServerRefused, host: str, tried: list[str]) -> MailError:
    """No way of logging in that the server offers was accepted: it never judged the password."""
    message = f"{host} refused each way of logging in that it offers ({', '.join(tried)}), not the password."
    remedy = "Ask its provider how mail programs log in with a password."
    return failure(refused, host, "login", message, remedy)


def shown(text: bytes) -> str:
    """Words of a server on one line, shortened, control characters escaped."""
    words = text[: 4 * LONGEST_SHOWN].decode("utf-8", "backslashreplace").strip()
    clean = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words)
    return clean if len(clean) <= LONGEST_SHOWN else clean[: LONGEST_SHOWN - 1] + "…"
