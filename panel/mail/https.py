"""The one HTTP client: for autoconfig, webhooks and OAuth. HTTPS, but for a program on this server.

The same care as with mail servers: the name is resolved once and every address checked, the
connection goes to a checked address, TLS always verifies the server, and bytes and time
are bounded. The standard library's http.client only writes the request and reads the response.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import json
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from email.message import Message
from email.utils import parsedate_to_datetime
from typing import IO, Any
from urllib.parse import urljoin, urlsplit

from panel.errors import BadInput, MailError
from panel.mail import connect
from panel.mail.policy import KIB, Policy
from panel.mail.server import MailServer, is_loopback, normalise_host
from panel.mail.wire import HungUp, Wire

LONGEST_URL = 1000
LONGEST_PAUSE = 24 * 3600  # seconds of Retry-After that are obeyed
PORTS = {"https": 443, "http": 80}
REDIRECTS = frozenset({301, 302, 303, 307, 308})
INTERNAL = tuple(
    ipaddress.ip_network(network)
    for network in (
        "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16",
        "0.0.0.0/8", "::1/128", "fc00::/7", "fe80::/10",
    )
)  # fmt: skip


@dataclass(frozen=True)
class HttpLimits:
    """What one call may take: seconds, redirects included; bytes of each response (`body` 0: not read)."""

    seconds: float = 10.0
    connect_seconds: float = 4.0
    head: int = 64 * KIB
    body: int = 256 * KIB
    redirects: int = 0


@dataclass(frozen=True)
class Body:
    """What a POST sends: `content`, or `pieces`, whose length a Content-Length of `headers` tells."""

    content: bytes
    content_type: str
    pieces: Iterable[bytes] | None = None

    @classmethod
    def of_json(cls, value: object) -> Body:
        return cls(json.dumps(value, ensure_ascii=False).encode(), "application/json")


@dataclass(frozen=True)
class Response:
    """What a server answered. It may repeat what it was sent, secrets too: nothing of it is for people."""

    status: int
    headers: Message = field(repr=False)  # names in any case
    body: bytes = field(repr=False)

    def json_object(self) -> dict[str, Any] | None:
        """The JSON object that the body is; None where it is none."""
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None

    @property
    def retry_after(self) -> int | None:
        """The seconds that Retry-After asks to wait, a day at most; None where it does not."""
        text = (self.headers["Retry-After"] or "").strip()
        if text.isascii() and text.isdigit():
            seconds = float(text[:10])
        else:
            try:
                seconds = parsedate_to_datetime(text[:40]).timestamp() - time.time()
            except (ValueError, OverflowError):
                return None
        return int(min(max(seconds, 0), LONGEST_PAUSE))


@dataclass(frozen=True)
class Target:
    scheme: str
    host: str  # normalised
    port: int
    path: str  # with its query

    @property
    def origin(self) -> str:
        """What may be shown and recorded: many services put a secret into the path."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}{'' if PORTS[self.scheme] == self.port else f':{self.port}'}"


def target(url: str) -> Target:
    """Where `url` leads. Raises BadInput for one that is not called: http leads to this server only."""
    if len(url) > LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise BadInput("The URL is too long, or holds a character that no URL has.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BadInput("The URL cannot be read.") from None
    if parts.scheme not in PORTS or not parts.hostname:
        raise BadInput("The URL does not begin with https:// and the name of a server.")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise BadInput("The URL holds a user, a password or a #, which is not sent.")
    host = normalise_host(parts.hostname)
    if parts.scheme == "http" and not is_loopback(host):
        raise BadInput("Without HTTPS everything would cross the network unencrypted.")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port or PORTS[parts.scheme], path)


