"""Which settings of a mailbox are valid. Page, shell and import check here; each refusal names its field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from panel.config import Settings
from panel.errors import BadInput
from panel.mail.providers import GMAIL, MICROSOFT_365
from panel.mail.server import MailServer, domain_to_wire, is_loopback, normalise_host
from panel.models.account import BEGINS, ON_SERVER
from panel.secret import Secret
from panel.wording import counted

INCOMING, OUTGOING = ("imap", "pop3"), ("smtp",)
SECURITIES = ("tls", "starttls", "none")
PORTS = {
    ("imap", "tls"): 993, ("imap", "starttls"): 143, ("imap", "none"): 143,
    ("pop3", "tls"): 995, ("pop3", "starttls"): 110, ("pop3", "none"): 110,
    ("smtp", "tls"): 465, ("smtp", "starttls"): 587, ("smtp", "none"): 25,
}  # fmt: skip
KNOWN = {"microsoft": MICROSOFT_365, "google": GMAIL}  # by the names of OAuth2 providers
LONGEST_ADDRESS, LONGEST_USERNAME, LONGEST_FOLDER, LONGEST_APP = 254, 320, 255, 64
SHORTEST_INTERVAL, LONGEST_INTERVAL = 30, 86_400  # seconds
SERVER_FIELDS = ("protocol", "host", "port", "security", "username")
MAILBOX_FIELDS = ("folder", "interval", "on_server", "move_to")  # beside its address


@dataclass(frozen=True)
class Mailbox:
    """The settings of a mailbox that change without its password."""

    address: str
    folder: str = "INBOX"
    interval: int = 60
    on_server: str = "keep"
    move_to: str = ""


def server(
    settings: Settings, protocol: str, host: str, port: int | None, security: str, username: str
) -> MailServer:
    """The mail server, normalised; `port` None is the usual one. Raises BadInput, naming the field."""
    if protocol not in OUTGOING:  # which no person chooses
        _require_choice(protocol, INCOMING, "protocol", "protocol")
    _require_choice(security, SECURITIES, "security", "security setting")
    host = normalise_host(host)
    port = PORTS[protocol, security] if port is None else port
    if port not in settings.mail_ports:
        allowed = ", ".join(str(each) for each in sorted(settings.mail_ports))
        raise BadInput(
            f"Port {port} is not allowed for mail servers. Allowed are: {allowed}.",
            "Correct it, or add it to PANEL_MAIL_PORTS.",
            "port",
        )
    if security == "none" and not is_loopback(host):
        raise BadInput(
            "Without TLS the password would cross the network unencrypted.",
            "Choose TLS or STARTTLS; none is only for a mail server on this server.",
            "security",
        )
    require_text(username, "username", "The username", LONGEST_USERNAME)
    return MailServer(protocol, host, port, security, username)


def address_of(typed: str) -> str:
    """`typed` as an email address. Raises BadInput (field `address`)."""
    address = typed.strip()
    require_text(address, "address", "The address", LONGEST_ADDRESS)
    name, at, domain = address.rpartition("@")
    if not at or not name or not domain or any(c.isspace() for c in address):
        raise BadInput(f"“{address}” is not an email address.", "Enter it as name@example.org.", "address")
    domain_to_wire(address)
    return address


def mailbox(
    address: str, folder: str = "INBOX", interval: int = 60, on_server: str = "keep", move_to: str = ""
) -> Mailbox:
    """The mailbox with these settings. Raises BadInput, naming the field."""
    address = address_of(address)
    require_text(folder, "folder", "The folder", LONGEST_FOLDER)
    if not SHORTEST_INTERVAL <= interval <= LONGEST_INTERVAL:
        raise BadInput(
            f"An interval of {counted(interval, 'second')} is not possible.",
            f"Enter {SHORTEST_INTERVAL} to {LONGEST_INTERVAL} seconds.",
            "interval",
        )
    _require_choice(on_server, ON_SERVER, "on_server", "action after collecting")
    if on_server != "move":
        return Mailbox(address, folder, interval, on_server)
    require_text(move_to, "move_to", "The folder to move mail to", LONGEST_FOLDER)
    if move_to == folder:
        raise BadInput(
            "Mail cannot move to the folder that it is collected from.", "Choose another folder.", "move_to"
        )
    return Mailbox(address, folder, interval, on_server, move_to)


def require_possible(box: Mailbox, where: MailServer, begin: str = "now") -> None:
    """Raise BadInput if the protocol does not support the settings."""
    _require_choice(begin, BEGINS, "begin", "starting point")
    if where.protocol not in INCOMING:
        raise BadInput(f"{where.protocol} cannot collect mail.", "Choose imap or pop3.", "protocol")
    if where.protocol != "pop3":
        return
    if begin == "unread":
        raise BadInput("POP3 cannot tell which mail is unread.", "Choose now or all, or use IMAP.", "begin")
    if box.on_server not in ("keep", "delete"):
        raise BadInput(
            "POP3 can only leave mail on the server or delete it.", "Choose one, or use IMAP.", "on_server"
        )
    if box.folder.upper() != "INBOX":
        raise BadInput("POP3 has only one folder, INBOX.", "Enter INBOX, or use IMAP.", "folder")


def require_password(password: Secret) -> None:
    """Raise BadInput for an empty one; every other password is valid."""
    if not password.reveal():
        raise BadInput("The password is empty.", "Enter the mailbox's password.", "password")


def _require_choice(value: str, choices: Sequence[str], field: str, name: str) -> None:
    if value not in choices:
        remedy = f"Choose {', '.join(choices[:-1])} or {choices[-1]}."
        raise BadInput(f"“{value[:20]}” is not a valid {name}.", remedy, field)


def require_text(text: str, field: str, name: str, longest: int) -> None:
    if not text:
        raise BadInput(f"{name} is empty.", "Enter it.", field)
    if len(text) > longest:
        raise BadInput(f"{name} is longer than {longest} characters.", "Shorten it.", field)
    if not text.isprintable():
        raise BadInput(f"{name} contains a line break or another control character.", "Remove it.", field)
