"""What is asked of a provider, by Authlib over our own HTTPS client.

Each function discovers an issuer's addresses anew and makes its call. Errors: ConsentNeeded, AppFault and
TokenUnavailable, each with a sentence for people (`panel.oauth.sentences`); BadInput for an app whose
addresses cannot be called. A provider's words are never shown or logged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from panel.errors import AppFault, BadInput, TokenUnavailable
from panel.mail import https
from panel.mail.policy import KIB, Policy
from panel.models.oauth import AppPlace
from panel.oauth import claims, providers, sentences
from panel.oauth.claims import Claims
from panel.oauth.providers import Endpoints
from panel.oauth.session import AnswerLost, TokenSession, is_token, whole_seconds
from panel.secret import Secret

# Characters. The sealed record of a flow takes 16 KiB, with who signed in to what beside the token.
LONGEST_ACCESS, LONGEST_REFRESH = 16 * KIB, 12 * KIB
USUAL_LIFE = 3600  # seconds, where a provider names none
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
DEVICE_PAUSE = 5  # seconds between two questions where the provider names none, and more after `slow_down`
LONGEST_DEVICE_PAUSE = 60  # seconds that a provider may want: a flow lasts ten minutes


@dataclass(frozen=True)
class Tokens:
    """What a provider gave. `refresh`: None where none came, or the old one stays."""

    access: Secret
    expires_in: int  # seconds that `access` is good for
    refresh: Secret | None
    id_claims: Claims


@dataclass(frozen=True)
class Device:
    """A device code: what a person enters where, and what we ask with meanwhile. Times in seconds."""

    code: Secret
    user_code: str
    verification_uri: str
    expires_in: int
    interval: int


@dataclass(frozen=True)
class StillPending:
    """Nobody has entered the user code yet: ask again in `interval` seconds."""

    interval: int


def authorization_url(
    app: AppPlace, verifier: str, state: str, redirect: str, person: str, policy: Policy
) -> str:
    """Where the browser goes to give consent: code with PKCE (S256). `person`: who is expected to sign in."""
    at = providers.endpoints(app, policy)
    extra = {"prompt": "select_account"}
    if app.provider == providers.GOOGLE:  # without both it gives no refresh token a second time
        extra = {"access_type": "offline", "prompt": "select_account consent"}
    elif app.provider == providers.ISSUER:
        extra = {"prompt": "consent"}  # OpenID Connect Core, 11: offline_access is ignored without it
    if person:
        extra["login_hint"] = person
    authlib = TokenSession(app, at, policy).authlib(None, redirect)
    url, _ = authlib.create_authorization_url(at.authorization, state=state, code_verifier=verifier, **extra)
    return str(url)


def redeem_code(
    app: AppPlace, secret: Secret, code: str, verifier: str, redirect: str, iss: str | None, policy: Policy
) -> Tokens:
    """The tokens for a code that the browser brought back. `iss`: what stood beside it, if anything did.

    Raises ConsentNeeded, before anything is sent, for an `iss` of another provider (RFC 9207), and where
    there is no refresh token.
    """
    at = providers.endpoints(app, policy)
    if (at.iss_required and iss is None) or (iss is not None and at.issuer and iss != at.issuer):
        raise sentences.other_issuer()
    session = TokenSession(app, at, policy, of_code=True)
    values = {"grant_type": "authorization_code", "code": code, "code_verifier": verifier}
    return _with_refresh(_tokens(app, session.tokens(secret, "fetch_token", redirect, **values)))


def application_token(app: AppPlace, secret: Secret, policy: Policy) -> Tokens:
    """A token of the app itself, for every mailbox that it may open (client credentials)."""
    session = TokenSession(app, providers.endpoints(app, policy), policy)
    return _tokens(app, session.tokens(secret, "fetch_token", grant_type="client_credentials"))


def refresh(app: AppPlace, secret: Secret, refresh_token: Secret, policy: Policy) -> Tokens:
    """A new access token. Raises AnswerLost where the provider may have answered all the same."""
    session = TokenSession(app, providers.endpoints(app, policy), policy)
    sent = refresh_token.reveal()
    try:
        found = session.tokens(secret, "refresh_token", refresh_token=sent)
    except AppFault:
        if session.error != "invalid_scope" or app.provider != providers.ISSUER:
            raise
        # It granted less than it was asked for (RFC 6749, 3.3). What it did grant counts where none is named.
        found = session.tokens(secret, "refresh_token", refresh_token=sent, scope="")
    found.pop("id_token", None)  # known from the consent: nothing that is wrong with it may cost what came
    return _tokens(app, found, sent)


def start_device(app: AppPlace, secret: Secret, policy: Policy) -> Device:
    """Begin with a device code (RFC 8628). Raises Refused where the provider has none for mail."""
    at = providers.endpoints(app, policy)
    if not at.device:
        raise sentences.no_device_code()
    return _device(
        at, TokenSession(app, at, policy).post_form(secret, at.device, {"scope": providers.scopes(app)})
    )


def poll_device(
    app: AppPlace, secret: Secret, device: Secret, interval: int, policy: Policy
) -> Tokens | StillPending:
    """The tokens once the person has consented. Raises ConsentNeeded where that was denied, or is over."""
    session = TokenSession(app, providers.endpoints(app, policy), policy, of_code=True)
    values = {"grant_type": DEVICE_GRANT, "device_code": device.reveal()}
    try:
        found = session.tokens(secret, "fetch_token", **values)
    except TokenUnavailable:
        if session.error not in ("authorization_pending", "slow_down"):
            raise
        return StillPending(interval + (DEVICE_PAUSE if session.error == "slow_down" else 0))
    return _with_refresh(_tokens(app, found))


def _device(at: Endpoints, answer: dict[str, Any]) -> Device:
    code, user_code, uri = (answer.get(n) for n in ("device_code", "user_code", "verification_uri"))
    if not (is_token(code, LONGEST_REFRESH) and is_token(user_code, 64) and _may_lead_to(uri, at)):
        raise AnswerLost(*sentences.SENSELESS)
    interval = min(max(whole_seconds(answer.get("interval"), DEVICE_PAUSE), 1), LONGEST_DEVICE_PAUSE)
    life = whole_seconds(answer.get("expires_in"), USUAL_LIFE)
    return Device(Secret(str(code)), str(user_code), str(uri), life, interval)


def _may_lead_to(uri: object, at: Endpoints) -> bool:
    """Whether a provider may send a person to `uri`: to plain HTTP on this server if it lies there itself."""
    try:
        return isinstance(uri, str) and https.target(uri).scheme in ("https", https.target(at.device).scheme)
    except BadInput:
        return False


def _with_refresh(tokens: Tokens) -> Tokens:
    if tokens.refresh is None:
        raise sentences.no_offline_access()
    return tokens


def _tokens(app: AppPlace, found: dict[str, Any], sent: str = "") -> Tokens:
    """What came, checked. `sent`: the refresh token that it was asked with. Raises AnswerLost."""
    access, renewed = found.get("access_token"), found.get("refresh_token")
    who = claims.read(found.get("id_token"), app)
    is_new = renewed is not None and renewed != sent
    if (
        who is None
        or not is_token(access, LONGEST_ACCESS)
        or found.get("token_type", "bearer").lower() != "bearer"
        or (is_new and not is_token(renewed, LONGEST_REFRESH))
    ):
        raise AnswerLost(*sentences.SENSELESS)
    life = whole_seconds(found.get("expires_in"), USUAL_LIFE)
    refresh_token = Secret(str(renewed)) if is_new else None
    return Tokens(Secret(str(access)), life, refresh_token, who)
