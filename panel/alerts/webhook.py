"""Calling the webhook: one POST of small JSON. Of the answer only the status is read."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

from panel import install
from panel.config import Settings
from panel.errors import BadInput, MailError, WebhookFailed
from panel.mail import https
from panel.mail.https import Body, HttpLimits, Target
from panel.mail.policy import Policy

LIMITS = HttpLimits(seconds=10.0, connect_seconds=4.0, body=0)
SIGNATURE = "Mailkeep-Signature"


def target(url: str) -> Target:
    """Where `url` leads. Raises BadInput (field `webhook`) for one that is not called."""
    try:
        return https.target(url)
    except BadInput as error:
        remedy = "Enter it as https://name/path. http:// is only for a program on this server."
        raise BadInput(error.message, remedy, field="webhook") from None


def call(url: str, message: Mapping[str, object], settings: Settings) -> str:
    """Send `message`, signed; a sentence about the answer. Raises WebhookFailed, BadInput."""
    to, body = target(url), Body.of_json(message)
    headers = {SIGNATURE: signature(settings, body.content)}
    try:
        response = https.fetch(
            url, Policy.of(settings), internal=True, limits=LIMITS, body=body, headers=headers
        )
    except MailError as error:
        raise WebhookFailed(error.message, "Check the webhook's address, and whether it runs.") from None
    if 300 <= response.status < 400:
        raise WebhookFailed(
            f"{to.origin} redirects (status {response.status}), and redirects are not followed.",
            "Enter the address that it redirects to.",
        )
    if not 200 <= response.status < 300:
        raise WebhookFailed(
            f"{to.origin} answered with status {response.status}.",
            "Check the webhook's address and the program that receives it.",
        )
    return f"{to.origin} accepted the alert (status {response.status})."


def signature(settings: Settings, body: bytes) -> str:
    """What shows that the body comes from this install: HMAC-SHA256 under `signing_key`."""
    return "sha256=" + hmac.new(signing_key(settings).encode(), body, hashlib.sha256).hexdigest()


def signing_key(settings: Settings) -> str:
    """The key, as text, that the receiver of the webhook checks signatures with.

    Derived from the secret key, which it does not reveal, and of no other use.
    """
    secret = install.read_secret_key(settings)
    assert secret is not None  # every install has one
    return hmac.new(secret.reveal_bytes(), b"mailkeep/webhook", hashlib.sha256).hexdigest()
