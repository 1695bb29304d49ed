"""To a mail server: checked addresses, the connection, and TLS that always verifies the server.

The name is resolved once; every address is checked; the connection goes to an
address checked here, never to the name again. So who controls the
name cannot point it elsewhere between check and connection.
"""

from __future__ import annotations

import ipaddress
import queue
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from panel.errors import MailError
from panel.mail.policy import Network, Policy
from panel.mail.server import MailServer
from panel.mail.wire import Wire

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

NAT64 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))
IPV4_COMPATIBLE = ipaddress.IPv6Network("::/96")
CHECK_DNS = "Try again later, and check the DNS settings of this server."
TRUST = "If you trust it, add its CA certificate to the file that PANEL_MAIL_CA_FILE names."
OTHER_NAME = (
    "belongs to a server of another name.",
    "Enter the name that the certificate was issued for. The provider knows it.",
)
UNKNOWN_CA = ("is signed by a CA that this server does not trust.", TRUST)
UNVERIFIED = {  # X509_V_ERR_… of OpenSSL, include/openssl/x509_vfy.h
    9: ("is not valid yet.", "Check the clock of this server."),
    10: ("has expired.", "Its operator must renew it. Check the clock of this server too."),
    18: ("is self-signed.", TRUST),
    19: UNKNOWN_CA, 20: UNKNOWN_CA, 21: UNKNOWN_CA, 62: OTHER_NAME, 64: OTHER_NAME,
}  # fmt: skip
NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNEXPECTED_MESSAGE", "RECORD_LAYER_FAILURE"})


# -- addresses ---------------------------------------------------------------------------


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
        message = f"Port {endpoint.port} is not allowed for mail servers."
        raise _denied(message, "Choose another port, or add it to PANEL_MAIL_PORTS.")
    addresses = _look_up(endpoint, seconds)
    for address in addresses:
        _check(address.ip, endpoint, policy)
    return addresses


def one_address(host: str, port: int, seconds: float) -> str | None:
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
        message = f"Looking up {endpoint.host} took longer than {seconds:.0f} seconds."
        raise MailError("name", message, CHECK_DNS) from None
    if isinstance(answer, OSError):
        raise _unknown_name(endpoint.host, answer)
    return answer


def _unknown_name(host: str, error: OSError) -> MailError:
    if isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
        return MailError(
            "name", f"The name {host} could not be looked up: no DNS server answered.", CHECK_DNS
        )
    remedy = "Check the name for typing errors. The provider's help pages name the server."
    return MailError("name", f"There is no server named {host}.", remedy)


def _check(ip: IPAddress, endpoint: MailServer, policy: Policy) -> None:
    denied = next((network for network in policy.deny if _inside(ip, network)), None)
    if denied is not None:
        message = f"{endpoint.host} has the address {ip}, which lies in the denied network {denied}."
        raise _denied(message, "Choose another server, or change PANEL_MAIL_DENY_NETWORKS.")
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    if endpoint.security == "none" and not (mapped or ip).is_loopback:
        raise _denied(
            f"{endpoint.host} is another server ({ip}): the password would cross the network unencrypted.",
            "Choose TLS or STARTTLS. Unencrypted connections are only for a mail server on this server.",
        )


def _denied(message: str, remedy: str) -> MailError:
    return MailError("connect", message, remedy, permanent=True)


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


# -- connection and TLS --------------------------------------------------------------------


def dial(host: str, addresses: Iterable[Address], policy: Policy, ends_at: float) -> Wire:
    """Connect to the first address that answers. Raises MailError (step `connect`)."""
    error: OSError = OSError("no address")
    for address in addresses:
        seconds = min(policy.connect_timeout, ends_at - time.monotonic())
        if seconds <= 0 or policy.interrupt.ended:
            error = TimeoutError()
            break
        try:
            return Wire(_connected(address, seconds), host, policy, ends_at)
        except OSError as reason:
            error = reason
    raise _unreachable(host, error)


def _connected(address: Address, seconds: float) -> socket.socket:
    connection = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        connection.settimeout(seconds)
        connection.connect(address.sockaddr)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        connection.close()
        raise
    return connection


def _unreachable(host: str, error: OSError) -> MailError:
    if isinstance(error, ConnectionRefusedError):
        return MailError("connect", f"{host} refused the connection on this port.", "Check the port.")
    if isinstance(error, TimeoutError):
        remedy = "Check the name and the port. A firewall may block the connection."
        return MailError("connect", f"{host} did not answer in time.", remedy)
    message = f"{host} cannot be reached: {error.strerror or 'no route'}."
    return MailError("connect", message, "Check the network of this server.")


def encrypt(wire: Wire, policy: Policy, remedy: str = "Check the URL.") -> str:
    """TLS over `wire`, the server verified as `wire.host`. Returns the version. Raises MailError.

    `remedy`: what to do where the server speaks no TLS.
    """
    wire.step = "tls"
    context = _tls_context(policy)
    try:
        return wire.encrypt(context)
    except ssl.SSLCertVerificationError as error:
        unknown = (f"cannot be verified: {error.verify_message}.", TRUST)
        what, remedy = UNVERIFIED.get(error.verify_code, unknown)
        message = f"The certificate of {wire.host} {what}"
        raise MailError("tls", message, remedy, permanent=True) from None
    except ssl.SSLError as error:
        raise (wire.failure(error) if policy.interrupt.ended else _no_tls(wire, error, remedy)) from None
    except OSError as error:
        raise wire.failure(error) from None


def _tls_context(policy: Policy) -> ssl.SSLContext:
    """Trusts the CAs of the system and those of the policy's file; TLS 1.2 or newer.

    The same one for all sessions until one of these files changes: each holds 0.8 MiB of certificates.
    """
    system = ssl.get_default_verify_paths()
    return _shared_context(policy.ca_file, *map(_version, (policy.ca_file, system.cafile, system.capath)))


@lru_cache(4)
def _shared_context(ca_file: Path | None, *_versions: object) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except OSError:  # ssl.SSLError too
            message = f"The CA file {ca_file} cannot be read as certificates in PEM form."
            remedy = "Correct the file, or remove PANEL_MAIL_CA_FILE from the settings."
            raise MailError("tls", message, remedy, permanent=True) from None
    return context


def _version(path: str | Path | None) -> tuple[int, ...] | None:
    try:
        found = Path(path).stat() if path else None
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns) if found else None


def _no_tls(wire: Wire, error: ssl.SSLError, remedy: str) -> MailError:
    if error.reason in NOT_TLS:
        return wire.error("does not begin with TLS on this port.", remedy, permanent=True)
    if isinstance(error, ssl.SSLEOFError):
        return wire.error("closed the connection during the TLS handshake.", "Check the port.")
    reason = error.reason or "unknown reason"
    what = f"and this server could not agree on TLS ({reason})."
    return wire.error(what, "The mail server must offer TLS 1.2 or newer.")
