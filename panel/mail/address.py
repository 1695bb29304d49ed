"""E-mail addresses as mail servers take them."""

from __future__ import annotations

from panel.errors import BadInput
from panel.mail.server import normalise_host

LONGEST = 320  # characters: 64 before the @, 255 behind it (RFC 5321, 4.5.3.1)


def to_wire(address: str) -> str:
    """The address with its domain in ASCII (IDNA: xn--…), which every server takes.

    Raises BadInput (field `address`) for a domain that cannot be one, and for
    what would end the address early in a command or header.
    """
    if any(c.isspace() or c in "<>" or not c.isprintable() for c in address[: LONGEST + 1]):
        raise _bad(address)
    return domain_to_wire(address)


def domain_to_wire(address: str) -> str:
    """As `to_wire`, whatever stands before the @: who only stores the address checks that otherwise."""
    local, _, domain = address[: LONGEST + 1].rpartition("@")
    if len(address) > LONGEST or not local or not domain:
        raise _bad(address)
    if domain.startswith("[") or (domain.isascii() and _is_plain(domain)):
        return address
    try:
        return f"{local}@{normalise_host(domain)}"
    except BadInput:
        raise _bad(address) from None


def _is_plain(domain: str) -> bool:
    """Whether the domain stands as it is: names separated by single dots, none of them too long."""
    labels = domain.split(".")
    return len(domain) <= 253 and all(0 < len(label) <= 63 for label in labels)


def _bad(address: str) -> BadInput:
    shown = "".join(c if c.isprintable() else "?" for c in address[:80])
    return BadInput(
        f"“{shown}” cannot be an address for mail.", "Type it as name@example.org.", field="address"
    )
