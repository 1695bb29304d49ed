"""Security headers, cookie flags, proxy headers, and the host names that the panel answers to."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from flask import Flask, Response, abort, request
from werkzeug.middleware.proxy_fix import ProxyFix

from panel.config import Settings

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
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
LOOPBACK = ("127.0.0.1", "localhost", "::1")
LARGEST_REQUEST = 64 * 2**10  # bytes of a body; the largest form has a few kilobytes
LARGEST_FILE = (
    480 * 2**10
)  # where a file is uploaded: Werkzeug writes one of 500 kB to the disk, passwords and all
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
    inner = PublicAddress(app.wsgi_app, settings.url, behind_proxy=hops > 0)
    app.wsgi_app = ProxyFix(inner, x_for=hops, x_proto=hops, x_host=0, x_prefix=0)  # type: ignore[method-assign]
    host = urlsplit(settings.url).hostname if settings.url else None
    app.before_request(lambda: _require_host(host))
    app.after_request(lambda response: _finish(response, https))


class PublicAddress:
    """Take host and path prefix from PANEL_URL only.

    A proxy that does not set X-Forwarded-Host or -Prefix passes on what the client wrote there.
    """

    def __init__(self, inner: Any, url: str | None, *, behind_proxy: bool) -> None:
        """Wrap `inner`; without `url` requests stay as they are."""
        self._inner, self._url, self._behind_proxy = inner, urlsplit(url or ""), behind_proxy

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if self._url.netloc:
            environ["SCRIPT_NAME"] = self._url.path
        if self._url.netloc and self._behind_proxy and "HTTP_X_FORWARDED_FOR" in environ:
            given = environ.get("HTTP_HOST", "")
            # Many proxies send our loopback address as the host; any other host stays, to be refused.
            environ["HTTP_HOST"] = self._url.netloc if _is_loopback(given) else given
        return self._inner(environ, start_response)


def _is_loopback(host: str) -> bool:
    return urlsplit(f"//{host}").hostname in LOOPBACK


def _require_host(host: str | None) -> None:
    """With PANEL_URL set, answer only to its host name, and to loopback for health checks."""
    if host and urlsplit(f"//{request.host}").hostname != host and not _is_loopback(request.host):
        abort(421)


def _finish(response: Response, https: bool) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    if https:
        response.headers.setdefault("Strict-Transport-Security", "max-age=31536000")
    if request.endpoint != "static" or response.status_code >= 400:
        response.headers["Cache-Control"] = "no-store"
    return response


def plain_http_exposed() -> bool:
    """Whether passwords cross a network unencrypted: plain HTTP, and not on loopback."""
    return not request.is_secure and not _is_loopback(request.host)
