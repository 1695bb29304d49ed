"""What a provider's refusal means to a person: one table.

Decided on is the `error` of RFC 6749 and OpenID Connect alone; the codes of Microsoft (AADSTS…) are shown
beside our sentence and choose a better one, since Microsoft says that they change. What else a provider
writes is never shown: it may repeat what it was sent.
"""

from __future__ import annotations

import re

from panel.errors import AppFault, ConsentNeeded, PanelError, Refused, TokenUnavailable
from panel.models.oauth import AppPlace
from panel.oauth import providers

AGAIN = "It is asked again by itself."
CONNECT_AGAIN = "Connect the mailbox again."
ENDED = frozenset({"invalid_grant", "consent_required", "interaction_required"})
OF_THE_APP = frozenset(
    {"invalid_client", "unauthorized_client", "invalid_scope", "invalid_request", "unsupported_grant_type",
     "redirect_uri_mismatch"}
)  # fmt: skip
AADSTS = re.compile(r"AADSTS([0-9]{4,8})")
ERROR = re.compile(r"[a-z_]{1,40}\Z")
LONGEST = 2000  # characters of a description that are looked at

SIGN_IN_RULES = (
    "Your tenant's sign-in rules ended the session ({code}).",
    "Ask its administrator to exempt this app, or use application access. Then connect the mailbox again.",
)
MUST_APPROVE = (
    "An administrator of your tenant must approve this app ({code}).",
    "Have it approved {where} Then connect the mailbox again.",
)
OTHER_APP = (
    "Client ID or tenant does not match ({code}).",
    "Copy both from the app's Overview page. They belong to the app: add it again with the right ones.",
)
OTHER_REDIRECT = (
    "The redirect address is not registered at the provider ({code}).",
    "Register exactly the one on the app's page.",
)
BY_CODE = {
    "70043": SIGN_IN_RULES, "53003": SIGN_IN_RULES, "50076": SIGN_IN_RULES,
    "65001": MUST_APPROVE, "90094": MUST_APPROVE,
    "700016": OTHER_APP, "90002": OTHER_APP,
    "7000222": (
        "The client secret of the app “{app}” has expired ({code}).",
        "Create a new one and enter it on the app's page; nobody needs to sign in again.",
    ),
    "7000215": (
        "What is stored for the app “{app}” is not the client secret's value ({code}).",
        "Copy Value, not Secret ID, and enter it on the app's page.",
    ),
    "50011": OTHER_REDIRECT,
}  # fmt: skip
BY_ERROR = {
    "redirect_uri_mismatch": OTHER_REDIRECT,  # Google's
    "invalid_client": (
        "The provider does not accept the client ID or secret of the app “{app}” ({code}).",
        "Enter a new client secret on the app's page; nobody needs to sign in again.",
    ),
    "unauthorized_client": (
        "The provider does not let the app “{app}” do this ({code}).",
        "Check at the provider what the app may do.",
    ),
    "invalid_scope": (
        "The provider does not grant the app “{app}” what mail needs ({code}).",
        "Check the permissions (scopes) of the app at the provider.",
    ),
}
ANY_ENDED = (
    "The provider has ended this mailbox's consent ({code}).",
    "Connect it again; mail waits on the server.",
)
ANY_OF_THE_APP = (
    "The provider refused what the app “{app}” asked for ({code}).",
    "Compare the app's page with what is registered at the provider.",
)
SENSELESS = (
    "The provider answered with something that is no token.",
    f"{AGAIN} If it stays so, check the app's provider or issuer.",
)
DENIED = (
    "Whoever signed in did not consent ({code}).",
    "Connect the mailbox again, and accept what is asked for.",
)
OVER = ("The code was not entered in time ({code}).", "Connect the mailbox again.")
CODE_NOT_TAKEN = (
    "The provider did not accept the code ({code}): it was used already, or it has expired.",
    "Connect the mailbox again.",
)

NOT_GIVEN = {"access_denied": DENIED, "expired_token": OVER}


class UnknownRefusal(TokenUnavailable):
    """A refusal for a reason that no RFC names: nothing shows that other mailboxes would meet it too."""


