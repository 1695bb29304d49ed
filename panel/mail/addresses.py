"""From the name of a server to the addresses that may be connected to.

The name is resolved once; every address is checked; the connection goes to an
address checked here, never to the name again. Whoever controls the name can
so not point it elsewhere between check and connection.
"""

from __future__ import annotations

import ipaddress
import queue
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from panel.errors import MailError
from panel.mail.policy import Network, Policy
from panel.mail.server import MailServer

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

NAT64 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))
CHECK_DNS = "Try again later, and check the DNS settings of this server."
IPV4_COMPATIBLE = ipaddress.IPv6Network("::/96")


@dataclass(frozen=True)
class Address:
    """A checked address, as `socket.connect` wants it."""

    family: socket.AddressFamily
    sockaddr: tuple[str, int] | tuple[str, int, int, int]

    @property
    def ip(self) -> IPAddress:
        """The address alone, without the interface that IPv6 may name."""
        return ipaddress.ip_address(self.sockaddr[0].partition("%")[0])


def resolve(endpoint: MailServer, policy: Policy, seconds: float) -> list[Address]:
    """Every address of the endpoint's host, in the resolver's order, at least one.

    Raises MailError: the port is not on the list (step `connect`), the name is
    unknown or takes longer than `seconds` (step `name`), an address lies in a
    denied network, or is not loopback though nothing would be encrypted (`connect`).
    """
    if endpoint.port not in policy.ports:
        raise MailError(
            "connect",
            f"Port {endpoint.port} is not allowed for mail servers.",
            "Choose another port, or add it to PANEL_MAIL_PORTS.",
            permanent=True,
        )
    addresses = _look_up(endpoint, seconds)
    for address in addresses:
        _check(address.ip, endpoint, policy)
    return addresses


def number_of(host: str, port: int, seconds: float) -> str | None:
    """One address of `host`, the same each time while it has the same ones. None where there is none in time.

    To tell servers apart, never to connect to.
    """
    try:
        found = _look_up(MailServer("", host, port, "", ""), seconds)
    except MailError:
        return None
    return min(str(one.ip) for one in found)


def _look_up(endpoint: MailServer, seconds: float) -> list[Address]:
    """getaddrinfo knows no time limit, so it runs beside us and is left behind when it takes too long."""
    answers: queue.Queue[list[Address] | OSError] = queue.Queue()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            answers.put(error if isinstance(error, OSError) else OSError(str(error)))
        else:
            answers.put([Address(family, sockaddr) for family, _, _, _, sockaddr in found])  # type: ignore[arg-type]

    threading.Thread(target=ask, name="resolve", daemon=True).start()
    try:
        answer = answers.get(timeout=max(seconds, 0))
    except queue.Empty:
        raise MailError(
            "name",
            f"Looking up {endpoint.host} took longer than {seconds:.0f} seconds.",
            CHECK_DNS,
        ) from None
    if isinstance(answer, OSError):
        raise _unknown_name(endpoint.host, answer)
    return answer


def _unknown_name(host: str, error: OSError) -> MailError:
    if isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
        return MailError(
            "name",
            f"The name {host} could not be looked up: no DNS server answered.",
            CHECK_DNS,
        )
    return MailError(
        "name",
        f"There is no server named {host}.",
        "Check the name for typing errors. The provider's help pages name the server.",
    )


def _check(ip: IPAddress, endpoint: MailServer, policy: Policy) -> None:
    denied = next((network for network in policy.deny if _inside(ip, network)), None)
    if denied is not None:
        raise MailError(
            "connect",
            f"{endpoint.host} has the address {ip}, which lies in the denied network {denied}.",
            "Choose another server, or change PANEL_MAIL_DENY_NETWORKS.",
            permanent=True,
        )
    if endpoint.security == "none" and not _is_loopback(ip):
        raise MailError(
            "connect",
            f"{endpoint.host} is another server ({ip}): the password would cross the network unencrypted.",
            "Choose TLS or STARTTLS. No encryption is possible only with a mail server on this server.",
            permanent=True,
        )


def _is_loopback(ip: IPAddress) -> bool:
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_loopback


def _inside(ip: IPAddress, network: Network) -> bool:
    return any(one in network for one in (ip, *_embedded(ip)))


def _embedded(ip: IPAddress) -> Iterator[ipaddress.IPv4Address]:
    """The IPv4 addresses that packets to an IPv6 address may be handed on to."""
    if isinstance(ip, ipaddress.IPv4Address):
        return
    if ip.ipv4_mapped:
        yield ip.ipv4_mapped
    if ip.sixtofour:
        yield ip.sixtofour
    if ip.teredo:
        yield from ip.teredo
    if any(ip in network for network in NAT64) or (ip in IPV4_COMPATIBLE and not ip.is_loopback):
        yield ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
