"""What a domain publishes of its mail servers: Mozilla's autoconfig over HTTPS, and SRV records.

The latter as RFC 6186 and RFC 8314 have them.

The part of an address before the @ is told to nobody. What is found are
suggestions: the person decides, and TLS then verifies the server's name.
"""

from __future__ import annotations

import ipaddress
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit
from xml.etree import ElementTree

from panel.errors import BadInput, MailError
from panel.mail import addresses, connect
from panel.mail.policy import Policy
from panel.mail.server import MailServer, normalise_host
from panel.mail.wire import Wire

if TYPE_CHECKING:
    from dns.resolver import Resolver

LONGEST = 256 * 2**10  # bytes of a document
LONGEST_TEXT = 500  # characters of one element; a name of a server is normalised, which takes its square
MOST_SERVERS = 20  # of a document that are looked at
REDIRECTS = 2
PLACES = (
    "https://autoconfig.{domain}/mail/config-v1.1.xml",
    "https://{domain}/.well-known/autoconfig/mail/config-v1.1.xml",
)
SECURITIES = {"SSL": "tls", "STARTTLS": "starttls"}
SERVICES = (
    ("imap", "_imaps", "tls"), ("imap", "_imap", "starttls"), ("pop3", "_pop3s", "tls"),
    ("smtp", "_submissions", "tls"), ("smtp", "_submission", "starttls"),
)  # fmt: skip
INSIDE = tuple(
    ipaddress.ip_network(network)
    for network in (
        "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16",
        "0.0.0.0/8", "::1/128", "fc00::/7", "fe80::/10",
    )
)  # fmt: skip
STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})")


@dataclass(frozen=True)
class Found:
    """One server that a domain names. `username` holds %EMAILADDRESS% and the like, still to be filled in."""

    protocol: str  # imap, pop3, smtp
    host: str  # normalised
    port: int
    security: str  # tls, starttls
    username: str = "%EMAILADDRESS%"


# -- autoconfig ------------------------------------------------------------------------


def published(
    domain: str, policy: Policy, ends_at: float, ports: frozenset[int] = frozenset({443})
) -> list[Found]:
    """What the domain's autoconfig document names, over verified HTTPS only. Empty where there is none.

    `ends_at` is a moment of `time.monotonic()`. Raises nothing that a server or a network can cause.
    """
    # Whom a stranger's answer names is asked only out in the open, never on this network.
    inside = () if ports != frozenset({443}) else INSIDE
    web = replace(
        policy,
        ports=ports,
        deny=(*policy.deny, *inside),
        max_session=LONGEST,
        max_line=8 * 2**10,
        idle_timeout=3.0,
        connect_timeout=2.0,
    )
    for place in PLACES:
        with suppress(MailError, BadInput, ValueError):  # ValueError: an address that is none
            found = list(_servers(_fetch(place.format(domain=domain), web, ends_at), domain))
            if found:
                return found
    return []


def _fetch(url: str, policy: Policy, ends_at: float) -> bytes:
    for _ in range(REDIRECTS + 1):
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname:
            raise MailError("connect", "It leads away from HTTPS.")
        host, port = normalise_host(parts.hostname), parts.port or 443
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        status, headers, body = _get(host, port, path, policy, ends_at)
        if status == 200:
            return body
        if status not in (301, 302, 303, 307, 308) or b"location" not in headers:
            break
        url = urljoin(url, headers[b"location"].decode("ascii", "replace"))
    raise MailError("fetch", "There is no such document.")


def _get(
    host: str, port: int, path: str, policy: Policy, ends_at: float
) -> tuple[int, dict[bytes, bytes], bytes]:
    where = MailServer("https", host, port, "tls", "")
    found = addresses.resolve(where, policy, min(2.0, ends_at - time.monotonic()))
    wire = connect.dial(host, found, policy, ends_at)
    try:
        connect.encrypt(wire, policy)
        # HTTP/1.0: the answer ends with the connection, in one piece.
        head = f"GET {path} HTTP/1.0\r\nHost: {host}\r\nAccept: text/xml\r\nUser-Agent: Mailkeep\r\n\r\n"
        wire.send(head.encode("ascii", "replace"))
        return _answer(wire)
    finally:
        wire.close()


def _answer(wire: Wire) -> tuple[int, dict[bytes, bytes], bytes]:
    status = STATUS.match(wire.line())
    if status is None:
        raise MailError("fetch", "It does not answer as a web server.")
    headers: dict[bytes, bytes] = {}
    while line := wire.line():
        name, _, value = line.partition(b":")
        headers[name.strip().lower()] = value.strip()
    length = headers.get(b"content-length", b"")
    if length.isdigit() and int(length) <= LONGEST:
        return int(status[1]), headers, wire.exactly(int(length))
    return int(status[1]), headers, wire.rest(LONGEST)


def _servers(document: bytes, domain: str) -> Iterator[Found]:
    """The servers of a clientConfig document that are reached encrypted, with a password."""
    try:
        text = document.decode("utf-8")
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            return  # no honest one has entities of its own
        root = ElementTree.fromstring(text)  # noqa: S314 - without a DTD there is nothing to expand
    except (UnicodeDecodeError, ElementTree.ParseError, ValueError):
        return
    for tag, kinds in (("incomingServer", ("imap", "pop3")), ("outgoingServer", ("smtp",))):
        for server in islice(root.iter(tag), MOST_SERVERS):
            with suppress(BadInput, ValueError):
                yield _server(server, kinds, domain)


def _server(element: ElementTree.Element, kinds: tuple[str, ...], domain: str) -> Found:
    """One server. Raises ValueError or BadInput for one that is no use.

    Only its own children are looked at: servers in servers in servers would be read again and again.
    """
    kind = element.get("type", "").lower()
    security = SECURITIES.get(_text(element, "socketType").upper(), "")
    ways = {(way.text or "").strip() for way in element.findall("authentication")}
    if kind not in kinds or not security or "password-cleartext" not in ways:
        raise ValueError
    username = _text(element, "username") or "%EMAILADDRESS%"
    if not username.isprintable() or len(username) > 200:
        raise ValueError
    return Found(
        kind,
        normalise_host(_text(element, "hostname").replace("%EMAILDOMAIN%", domain)),
        int(_text(element, "port")),
        security,
        username,
    )


def _text(element: ElementTree.Element, tag: str) -> str:
    text = element.findtext(tag) or ""
    if len(text) > LONGEST_TEXT:
        raise ValueError
    return text.strip()


# -- SRV -------------------------------------------------------------------------------


def announced(domain: str, ends_at: float, resolver: Resolver | None = None) -> list[Found]:
    """What the domain's SRV records name, the encrypted ones first. Empty where there are none."""
    import dns.exception  # a tenth of what every command and server would wait for at its start
    import dns.resolver

    found: list[Found] = []
    try:
        resolver = resolver or dns.resolver.Resolver()
    except dns.exception.DNSException:
        return []
    for protocol, service, security in SERVICES:
        if any(one.protocol == protocol for one in found):
            continue
        with suppress(dns.exception.DNSException, BadInput):
            left = min(1.5, ends_at - time.monotonic())
            if left <= 0:
                break
            answer = resolver.resolve(f"{service}._tcp.{domain}", "SRV", lifetime=left)
            best = min(answer, key=lambda record: (record.priority, -record.weight))
            target = str(best.target).rstrip(".")
            if target:  # a lone dot says that there is none (RFC 6186, 3.4)
                found.append(Found(protocol, normalise_host(target), best.port, security))
    return found
