"""What a domain publishes of its mail servers: Mozilla's autoconfig over HTTPS, SRV records (RFC 6186, 8314).

The part of an address before the @ is sent to no server. What is found are
suggestions: the person decides, and TLS then verifies the server's name.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from panel.errors import BadInput, MailError
from panel.mail import https
from panel.mail.policy import Policy
from panel.mail.server import normalise_host

if TYPE_CHECKING:
    from dns.resolver import Resolver

LONGEST_TEXT = 500  # characters of one element; a name of a server is normalised, which takes its square
MOST_SERVERS = 20  # of a document that are looked at
PLACES = (
    "https://autoconfig.{domain}/mail/config-v1.1.xml",
    "https://{domain}/.well-known/autoconfig/mail/config-v1.1.xml",
)
PLACE_SECONDS = 3.0  # for each, so that a silent one leaves time for the next
SECURITIES = {"SSL": "tls", "STARTTLS": "starttls"}
SERVICES = (
    ("imap", "_imaps", "tls"), ("imap", "_imap", "starttls"), ("pop3", "_pop3s", "tls"),
    ("smtp", "_submissions", "tls"), ("smtp", "_submission", "starttls"),
)  # fmt: skip


@dataclass(frozen=True)
class PublishedServer:
    """One server that a domain names. `username` holds %EMAILADDRESS% and the like, still to be filled in."""

    protocol: str  # imap, pop3, smtp
    host: str  # normalised
    port: int
    security: str  # tls, starttls
    username: str = "%EMAILADDRESS%"


# -- autoconfig ------------------------------------------------------------------------


def published(
    domain: str, policy: Policy, ends_at: float, *, internal: bool = False, ports: Collection[int] = (443,)
) -> list[PublishedServer]:
    """What the domain's autoconfig document names, over verified HTTPS only. Empty where there is none.

    `ends_at` is a moment of `time.monotonic()`. `internal`: whether servers of this network are asked
    too, which a stranger's domain could name. Raises nothing that a server or a network can cause.
    """
    for place in PLACES:
        seconds = min(PLACE_SECONDS, ends_at - time.monotonic())
        limits = https.HttpLimits(seconds, connect_seconds=2.0, redirects=2)
        with suppress(MailError, BadInput):
            url = place.format(domain=domain)
            response = https.fetch(url, policy, internal=internal, ports=ports, limits=limits)
            found = list(_servers(response.body, domain)) if response.status == 200 else []
            if found:
                return found
    return []


def _servers(document: bytes, domain: str) -> Iterator[PublishedServer]:
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


def _server(element: ElementTree.Element, kinds: tuple[str, ...], domain: str) -> PublishedServer:
    """One server. Raises ValueError or BadInput for one that is no use.

    Only its own children are looked at: servers in servers in servers would be read again and again.
    """
    kind = element.get("type", "").lower()
    security = SECURITIES.get(_text(element, "socketType").upper(), "")
    methods = {(one.text or "").strip() for one in element.findall("authentication")}
    if kind not in kinds or not security or "password-cleartext" not in methods:
        raise ValueError
    username = _text(element, "username") or "%EMAILADDRESS%"
    if not username.isprintable() or len(username) > 200:
        raise ValueError
    return PublishedServer(
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


# -- DNS -------------------------------------------------------------------------------


def mail_hosts(domain: str, ends_at: float) -> list[str]:
    """The names of the servers that receive the domain's mail (MX). Empty where DNS does not answer soon."""
    import dns.exception
    import dns.resolver

    try:
        left = max(min(1.0, ends_at - time.monotonic()), 0.1)
        answer = dns.resolver.Resolver().resolve(domain, "MX", lifetime=left)
    except dns.exception.DNSException:
        return []
    return [str(record.exchange).rstrip(".").lower() for record in answer][:MOST_SERVERS]


def announced(domain: str, ends_at: float, resolver: Resolver | None = None) -> list[PublishedServer]:
    """What the domain's SRV records name, the encrypted ones first. Empty where there are none."""
    import dns.exception  # a tenth of what every command and server would wait for at its start
    import dns.resolver

    found: list[PublishedServer] = []
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
                found.append(PublishedServer(protocol, normalise_host(target), best.port, security))
    return found
