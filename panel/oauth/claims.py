"""Who signed in: read from the ID token that came beside the access token.

Its signature is not checked: it came from the token endpoint itself, over TLS that verified the server, which
OpenID Connect Core 3.1.3.7 (6) takes in the place of a signature. That it is about our app and of the app's
own issuer is checked; its times are not, since it was received just now and the clock may be wrong
(docs/decisions/0043-tokens.md).
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, replace
from typing import Any

from panel.mail.policy import KIB
from panel.models.oauth import AppPlace
from panel.oauth import providers

LONGEST = 16 * KIB  # characters of an ID token
LONGEST_CLAIM = 320  # characters, as of an address


@dataclass(frozen=True)
class Claims:
    """What the provider says of who signed in. Any of it may be empty; none of it is a secret."""

    sub: str = ""
    tid: str = ""  # Microsoft: the tenant, and the person in it
    oid: str = ""
    email: str = ""
    preferred_username: str = ""

    @property
    def subject(self) -> str:
        """What stays the same for one person at one provider."""
        return f"{self.tid}:{self.oid}" if self.tid and self.oid else self.sub

    @property
    def shown(self) -> str:
        """Who it is, for people: the address, or what else the provider calls them by."""
        return self.email or self.preferred_username or self.sub


def read(token: object, app: AppPlace) -> Claims | None:
    """The claims of an ID token for `app`; none of them where no token came. None for a wrong one."""
    if token is None:
        return Claims()
    payload = _payload(token)
    if payload is None or not _is_for(payload, app):
        return None
    names = ("sub", "tid", "oid", "email", "preferred_username")
    found = Claims(**{name: _text(payload.get(name)) for name in names})
    return replace(found, email="") if _is_chosen(payload, found, app) else found


def _is_chosen(payload: dict[str, Any], found: Claims, app: AppPlace) -> bool:
    """Whether the address may be one that its owner has not shown to be theirs.

    Microsoft says so of `email`, and that the username is in a domain of the tenant.
    """
    if app.provider == providers.MICROSOFT:
        return bool(found.preferred_username)
    return payload.get("email_verified") in (False, "false")


def _payload(token: object) -> dict[str, Any] | None:
    if not isinstance(token, str) or len(token) > LONGEST or token.count(".") != 2:
        return None
    part = token.split(".")[1]
    try:
        payload = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, RecursionError):
        return None
    return payload if isinstance(payload, dict) else None


def _is_for(payload: dict[str, Any], app: AppPlace) -> bool:
    audience = payload.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    return app.client_id in audiences and payload.get("iss") in _issuers(payload, app)


def _issuers(payload: dict[str, Any], app: AppPlace) -> tuple[str, ...]:
    if app.provider == providers.MICROSOFT:
        return (f"{providers.MICROSOFT_URL}/{_text(payload.get('tid'))}/v2.0",)
    if app.provider == providers.GOOGLE:
        return ("https://accounts.google.com", "accounts.google.com")
    return (app.issuer,)


def _text(value: object) -> str:
    """A claim as it may be stored and shown: one line of plain characters."""
    fits = isinstance(value, str) and len(value) <= LONGEST_CLAIM and value.isprintable()
    return str(value) if fits else ""
