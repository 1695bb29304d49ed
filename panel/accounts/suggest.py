"""Which servers a mailbox probably has: from a list of providers, or from what its domain publishes."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from panel import audit
from panel.accounts.rules import LONGEST_USERNAME
from panel.audit import Actor
from panel.config import Settings
from panel.errors import BadInput, Throttled
from panel.mail import autoconfig
from panel.mail.autoconfig import PublishedServer
from panel.mail.policy import Policy
from panel.mail.providers import GMAIL, MAIL_HOSTS, MICROSOFT_365, PROVIDERS, WITHOUT_PASSWORDS, Provider
from panel.mail.server import MailServer, normalise_host

SECONDS = 6.0  # for everything
PER_HOUR = 60  # of the whole install: each asks servers that a person has named
LOOKED_UP = "settings looked up"
HOSTED = {"microsoft": ("Microsoft 365", MICROSOFT_365), "google": ("Google", GMAIL)}
PLACEHOLDER = re.compile(r"%EMAIL(?:ADDRESS|LOCALPART|DOMAIN)%")


@dataclass(frozen=True)
class Suggestion:
    """What to fill in, and where it is from. Without `incoming` there is only the message."""

    message: str
    incoming: MailServer | None = None
    outgoing: MailServer | None = None
    provider: str = "other"  # microsoft, google


def suggest(address: str, settings: Settings, actor: Actor) -> Suggestion:
    """Look for the servers of `address`. Raises Throttled after too many; nothing that a network can cause.

    No password is sent anywhere, and the part before the @ neither.
    """
    local, _, typed = address.rpartition("@")
    try:
        domain = normalise_host(typed)
    except BadInput:
        return _nothing(typed)
    if "." not in domain or ":" in domain or domain.replace(".", "").isdigit():
        return _nothing(domain)  # an address, or a name of this network
    if domain in WITHOUT_PASSWORDS:
        return Suggestion(WITHOUT_PASSWORDS[domain])
    if domain in PROVIDERS:
        return _of(PROVIDERS[domain], address, local, f"These are the servers of {domain}.", settings)
    _count(domain, actor)
    return _looked_up(domain, address, local, settings)


def _looked_up(domain: str, address: str, local: str, settings: Settings) -> Suggestion:
    ends_at = time.monotonic() + SECONDS
    hosted = _hosted(autoconfig.mail_hosts(domain, ends_at))
    if hosted:
        name, provider = HOSTED[hosted]
        return _of(provider, address, local, f"{name} receives the mail of {domain}.", settings)
    found = autoconfig.published(domain, Policy.of(settings), ends_at - SECONDS / 3)
    if found:
        return _chosen(found, address, local, f"{domain} publishes these settings over HTTPS.", settings)
    found = autoconfig.announced(domain, ends_at)
    if found:
        message = (
            f"DNS names these servers for {domain}, but the answer is not authenticated."
            " Check that they are right."
        )
        return _chosen(found, address, local, message, settings)
    return _nothing(domain)


def _of(provider: Provider, address: str, local: str, message: str, settings: Settings) -> Suggestion:
    """The servers of a provider that is known."""
    found = [PublishedServer("imap", *provider.imap), PublishedServer("smtp", *provider.smtp)]
    chosen = _chosen(found, address, local, f"{message} {provider.note}", settings)
    name = next((name for name, (_, known) in HOSTED.items() if known is provider), "other")
    return replace(chosen, provider=name)


def _hosted(mail_hosts: Sequence[str]) -> str:
    """Whose servers receive the mail. DNS is not authenticated; so it only chooses servers that are known."""
    for provider, domains in MAIL_HOSTS.items():
        if any(f".{host}".endswith(domains) for host in mail_hosts):
            return provider
    return ""


def _nothing(domain: str) -> Suggestion:
    return Suggestion(f"No settings found for {domain[:80]}. The provider's help pages name its servers.")


def _chosen(
    found: Sequence[PublishedServer], address: str, local: str, message: str, settings: Settings
) -> Suggestion:
    """The first that this install may reach: IMAP before POP3, TLS before STARTTLS."""
    allowed = [one for one in found if one.port in settings.mail_ports]
    order = {"imap": 0, "pop3": 1}
    incoming = sorted(
        (one for one in allowed if one.protocol in order),
        key=lambda one: (order[one.protocol], one.security != "tls"),
    )
    outgoing = sorted(
        (one for one in allowed if one.protocol == "smtp"), key=lambda one: one.security != "tls"
    )
    if not incoming:
        return _nothing(address.rpartition("@")[2])
    if len(allowed) < len(found):
        message = f"{message.strip()} Others are left out: PANEL_MAIL_PORTS does not allow their ports."
    return Suggestion(
        message.strip(),
        _server(incoming[0], address, local),
        _server(outgoing[0], address, local) if outgoing else None,
    )


def _server(found: PublishedServer, address: str, local: str) -> MailServer:
    values = {
        "%EMAILADDRESS%": address,
        "%EMAILLOCALPART%": local,
        "%EMAILDOMAIN%": address.rpartition("@")[2],
    }
    username = PLACEHOLDER.sub(lambda match: values[match[0]], found.username)[:LONGEST_USERNAME]
    return MailServer(found.protocol, found.host, found.port, found.security, username)


def _count(domain: str, actor: Actor) -> None:
    recent = audit.recent(LOOKED_UP)
    if recent >= PER_HOUR:
        raise Throttled(f"There were {recent} look-ups within an hour.", "Try again in a few minutes.")
    actor.record(LOOKED_UP, domain)
