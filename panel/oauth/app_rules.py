"""What an app may be: its provider, tenant or issuer, client ID. Each refusal names its field."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from urllib.parse import SplitResult, urlsplit

from panel.errors import BadInput
from panel.mail.server import is_loopback, normalise_host
from panel.models.oauth import AppPlace
from panel.secret import Secret

PROVIDERS = {"microsoft": "Microsoft 365", "google": "Google", "issuer": "Other issuer"}
ACCESSES = ("delegated", "application")
LONGEST_NAME, LONGEST_TENANT, LONGEST_ISSUER, LONGEST_CLIENT_ID, LONGEST_SCOPES = 80, 253, 500, 255, 1_000
LONGEST_SECRET = 4_096  # characters; Microsoft's have 40, Google's 35
UID = re.compile(r"[0-9a-f]{32}\Z")
GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z", re.IGNORECASE)
SCOPE = re.compile(r"[!#-\[\]-~]+\Z")  # RFC 6749, 3.3
SHARED_TENANTS = ("common", "organizations")
COPY = "Copy it again."
DATE = "%Y-%m-%d"


def place(
    uid: str,
    name: str,
    provider: str,
    *,
    tenant: str = "",
    issuer: str = "",
    client_id: str = "",
    scopes: str = "",
    access: str = "delegated",
    in_shell: bool = False,
) -> AppPlace:
    """The app that was entered, checked. Raises BadInput, naming the field.

    `in_shell`: whether its issuer may be reached without TLS, on loopback.
    """
    _require_known(provider, access)
    if not UID.match(uid):
        raise BadInput("The redirect address of the form is not one of Mailkeep's.", "Reload the page.")
    if UID.match(name.strip()):  # forms name apps by their uid
        raise BadInput("This name is the uid of an app.", "Choose another name.", "name")
    is_microsoft, is_issuer = provider == "microsoft", provider == "issuer"
    return AppPlace(
        uid,
        _text(name.strip(), "name", "The name", LONGEST_NAME),
        provider,
        _tenant(tenant.strip()) if is_microsoft else _none(tenant, "tenant"),
        _issuer(issuer.strip(), in_shell=in_shell) if is_issuer else _none(issuer, "issuer"),
        _visible(client_id.strip(), "client_id", "The client ID", LONGEST_CLIENT_ID),
        _scopes(scopes) if is_issuer else _none(scopes, "scopes"),
        access,
    )


def _require_known(provider: str, access: str) -> None:
    """Raise BadInput for what is no provider, or no access that it gives."""
    if provider not in PROVIDERS:
        remedy = "Choose microsoft, google or issuer."
        raise BadInput(f"“{provider[:20]}” is not a provider.", remedy, "provider")
    if access not in ACCESSES:
        remedy = "Choose delegated or application."
        raise BadInput(f"“{access[:20]}” is not a kind of access.", remedy, "access")
    if provider == "google" and access == "application":
        raise BadInput(
            "Google gives apps no access to mail by themselves.", "Choose sign-in by a person.", "access"
        )


def require_secret(app: AppPlace, secret: Secret) -> None:
    """Raise BadInput (field `client_secret`) for what cannot be the client secret of `app`."""
    text = secret.reveal()
    if len(text) > LONGEST_SECRET:
        raise _bad_secret(f"The client secret is longer than {LONGEST_SECRET:,} characters.", COPY)
    if not text and (app.provider == "google" or app.access == "application"):
        raise _bad_secret("This app needs a client secret.", "Create one at the provider and enter it.")
    if not (text.isascii() and text.isprintable() and text == text.strip()):  # a space inside: RFC 6749, A.2
        what = "The client secret has a space at an end, or a character that no provider uses."
        raise _bad_secret(what, COPY)
    if app.provider == "microsoft" and GUID.match(text):
        raise _bad_secret(
            "This is the Secret ID of a client secret, not its value.",
            "Copy “Value”, which Microsoft shows once; if it is gone, create a new client secret.",
        )


def expiry(text: str) -> int | None:
    """The end of that day, as UTC seconds; None for an empty text. Raises BadInput."""
    text = text.strip()
    if not text:
        return None
    try:
        day = datetime.strptime(text[:20], DATE).replace(tzinfo=UTC)
    except ValueError:
        raise BadInput(
            "This is not a date.", "Enter it as 2027-11-26, or leave it empty.", "expires"
        ) from None
    return int(day.timestamp()) + 86_399


def _bad_secret(message: str, remedy: str) -> BadInput:
    return BadInput(message, remedy, "client_secret")


def _none(text: str, field: str) -> str:
    if text.strip():
        raise BadInput(f"This provider takes no {field}.", "Leave it empty.", field)
    return ""


def _text(text: str, field: str, what: str, longest: int) -> str:
    if not text:
        raise BadInput(f"{what} is empty.", "Enter it.", field)
    if len(text) > longest:
        raise BadInput(f"{what} is longer than {longest} characters.", "Shorten it.", field)
    if not text.isprintable():
        raise BadInput(f"{what} contains a line break or another control character.", "Remove it.", field)
    return text


def _visible(text: str, field: str, what: str, longest: int) -> str:
    _text(text, field, what, longest)
    if not text.isascii() or " " in text:
        raise BadInput(f"{what} contains a space or a letter that none has.", "Copy it again.", field)
    return text


def _tenant(text: str) -> str:
    tenant = _visible(text, "tenant", "The tenant", LONGEST_TENANT).lower()
    if tenant in SHARED_TENANTS:
        raise BadInput(
            f"With “{tenant}” an account of any Microsoft tenant could sign in.",
            "Enter your own tenant's ID or domain, from the app's Overview page.",
            "tenant",
        )
    if tenant == "consumers" or GUID.match(tenant):
        return tenant
    try:
        domain = normalise_host(tenant)
    except BadInput:
        domain = ""
    if "." not in domain or domain.replace(".", "").isdigit() or ":" in domain:
        raise BadInput(
            f"“{tenant[:80]}” is neither the ID of a tenant nor its domain.",
            "Copy the Directory (tenant) ID from the app's Overview page.",
            "tenant",
        )
    return domain


def _issuer(text: str, *, in_shell: bool) -> str:
    issuer = _visible(text, "issuer", "The address of the issuer", LONGEST_ISSUER)
    try:
        parts = urlsplit(issuer)
        plain = parts.port != 0 and not (parts.query or parts.fragment or "@" in parts.netloc)
        normalise_host(parts.hostname or "")
    except (ValueError, BadInput):
        plain, parts = False, urlsplit("")
    if not plain or not parts.hostname or parts.scheme not in ("https", "http") or {*issuer} & {*'\\<>"'}:
        raise BadInput(
            "This is not the address of an issuer.",
            "Enter it as https://login.example.org/realms/mail, without the part from /.well-known on.",
            "issuer",
        )
    if parts.scheme == "http":
        _require_loopback(parts, in_shell=in_shell)
    return issuer.removesuffix("/.well-known/openid-configuration")


def _require_loopback(parts: SplitResult, *, in_shell: bool) -> None:
    if not is_loopback(parts.hostname or ""):
        raise BadInput(
            "Without HTTPS anybody on the way could read the tokens of this issuer.",
            "Enter its https:// address.",
            "issuer",
        )
    if not in_shell:
        raise BadInput(
            "An issuer without HTTPS, on this server itself, can be added in the shell only.",
            "Run: flask oauth add NAME --provider issuer --issuer URL --client-id ID",
            "issuer",
        )


def _scopes(text: str) -> str:
    if len(text) > LONGEST_SCOPES:
        message = f"The scopes are longer than {LONGEST_SCOPES:,} characters."
        raise BadInput(message, "Shorten them.", "scopes")
    scopes = text.split()
    if not all(SCOPE.match(scope) for scope in scopes):
        message = "A scope contains a character that none may have."
        raise BadInput(message, "Separate scopes by spaces.", "scopes")
    return " ".join(dict.fromkeys(scopes))
