"""What may be typed for a mail account. Page, shell and import ask here; each refusal names its field."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from panel.config import Settings
from panel.errors import BadInput
from panel.mail.server import MailServer, domain_to_wire, normalise_host
from panel.models.account import BEGINS, ON_SERVER
from panel.secret import Secret

INCOMING, OUTGOING = ("imap", "pop3"), ("smtp",)
SECURITIES = ("tls", "starttls", "none")
PORTS = {
    ("imap", "tls"): 993, ("imap", "starttls"): 143, ("imap", "none"): 143,
    ("pop3", "tls"): 995, ("pop3", "starttls"): 110, ("pop3", "none"): 110,
    ("smtp", "tls"): 465, ("smtp", "starttls"): 587, ("smtp", "none"): 25,
}  # fmt: skip
LONGEST_ADDRESS, LONGEST_USERNAME, LONGEST_FOLDER = 254, 320, 255
SHORTEST_INTERVAL, LONGEST_INTERVAL = 30, 86_400  # seconds


@dataclass(frozen=True)
class Mailbox:
    """What belongs to the account itself and needs no password to change."""

    address: str
    folder: str = "INBOX"
    interval: int = 60
    on_server: str = "keep"
    move_to: str = ""


def server(
    settings: Settings, protocol: str, host: str, port: int, security: str, username: str
) -> MailServer:
    """The mail server that was typed, normalised. Raises BadInput, naming the field."""
    if protocol not in (*INCOMING, *OUTGOING):
        raise BadInput(
            f"The protocol “{protocol[:20]}” is unknown.",
            "Use imap or pop3 to collect mail, smtp to send it.",
            field="protocol",
        )
    host = normalise_host(host)
    if port not in settings.mail_ports:
        known = ", ".join(str(p) for p in sorted(settings.mail_ports))
        raise BadInput(
            f"Port {port} is not one that mail servers are reached on here ({known}).",
            "Correct it, or add it to PANEL_MAIL_PORTS.",
            field="port",
        )
    if security not in SECURITIES:
        raise BadInput("The security is unknown.", "Choose tls, starttls or none.", field="security")
    if security == "none" and not _is_this_machine(host):
        raise BadInput(
            "Without TLS the password would cross the network readable.",
            "Choose TLS or STARTTLS; none is only for a mail server on this server.",
            field="security",
        )
    _require_text(username, "username", "The username", LONGEST_USERNAME)
    return MailServer(protocol, host, port, security, username)


def address_of(typed: str) -> str:
    """The e-mail address that was typed. Raises BadInput (field `address`)."""
    address = typed.strip()
    _require_text(address, "address", "The address", LONGEST_ADDRESS)
    name, at, domain = address.rpartition("@")
    if not at or not name or not domain or any(c.isspace() for c in address):
        raise BadInput(
            f"“{address}” is not an e-mail address.", "Type it as name@example.org.", field="address"
        )
    domain_to_wire(address)
    return address


def mailbox(address: str, folder: str, interval: int, on_server: str = "keep", move_to: str = "") -> Mailbox:
    """The mailbox that was typed. Raises BadInput, naming the field."""
    address = address_of(address)
    _require_text(folder, "folder", "The folder", LONGEST_FOLDER)
    if not SHORTEST_INTERVAL <= interval <= LONGEST_INTERVAL:
        raise BadInput(
            f"An interval of {interval} seconds is not possible.",
            f"Type {SHORTEST_INTERVAL} to {LONGEST_INTERVAL} seconds.",
            field="interval",
        )
    if on_server not in ON_SERVER:
        raise BadInput(
            "What to do with mail on the server is unknown.",
            "Choose keep, seen, move or delete.",
            field="on_server",
        )
    if on_server != "move":
        return Mailbox(address, folder, interval, on_server)
    _require_text(move_to, "move_to", "The folder to move mail to", LONGEST_FOLDER)
    if move_to == folder:
        raise BadInput(
            "Mail cannot be moved to the folder that it is collected from.",
            "Choose another folder.",
            field="move_to",
        )
    return Mailbox(address, folder, interval, on_server, move_to)


def require_possible(box: Mailbox, where: MailServer, begin: str = "now") -> None:
    """Raise BadInput where the protocol cannot do what was chosen."""
    if begin not in BEGINS:
        raise BadInput("What to begin with is unknown.", "Choose now, unread or all.", field="begin")
    if where.protocol not in INCOMING:
        raise BadInput(
            f"Mail is not collected by {where.protocol}.", "Choose imap or pop3.", field="protocol"
        )
    if where.protocol != "pop3":
        return
    if begin == "unread":
        raise BadInput(
            "POP3 does not tell which mail is unread.", "Choose now or all, or use IMAP.", field="begin"
        )
    if box.on_server not in ("keep", "delete"):
        raise BadInput(
            "POP3 can only keep mail on the server, or delete it.", "Choose one, or use IMAP.",
            field="on_server",
        )  # fmt: skip
    if box.folder.upper() != "INBOX":
        raise BadInput("POP3 has no folders but INBOX.", "Type INBOX, or use IMAP.", field="folder")


def require_password(password: Secret) -> None:
    """Raise BadInput for an empty one. Nothing else is wrong with a password."""
    if not password.reveal():
        raise BadInput("The password is empty.", "Enter the mailbox's password.", field="password")


def _require_text(text: str, field: str, name: str, longest: int) -> None:
    if not text:
        raise BadInput(f"{name} is empty.", "Type it.", field=field)
    if len(text) > longest:
        raise BadInput(f"{name} is longer than {longest} characters.", "Shorten it.", field=field)
    if any(not c.isprintable() for c in text):
        raise BadInput(
            f"{name} contains a line break or another control character.",
            "Type it without that.",
            field=field,
        )


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
