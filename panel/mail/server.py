"""Where and as whom to log in."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

import idna

from panel.errors import BadInput

LONGEST_HOST = 253  # RFC 1035, in characters of the encoded form
LONGEST_TYPED = 4 * LONGEST_HOST  # before it is composed and mapped, which takes the square of it
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
            raise _bad(f"“{_shown(text)}” holds a network interface, which an address here may not.")
        return str(address.ipv4_mapped or address)
    return str(address)


def _name(text: str) -> str:
    if ":" in text:
        raise _bad(f"“{_shown(text)}” holds a colon.", "Type the port into its own field.")
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
        raise _bad(f"“{_shown(text)}” is not a whole IP address.", "Type all four numbers of it.")
    return name


def _shown(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:80])


def _bad(message: str, remedy: str = "Type the name alone, such as imap.example.com.") -> BadInput:
    return BadInput(message, remedy, field="host")
