"""Calling the webhook: one POST of small JSON, and nothing of the answer but its status.

The same care as with mail servers: the name is resolved once and every address
checked, TLS always verifies who answers, no redirect is followed, time is bounded.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from panel import install
from panel.config import Settings
from panel.errors import BadInput, MailError, WebhookFailed
from panel.mail import addresses, connect
from panel.mail.policy import Policy
from panel.mail.server import MailServer, normalise_host
from panel.mail.wire import Wire

LONGEST_URL = 1000
SECONDS = 10.0  # for all of one call
CONNECT_SECONDS = 4.0
MOST_ANSWER = 64 * 2**10  # bytes; only the first line is looked at
STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: |\Z)")
SIGNATURE = "Mailkeep-Signature"


@dataclass(frozen=True)
class Target:
    """Where a webhook's URL leads."""

    scheme: str
    host: str  # normalised
    port: int
    path: str  # with its query

    @property
    def origin(self) -> str:
        """What may be shown and recorded: many services put a secret into the path."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = {"https": 443, "http": 80}[self.scheme] == self.port
        return f"{self.scheme}://{host}{'' if usual else f':{self.port}'}"


def target(url: str) -> Target:
    """Where `url` leads. Raises BadInput (field `webhook`) for one that is not called."""
    if len(url) > LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise _bad("The webhook's address is too long, or holds a character that no web address has.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _bad("The webhook's address cannot be read.") from None
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise _bad("The webhook's address does not begin with https:// and the name of a server.")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise _bad("The webhook's address holds a user, a password or a #, which is not sent.")
    host = _host(parts.hostname)
    if parts.scheme == "http" and not _is_loopback(host):
        raise _bad("Without HTTPS the notices would cross the network readable.")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port or {"https": 443, "http": 80}[parts.scheme], path)


def call(url: str, told: Mapping[str, object], settings: Settings) -> str:
    """Send `told`, signed; a sentence about the answer. Raises WebhookFailed, BadInput."""
    to, body = target(url), json.dumps(told, ensure_ascii=False).encode()
    try:
        code = _post(to, body, signature(settings, body), _policy(settings, to))
    except MailError as error:
        raise WebhookFailed(error.message, "Check the webhook's address, and whether it runs.") from None
    if 300 <= code < 400:
        raise WebhookFailed(
            f"{to.origin} leads elsewhere (status {code}), and redirects are not followed.",
            "Set the address that it leads to.",
        )
    if not 200 <= code < 300:
        raise WebhookFailed(
            f"{to.origin} answered with status {code}.", "Check the webhook's address and what receives it."
        )
    return f"{to.origin} took it (status {code})."


def signature(settings: Settings, body: bytes) -> str:
    """What proves that the body comes from this install: HMAC-SHA256 under `signing_key`."""
    return "sha256=" + hmac.new(signing_key(settings).encode(), body, hashlib.sha256).hexdigest()


def signing_key(settings: Settings) -> str:
    """The key, as text, that whoever receives the webhook checks signatures with.

    Made from the secret key, which it does not give away, and of no use for anything else.
    """
    secret = install.read_secret_key(settings)
    assert secret is not None  # whoever has an install has it
    return hmac.new(secret.reveal_bytes(), b"mailkeep/webhook", hashlib.sha256).hexdigest()


def _policy(settings: Settings, to: Target) -> Policy:
    return replace(
        Policy.of(settings),
        ports=frozenset({to.port}),
        max_session=MOST_ANSWER,
        max_line=8 * 2**10,
        connect_timeout=CONNECT_SECONDS,
        idle_timeout=SECONDS,
    )


def _post(to: Target, body: bytes, signed: str, policy: Policy) -> int:
    ends_at = time.monotonic() + SECONDS
    where = MailServer(to.scheme, to.host, to.port, "tls" if to.scheme == "https" else "none", "")
    found = addresses.resolve(where, policy, CONNECT_SECONDS)
    wire = connect.dial(to.host, found, policy, ends_at)
    try:
        if to.scheme == "https":
            connect.encrypt(wire, policy)
        wire.step = "send"
        wire.send(_head(to, len(body), signed) + body)
        return _status(wire)
    finally:
        wire.close()


def _head(to: Target, length: int, signed: str) -> bytes:
    lines = (
        f"POST {to.path} HTTP/1.1",
        f"Host: {to.origin.partition('://')[2]}",
        "Content-Type: application/json",
        f"Content-Length: {length}",
        f"{SIGNATURE}: {signed}",
        "User-Agent: Mailkeep",
        "Connection: close",
    )
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("ascii")


def _status(wire: Wire) -> int:
    status = STATUS.match(wire.line())
    if status is None:
        raise MailError("send", f"{wire.host} does not answer as a web server.")
    return int(status[1])


def _host(text: str) -> str:
    try:
        return normalise_host(text)
    except BadInput as error:
        raise _bad(error.message) from None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _bad(message: str) -> BadInput:
    return BadInput(
        message,
        "Type it as https://name/path; http:// is only for a program on this very machine.",
        field="webhook",
    )