def fetch(
    url: str,
    policy: Policy,
    *,
    internal: bool,
    ports: Collection[int] | None = None,
    limits: HttpLimits = HttpLimits(),
    body: Body | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """GET `url`, or POST `body` to it.

    `internal`: whether it may lie on this server or in its network; no where a stranger named it.
    `ports`: those that it may lie on; None: whichever. Redirects, as many as `limits` allows, are
    followed from GET to HTTPS alone, without `headers`, each checked like the first. Raises
    MailError, and BadInput for a URL that is not called.
    """
    ends_at = time.monotonic() + limits.seconds
    web = replace(
        policy,
        deny=policy.deny if internal else (*policy.deny, *INTERNAL),
        connect_timeout=limits.connect_seconds,
        idle_timeout=limits.seconds,
    )
    for _ in range(limits.redirects + 1):
        to = target(url)
        web = replace(web, ports=frozenset({to.port} if ports is None else ports))
        response = _exchange(to, web, ends_at, limits, body, headers or {})
        if body is not None or not limits.redirects or response.status not in REDIRECTS:
            return response
        url, headers = _redirected(url, to, response), None  # which may hold a secret for the first server
    raise MailError("fetch", f"{to.origin} redirects too often.", "Check the URL.")


def _redirected(url: str, to: Target, response: Response) -> str:
    with suppress(ValueError):
        url = urljoin(url, response.headers["Location"] or "")
        if url.startswith("https://"):
            return url
    raise MailError("fetch", f"{to.origin} redirects away from HTTPS.", "Check the URL.")


def _exchange(
    to: Target,
    policy: Policy,
    ends_at: float,
    limits: HttpLimits,
    body: Body | None,
    headers: Mapping[str, str],
) -> Response:
    where = MailServer(to.scheme, to.host, to.port, "tls" if to.scheme == "https" else "none", "")
    seconds = min(policy.connect_timeout, ends_at - time.monotonic())
    wire = connect.dial(to.host, connect.resolve(where, policy, seconds), policy, ends_at)
    try:
        if to.scheme == "https":
            connect.encrypt(wire, policy)
        wire.step = "send"
        return _request(wire, to, limits, body, headers)
    except http.client.RemoteDisconnected:
        raise wire.hung_up() from None
    except (http.client.HTTPException, ValueError):  # a status, header or length that is none
        raise wire.error("does not answer as a web server.", "Check the URL.") from None
    finally:
        wire.close()


def _request(
    wire: Wire, to: Target, limits: HttpLimits, body: Body | None, headers: Mapping[str, str]
) -> Response:
    received = _Received(wire, limits.head)
    connection = http.client.HTTPConnection(to.host, to.port)
    connection.sock = _Connection(wire, received)
    connection.response_class = _FinalResponse
    sent = {"Host": to.origin.partition("://")[2], "User-Agent": "Mailkeep", "Connection": "close", **headers}
    if body is not None:
        sent["Content-Type"] = body.content_type
    method = "GET" if body is None else "POST"
    content = None if body is None else body.pieces or body.content
    whole = False
    with suppress(HungUp):  # a server may refuse a long body before its end: then there is a response
        connection.request(method, to.path, content, sent)
        whole = True
    response = connection.getresponse()
    if not whole and response.status < 400:  # it has not got what it says that it took
        raise wire.error("closed the connection before it had the whole request.", "Try again later.")
    answer = b""
    if limits.body:
        received.left += limits.body
        answer = response.read(limits.body + 1)
        if len(answer) > limits.body or response.length:
            raise wire.error("sent a response that is too long or incomplete.", "Check the URL.")
    return Response(response.status, response.headers, answer)


class _FinalResponse(http.client.HTTPResponse):
    """A response, past those that only announce it, such as 103 (RFC 9110, 15.2)."""

    def begin(self) -> None:
        super().begin()
        while 100 <= self.status < 200:
            self.headers = None  # type: ignore[assignment]
            super().begin()


class _Received(io.RawIOBase):
    """What comes over a `Wire`: up to `left` bytes more."""

    def __init__(self, wire: Wire, left: int) -> None:
        self._wire = wire
        self.left = left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self.left <= 0:
            raise self._wire.error("sent a response that is too long.", "Check the URL.")
        try:
            with memoryview(buffer) as view:
                count = self._wire.receive_into(view[: self.left])
        except HungUp:
            return 0
        self.left -= count
        return count


class _Connection:
    """A `Wire` in the place of the socket that http.client works with."""

    def __init__(self, wire: Wire, received: _Received) -> None:
        self._received = received
        self.sendall = wire.send

    def makefile(self, mode: str) -> IO[bytes]:
        return io.BufferedReader(self._received)

    def close(self) -> None:
        """`_exchange` closes the wire."""
