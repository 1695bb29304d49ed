"""What every response carries, and which hosts are answered at all."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Flask, Response, abort, request
from werkzeug.middleware.proxy_fix import ProxyFix

from panel.config import Settings

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
LARGEST_REQUEST = 64 * 2**10  # bytes of a body; the longest form here has a few kilobytes
MOST_PARTS = 100  # of a form


def init_app(app: Flask, settings: Settings) -> None:
    """Set cookie flags, proxy hops and headers from `settings`."""
    https = bool(settings.url and settings.url.startswith("https:"))
    path = (urlsplit(settings.url).path if settings.url else "") or "/"
    app.config.update(
        SESSION_COOKIE_NAME="__Host-mailkeep" if https and path == "/" else "mailkeep",
        SESSION_COOKIE_SECURE=https,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_PATH=path,
        APPLICATION_ROOT=path,
        MAX_CONTENT_LENGTH=LARGEST_REQUEST,
        MAX_FORM_MEMORY_SIZE=LARGEST_REQUEST,
        MAX_FORM_PARTS=MOST_PARTS,
    )
    hops = settings.trusted_proxies
    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops, x_prefix=hops)  # type: ignore[method-assign]
    host = urlsplit(settings.url).hostname if settings.url else None
    app.before_request(lambda: _require_host(host))
    app.after_request(lambda response: _finish(response, https))


def _require_host(host: str | None) -> None:
    """With PANEL_URL set, answer only under its name (and loopback, for health checks)."""
    given = urlsplit(f"//{request.host}").hostname
    if host and given not in (host, "127.0.0.1", "localhost", "::1"):
        abort(421)


def _finish(response: Response, https: bool) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    if https:
        response.headers.setdefault("Strict-Transport-Security", "max-age=31536000")
    if request.endpoint != "static":
        response.headers["Cache-Control"] = "no-store"
    return response


def plain_http_exposed() -> bool:
    """Whether passwords typed here cross a network unencrypted: plain HTTP, and not on loopback."""
    local = urlsplit(f"//{request.host}").hostname in ("127.0.0.1", "localhost", "::1")
    return not request.is_secure and not local