def refusal(app: AppPlace, error: str, description: str = "", *, of_code: bool = False) -> PanelError:
    """The error for a token request that was refused: ConsentNeeded, AppFault or TokenUnavailable.

    `error` is compared without case. `of_code`: it was for a code that a browser brought, so no consent has
    ended yet.
    """
    error = error.lower()
    code = shown_code(error, description)
    if error in ENDED or (of_code and error in NOT_GIVEN):
        general = NOT_GIVEN.get(error, CODE_NOT_TAKEN) if of_code else ANY_ENDED
        return ConsentNeeded(*_sentences(app, error, code, general), code=code)
    if error in OF_THE_APP:
        return AppFault(*_sentences(app, error, code, ANY_OF_THE_APP), app=app.uid, code=code)
    return UnknownRefusal(f"The provider gave no access token ({code}).", AGAIN)


def waits() -> ConsentNeeded:
    """For a mailbox that was never connected."""
    return ConsentNeeded("This mailbox is not connected to its provider yet.", "Connect it on its page.")


def no_app() -> ConsentNeeded:
    """For a mailbox whose app was removed."""
    return ConsentNeeded(
        "The app that this mailbox was connected by was removed.", "Connect the mailbox by another app."
    )


def ended(code: str) -> ConsentNeeded:
    """For a consent that the provider has ended before; `code`: what it called it."""
    code = code if AADSTS.fullmatch(code) or ERROR.match(code) else "invalid_grant"
    known = BY_CODE.get(code.removeprefix("AADSTS"))
    texts = SIGN_IN_RULES if known is SIGN_IN_RULES else ANY_ENDED
    return ConsentNeeded(*(text.format(code=code) for text in texts), code=code)


def not_connected(person: str, mailbox: str) -> tuple[str, str]:
    """For a mail server that knows who signed in, and does not open the mailbox."""
    if person == mailbox:
        return (
            f"Signed in as {person}, but may not open this mailbox.",
            "Check that the mailbox exists and has a plan with mail access. "
            "Exchange also answers this way while it is busy.",
        )
    return (
        f"Signed in as {person}, who may not open {mailbox}.",
        f"Grant Full Access to {mailbox}, or sign in as {mailbox}.",
    )


def other_issuer() -> ConsentNeeded:
    """For a code that another provider may have sent (RFC 9207)."""
    return ConsentNeeded(
        "The answer does not say that it comes from the app's own provider, so nothing was connected.",
        "Connect the mailbox again. If it stays so, check the issuer's address with the provider.",
        code="iss",
    )


def no_offline_access() -> ConsentNeeded:
    """For tokens without a refresh token."""
    return ConsentNeeded(
        "The provider granted no offline access.", "Allow it and connect again.", code="no refresh token"
    )


def no_device_code() -> Refused:
    """For a provider that has no way in by device code, or none for mail. The app is not at fault."""
    return Refused("This provider has no device code for mail.", "Connect in a browser.")


def busy(status: int, retry_after: int | None) -> TokenUnavailable:
    """For 429 and 5xx."""
    what = "asks to wait" if status == 429 else "has trouble"
    return TokenUnavailable(
        f"The provider {what} (status {status}), so there is no access token just now.",
        AGAIN,
        retry_after=providers.pause(retry_after),
    )


def shown_code(error: str, description: str = "") -> str:
    """How a refusal is named to be looked up: AADSTS70008, or the `error` itself."""
    found = AADSTS.search(description[:LONGEST])
    if found:
        return found[0]
    return error if ERROR.match(error) else "unknown error"


def _sentences(app: AppPlace, error: str, code: str, general: tuple[str, str]) -> tuple[str, str]:
    message, remedy = BY_CODE.get(code.removeprefix("AADSTS")) or BY_ERROR.get(error) or general
    # Microsoft as an issuer of its own address writes the same codes, but names no tenant.
    where = f"here: {providers.admin_consent(app)}" if app.tenant else "at the provider."
    values = {"app": app.name, "code": code, "where": where}
    return message.format(**values), remedy.format(**values)
