"""Where and as whom to log in; names of servers and addresses of people in the one spelling that is used."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

import idna

from panel.errors import BadInput

LONGEST_HOST = 253  # RFC 1035, in characters of the encoded form
LONGEST_TYPED = 4 * LONGEST_HOST  # before it is composed and mapped, which takes the square of it
LONGEST_ADDRESS = 320  # characters: 64 before the @, 255 behind it (RFC 5321, 4.5.3.1)
LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)\Z")  # with the underscore that container networks use
NUMBER = re.compile(r"([0-9]+|0x[0-9a-f]*)\Z")


@dataclass(frozen=True)
class MailServer:
    """One mail server and one user of it. The value a password was opened for is the value connected to."""

    protocol: str  # imap, pop3, smtp
    host: str  # as `normalise_host` makes it
    port: int
    security: str  # tls, starttls, none
    username: str
    auth_method: str = "plain"
    token_url: str = ""


def normalise_host(text: str) -> str:
    """The one spelling of a server's name or IP address, so that equal servers compare equal.

    Lower case, IDNA 2008 (with the mappings of UTS 46) for names outside ASCII,
    IP addresses in canonical form, without the dot that may end a name.
    Applied twice it changes nothing. Raises BadInput (field `host`).
    """
    host = text.strip()
    if not host:
        raise _bad("The name of the mail server is empty.")
    if len(host) > LONGEST_TYPED:
        raise _bad(f"“{_shown(host)}…” is too long to be the name of a server.")
    if "://" in host or "/" in host or "@" in host:
        raise _bad(f"“{_shown(host)}” is an address of something else, not the name of a server.")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    return _ip_address(bare) or _name(host)


def _ip_address(text: str) -> str | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            raise _bad(f"“{_shown(text)}” holds a network interface, which is not allowed here.")
        return str(address.ipv4_mapped or address)
    return str(address)


def _name(text: str) -> str:
    if ":" in text:
        raise _bad(f"“{_shown(text)}” holds a colon.", "Enter the port in its own field.")
    if len(text) > LONGEST_HOST:  # before anything costlier; the encoded form is never shorter
        raise _bad(f"“{_shown(text)}” cannot be the name of a server.")
    try:
        name = text.lower() if text.isascii() else idna.encode(text, uts46=True).decode("ascii")
    except idna.IDNAError:
        raise _bad(f"“{_shown(text)}” cannot be the name of a server.") from None
    name = name.removesuffix(".")
    labels = name.split(".")
    if len(name) > LONGEST_HOST or not all(LABEL.match(label) for label in labels):
        raise _bad(f"“{_shown(text)}” cannot be the name of a server.")
    if NUMBER.match(labels[-1]):  # 127.1, 0x7f.1, 2130706433: the resolver would take them for addresses
        raise _bad(f"“{_shown(text)}” is not a whole IP address.", "Enter all four numbers of it.")
    return name


def is_loopback(host: str) -> bool:
    """Whether a normalised host leads to this server itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def address_to_wire(address: str) -> str:
    """The address with its domain in ASCII (IDNA: xn--…), which every server takes.

    Raises BadInput (field `address`) for a domain that cannot be one, and for
    what would end the address early in a command or header.
    """
    if any(c.isspace() or c in "<>" or not c.isprintable() for c in address[: LONGEST_ADDRESS + 1]):
        raise _bad_address(address)
    return domain_to_wire(address)


def domain_to_wire(address: str) -> str:
    """As `address_to_wire`, whatever stands before the @."""
    local, _, domain = address[: LONGEST_ADDRESS + 1].rpartition("@")
    if len(address) > LONGEST_ADDRESS or not local or not domain:
        raise _bad_address(address)
    if domain.startswith("[") or (domain.isascii() and _is_plain(domain)):
        return address
    try:
        return f"{local}@{normalise_host(domain)}"
    except BadInput:
        raise _bad_address(address) from None


def _is_plain(domain: str) -> bool:
    """Whether the domain stands as it is: names separated by single dots, none of them too long."""
    labels = domain.split(".")
    return len(domain) <= 253 and all(0 < len(label) <= 63 for label in labels)


def _bad_address(address: str) -> BadInput:
    message = f"“{_shown(address)}” cannot be an email address."
    return BadInput(message, "Enter it as name@example.org.", field="address")


def _shown(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:80])


def _bad(message: str, remedy: str = "Enter the name alone, such as imap.example.com.") -> BadInput:
    return BadInput(message, remedy, field="host")
