"""Adding, changing, pausing and removing mail accounts; page and shell call the same functions.

A server and its password belong together: what is bound to the sealed record
changes only with a password typed anew (docs/decisions/0001).
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, fields, replace

from panel import db
from panel.activity import service as activity
from panel.activity.service import Actor
from panel.collect import due
from panel.config import Settings
from panel.encryption import facts
from panel.errors import BadInput, EditedMeanwhile, NotFound, PasswordNeeded
from panel.mail.endpoint import Endpoint as MailServer
from panel.mail.endpoint import normalise_host
from panel.models import Account, Collection, Endpoint
from panel.models.account import BEGINS, ON_SERVER
from panel.secret import Secret

INCOMING, OUTGOING = ("imap", "pop3"), ("smtp",)
SECURITIES = ("tls", "starttls", "none")
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
            "Choose TLS or STARTTLS; none is only for a server on this very machine.",
            field="security",
        )
    _require_text(username, "username", "The username", LONGEST_USERNAME)
    return MailServer(protocol, host, port, security, username)


def mailbox(address: str, folder: str, interval: int, on_server: str = "keep", move_to: str = "") -> Mailbox:
    """The mailbox that was typed. Raises BadInput, naming the field."""
    address = address.strip()
    _require_text(address, "address", "The address", LONGEST_ADDRESS)
    name, at, domain = address.rpartition("@")
    if not at or not name or not domain or any(c.isspace() for c in address):
        raise BadInput(
            f"“{address}” is not an e-mail address.", "Type it as name@example.org.", field="address"
        )
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


def add(box: Mailbox, where: MailServer, password: Secret, begin: str, actor: Actor) -> str:
    """Store a new account; its uuid. Raises BadInput for an address that is there already, CannotStore."""
    if begin not in BEGINS:
        raise BadInput("What to begin with is unknown.", "Choose now, unread or all.", field="begin")
    require_possible(box, where, begin)
    _require_password(password)
    with db.database.obj.sealer.storing():
        _require_free(box.address)
        account = Account.create(begin=begin, created_at=db.now(), **vars(box))
        endpoint = Endpoint(account=account, direction="in", secret_set_at=db.now(), **vars(where))
        endpoint.password = password
        endpoint.save()
        activity.record("account added", box.address, who=actor.who, address=actor.address)
    return account.uuid


def edit(
    uuid: str, box: Mailbox, where: MailServer | None, password: Secret | None, rev: int | None, actor: Actor
) -> None:
    """Change an account. `where` None keeps the server, `password` None keeps the password.

    `rev` is the revision that the person saw; None: whichever is there. Raises
    EditedMeanwhile, PasswordNeeded (a changed server without a password), BadInput.
    """
    with db.database.obj.sealer.storing():
        account, endpoint = find(uuid)
        if rev is not None and endpoint.rev != rev:
            raise EditedMeanwhile(
                "Somebody else changed this account meanwhile.", "Look at it again, then repeat your change."
            )
        if box.address.lower() != account.address.lower():
            _require_free(box.address)
        require_possible(box, where or server_of(endpoint))
        for name, value in vars(box).items():
            setattr(account, name, value)
        account.save()
        changed = _lay_over(endpoint, where, password) if where or password else ""
        endpoint.save()
        activity.record("account changed", box.address, changed, who=actor.who, address=actor.address)
        due.at_once(account.uuid)


def _is_unreadable(endpoint: Endpoint) -> bool:
    failures = facts.look(db.database.obj.sealer.keystore).failures
    return (endpoint.account_id, endpoint.direction) in {(f.account, f.direction) for f in failures}


def _lay_over(endpoint: Endpoint, where: MailServer | None, password: Secret | None) -> str:
    """Put the new server and password into the row; what changed, in words without values."""
    where = where or server_of(endpoint)
    changed = [name for name, value in vars(where).items() if getattr(endpoint, name) != value]
    if password is None and not changed and _is_unreadable(endpoint):
        raise PasswordNeeded(
            "The stored password does not open, so it must be entered again.", "Enter the password."
        )
    if changed and password is None:
        raise PasswordNeeded(
            "The server settings can change only together with the password.", "Enter the password again."
        )
    for name in changed:
        setattr(endpoint, name, getattr(where, name))
    if password is not None:
        _require_password(password)
        endpoint.password = password
        endpoint.secret_set_at = db.now()
        changed.append("password")
    return f"New: {', '.join(changed)}." if changed else ""


def set_password(uuid: str, password: Secret, actor: Actor) -> None:
    """Store another password for the same server. Raises CannotStore."""
    account, _ = find(uuid)
    box = Mailbox(**{field.name: getattr(account, field.name) for field in fields(Mailbox)})
    edit(uuid, box, None, password, None, actor)


def pause(uuid: str, actor: Actor) -> None:
    """Stop collecting for this account until it is resumed."""
    account, _ = find(uuid)
    here = (Account.uuid == account.uuid) & Account.paused_at.is_null()
    Account.update(paused_at=db.now()).where(here).execute()
    activity.record("account paused", account.address, who=actor.who, address=actor.address)


def resume(uuid: str, actor: Actor) -> None:
    """Collect for this account again, at once."""
    account, _ = find(uuid)
    Account.update(paused_at=None).where(Account.uuid == account.uuid).execute()
    due.at_once(account.uuid)
    activity.record("account resumed", account.address, who=actor.who, address=actor.address)


def remove(uuid: str, actor: Actor) -> None:
    """Forget an account and its password. Mail on the server and delivered mail stay where they are."""
    with db.transaction():
        account, _ = find(uuid)
        Account.delete().where(Account.uuid == account.uuid).execute()
        activity.record("account removed", account.address, who=actor.who, address=actor.address)


def find(name: str) -> tuple[Account, Endpoint]:
    """The account of that uuid or address, and its incoming server. Raises NotFound."""
    endpoint = (
        Endpoint.select(Endpoint, Account)
        .join(Account)
        .where((Endpoint.direction == "in") & ((Account.uuid == name) | (Account.address == name)))
        .first()
    )
    if endpoint is None:
        raise NotFound(f"There is no mail account “{name[:80]}”.", "See the list of accounts.")
    return endpoint.account, endpoint


def server_of(endpoint: Endpoint) -> MailServer:
    """The stored server as a value."""
    names = ("protocol", "host", "port", "security", "username", "auth_method", "token_url")
    return MailServer(**{name: getattr(endpoint, name) for name in names})


def same_server(endpoint: Endpoint, where: MailServer) -> bool:
    """Whether `where` is exactly the stored server."""
    return server_of(endpoint) == replace(
        where, auth_method=endpoint.auth_method, token_url=endpoint.token_url
    )


def collection_of(uuid: str) -> Collection | None:
    """How far collecting has come; None before the first round."""
    found: Collection | None = Collection.get_or_none(Collection.account == uuid)
    return found


def _require_free(address: str) -> None:
    taken = {account.address.lower() for account in Account.select(Account.address)}
    if address.lower() in taken:
        raise BadInput(f"The address {address} is there already.", "Open it in the list.", field="address")


def _require_password(password: Secret) -> None:
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
