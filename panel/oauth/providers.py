"""Where a provider is asked, and for what.

Microsoft's and Google's addresses are code, an issuer's are discovered at each start of a flow. None of it is
read from the database but what the sealed record of an app was opened with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from panel.errors import BadInput, MailError, TokenUnavailable
from panel.mail import https
from panel.mail.https import HttpLimits
from panel.mail.policy import KIB, Policy
from panel.models.oauth import AppPlace

MICROSOFT, GOOGLE, ISSUER = "microsoft", "google", "issuer"
APPLICATION = "application"  # access of the app itself; else delegated: a person consents
MICROSOFT_URL = "https://login.microsoftonline.com"
MICROSOFT_SCOPES = (
    "https://outlook.office.com/IMAP.AccessAsUser.All https://outlook.office.com/POP.AccessAsUser.All "
    "https://outlook.office.com/SMTP.Send offline_access openid email profile"
)
MICROSOFT_APPLICATION = "https://outlook.office365.com/.default"
GOOGLE_SCOPES = "https://mail.google.com/ openid email"
ISSUER_SCOPES = "openid email offline_access"
DISCOVERY = "/.well-known/openid-configuration"
LIMITS = HttpLimits(seconds=5.0, connect_seconds=3.0, body=128 * KIB)
LONGEST_PAUSE = 3600  # seconds
BASIC, POST = "client_secret_basic", "client_secret_post"


@dataclass(frozen=True)
class Endpoints:
    """The addresses of one provider. `device`: empty where it has no device code."""

    authorization: str
    token: str
    device: str
    issuer: str  # that an `iss` beside the code must be; empty: not known beforehand
    iss_required: bool = False
    auth_method: str = POST


def endpoints(app: AppPlace, policy: Policy) -> Endpoints:
    """Where `app` is registered; for an issuer that takes a request. Raises TokenUnavailable, BadInput."""
    if app.provider == MICROSOFT:
        return _microsoft(app.tenant)
    if app.provider == GOOGLE:
        return Endpoints(
            "https://accounts.google.com/o/oauth2/v2/auth",
            "https://oauth2.googleapis.com/token",
            "",  # mail is not among the scopes that it gives to devices
            "https://accounts.google.com",
        )
    if app.provider == ISSUER:
        return discover(app.issuer, policy)
    raise BadInput("The app's provider is unknown.", "Remove the app and add it again.")


def scopes(app: AppPlace) -> str:
    """What is asked for, at consent and at each refresh; separated by spaces."""
    if app.provider == MICROSOFT:
        return MICROSOFT_APPLICATION if app.access == APPLICATION else MICROSOFT_SCOPES
    if app.provider == GOOGLE:
        return GOOGLE_SCOPES
    if app.access == APPLICATION:
        return app.scopes
    return " ".join(dict.fromkeys([*ISSUER_SCOPES.split(), *app.scopes.split()]))


def admin_consent(app: AppPlace) -> str:
    """Where an administrator of the tenant approves the app."""
    tenant, client_id = quote(app.tenant, safe=""), quote(app.client_id, safe="")
    return f"{MICROSOFT_URL}/{tenant}/adminconsent?client_id={client_id}"


def _microsoft(tenant: str) -> Endpoints:
    if not tenant:
        raise BadInput("The app has no tenant.", "Enter the Directory (tenant) ID of its Overview page.")
    base = f"{MICROSOFT_URL}/{quote(tenant, safe='')}/oauth2/v2.0"
    return Endpoints(f"{base}/authorize", f"{base}/token", f"{base}/devicecode", "")


# -- discovery ---------------------------------------------------------------------------


def discover(issuer: str, policy: Policy) -> Endpoints:
    """The addresses that `issuer` says of itself (OpenID Connect Discovery 1.0), asked for now.

    Raises BadInput for what is no issuer, TokenUnavailable where it cannot be reached or makes no sense.
    """
    where = https.target(issuer)
    if "?" in issuer:
        raise BadInput("An issuer's address has no “?”.", "Copy it from the provider's documentation.")
    try:
        found = https.fetch(issuer.rstrip("/") + DISCOVERY, policy, internal=True, limits=LIMITS)
    except MailError as error:
        raise TokenUnavailable(error.message, error.remedy) from None
    if found.status != 200:
        raise TokenUnavailable(
            f"{where.origin} answered with status {found.status} where its OAuth2 addresses should be.",
            "Check the issuer's address.",
            retry_after=pause(found.retry_after),
        )
    document = found.json_object()
    if document is None or document.get("issuer") != issuer:
        raise _senseless(where.origin)
    return _discovered(issuer, document)


def pause(wanted: int | None) -> int | None:
    """The seconds that a provider wants to be left alone, of which an hour is obeyed at most."""
    return None if wanted is None else min(wanted, LONGEST_PAUSE)


def _discovered(issuer: str, document: dict[str, Any]) -> Endpoints:
    methods = document.get("token_endpoint_auth_methods_supported")
    device = document.get("device_authorization_endpoint")
    only_post = isinstance(methods, list) and BASIC not in methods and POST in methods
    return Endpoints(
        _address(issuer, document.get("authorization_endpoint")),
        _address(issuer, document.get("token_endpoint")),
        "" if device in (None, "") else _address(issuer, device),
        issuer,
        document.get("authorization_response_iss_parameter_supported") is True,
        POST if only_post else BASIC,
    )


def _address(issuer: str, url: object) -> str:
    """`url`, where it may be called in the name of `issuer`: over the same scheme.

    Raises TokenUnavailable. Plain http is for an issuer on this server alone, which may not be chosen by one
    that lies elsewhere.
    """
    home = https.target(issuer)
    try:
        there = https.target(url) if isinstance(url, str) else None
    except BadInput:
        there = None
    if there is None or there.scheme != home.scheme:
        raise _senseless(home.origin)
    return str(url)


def is_internal(app: AppPlace, url: str) -> bool:
    """Whether `url` may lie in our own network: an issuer's own server may, which an administrator named.

    Any other server that the issuer names must be a public one.
    """
    return app.provider != ISSUER or urlsplit(url).hostname == urlsplit(app.issuer).hostname


def _senseless(origin: str) -> TokenUnavailable:
    return TokenUnavailable(
        f"{origin} does not describe itself as the issuer that was entered.",
        "Check the issuer's address: it must be exactly as its discovery document has it.",
    )
