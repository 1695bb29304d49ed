"""What mail servers write when they refuse, as far as we know it, and what people read instead.

Phrases are in lower case, from servers as people have met them. How they are used: `panel.mail.refusal`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class KnownRefusal:
    """An answer that is recognised by a phrase in it, whatever its code.

    `message` may name {host} and {user}, `remedy` the {mailbox} as it is typed into a command.
    """

    phrases: tuple[bytes, ...]
    message: str
    remedy: str
    permanent: bool = True
    reason: str = ""  # by which callers know it (`MailError.reason`)


KNOWN = (
    KnownRefusal(
        (b"authenticated but not connected",),
        "{host} accepted the login, but cannot open the mailbox.",
        "Check that the username names the mailbox itself or has full access to it. "
        "Exchange also answers this way while it is busy.",
        permanent=False,
        reason="not-connected",
    ),
    KnownRefusal(
        (b"430 4.2.0 storedrv", b"mailbox logon failure", b"mapiexceptionlogonfailed"),
        "{host} could not open the mailbox to send from it.",
        "With application access, register the service principal in Exchange with the object ID of the "
        "Enterprise application, and grant it SendAs. Otherwise check who signs in.",
        reason="service-principal",
    ),
    KnownRefusal(
        (b"permissions to send as this sender", b"sendasdenied"),
        "{host} does not let who signs in send as this address.",
        "Grant Send As for the mailbox to who signs in, or sign in as the mailbox.",
        reason="send-as",
    ),
    KnownRefusal(
        (b"smtpclientauthentication is disabled for the tenant",),
        "{host} has SMTP sign-in switched off for the whole organization.",
        "Its administrator allows it by Set-TransportConfig -SmtpClientAuthenticationDisabled $false, or for "
        "this mailbox alone by Set-CASMailbox -Identity {mailbox} -SmtpClientAuthenticationDisabled $false.",
        reason="smtp-auth-disabled-tenant",
    ),
    KnownRefusal(
        (b"smtpclientauthentication is disabled",),
        "{host} has SMTP sign-in switched off for this mailbox.",
        "Its administrator allows it by Set-CASMailbox -Identity {mailbox} "
        "-SmtpClientAuthenticationDisabled $false (perhaps for the organization too).",
        reason="smtp-auth-disabled",
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
        (b"basicauthblocked", b"basic authentication is disabled"),
        "{host} accepts no password for this mailbox.",
        "Ask the provider's administrator whether sign-in by password can be allowed.",
    ),
)  # fmt: skip
# Of a login by access token alone: the same words mean something else after a password.
KNOWN_OF_TOKENS = (
    KnownRefusal(
        (b"lookup failed", b"auth response line too long"),
        "{user} is no mailbox of {host}.",
        "Enter the mailbox, not the service account.",
        reason="no-mailbox",
    ),
    KnownRefusal(
        (b"security defaults policy", b"did not meet the criteria to be authenticated",
         b"does not pass the configured conditional access", b"conditional access"),
        "{host} refused the sign-in by rules of the organization.",
        "Ask its administrator to exempt this app from them.",
        reason="sign-in-rules",
    ),
    KnownRefusal(
        (b"protocol error. connection is closed", b"line too long", b"line is too long"),
        "{host} could not read the access token, which is too long for it.",
        "Choose IMAP if this is POP3, or ask the administrator for tokens with fewer groups and claims.",
        reason="token-too-long",
    ),
)  # fmt: skip
# A session that ends by the server's clock: Exchange when the token expires, Google after some days.
BY_CLOCK = (
    b"accesstokenexpired", b"session invalidated", b"session expired", b"session has expired",
    b"token expired", b"token has expired",
)  # fmt: skip
NO_SCOPE = frozenset({"insufficient_scope", "403"})  # RFC 7628, 3.2.2; the number of XOAUTH2

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
REFUSED_TOKEN = (
    "refused the access token.",
    "Connect the mailbox again, and check that who signs in may open it.",
)
SCOPE_MISSING = (
    "takes this access token, but not for mail by this protocol.",
    "Connect the mailbox again and allow everything that is asked for; check the permissions of the app.",
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
