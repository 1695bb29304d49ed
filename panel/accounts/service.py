"""Adding, changing, pausing and removing mail accounts; page and shell call the same functions.

A server and its password belong together: what is bound to the sealed record
changes only with a password typed anew (docs/decisions/0001).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from panel import audit, db
from panel.accounts import rules, server_log
from panel.accounts.rules import Mailbox
from panel.audit import Actor
from panel.collect import due
from panel.errors import BadInput, EditedMeanwhile, NotFound, PasswordNeeded
from panel.mail.server import MailServer
from panel.models import Account, Endpoint
from panel.models.endpoint import Place
from panel.secret import Secret
from panel.vault import credential
from panel.vault.credential import Credential


@dataclass(frozen=True)
class Seen:
    """Which server a person was shown before typing: its revision and the digest of its place. None: any."""

    rev: int | None = None
    place: str | None = None

    @classmethod
    def of(cls, endpoint: Endpoint) -> Seen:
        """What whoever looks at `endpoint` sees."""
        return cls(endpoint.rev, endpoint.place.digest)


ANYTHING = Seen()


def add(
    box: Mailbox,
    where: MailServer,
    password: Secret,
    begin: str,
    actor: Actor,
    sending: Credential | None = None,
) -> str:
    """Store a new account; its uuid. `sending`: the server to send through, with the password for it.

    The same password for both is sealed twice, each record for its own server.
    Raises BadInput for an address that is there already, CannotStore; then nothing is stored.
    """
    rules.require_possible(box, where, begin)
    rules.require_password(password)
    with Endpoint.storing():
        if box.address.lower() in addresses():
            raise address_taken(box.address)
        return insert(box, where, password, begin, actor, sending)


def insert(
    box: Mailbox,
    where: MailServer,
    password: Secret,
    begin: str,
    actor: Actor,
    sending: Credential | None = None,
) -> str:
    """What `add` stores, for what was checked already. Inside the transaction of `storing()`."""
    account = Account.create(begin=begin, created_at=db.now(), **vars(box))
    insert_endpoint(account, "in", where, password, actor)
    if sending is not None:
        insert_endpoint(account, "out", sending.server, sending.secret, actor)
    audit.record("account added", box.address, who=actor.who, address=actor.address)
    return account.uuid


def addresses() -> set[str]:
    """The addresses that are there, in lower case."""
    return {str(address).lower() for (address,) in db.database.execute_sql("SELECT address FROM account")}


def address_taken(address: str) -> BadInput:
    """What is said of one that is there already."""
    return BadInput(f"The address {address} is there already.", "Open it in the list.", field="address")


def insert_endpoint(
    account: Account, direction: str, where: MailServer, password: Secret, actor: Actor
) -> None:
    """Store one server of an account with its password. Inside the transaction of `storing()`."""
    endpoint, place = Endpoint(secret_set_at=db.now()), place_of(account, direction, where)
    endpoint.password = password
    endpoint.save(place=place)
    server_log.append(_data_dir(), place, actor.name)


def place_of(account: Account, direction: str, where: MailServer) -> Place:
    """What the password for `where` is bound to."""
    return Place(account.uuid, direction, address=account.address, **vars(where))


def edit(
    uuid: str,
    box: Mailbox,
    where: MailServer | None,
    password: Secret | None,
    seen: Seen,
    actor: Actor,
) -> None:
    """Change an account. `where` None keeps the server, `password` None keeps the password.

    Raises EditedMeanwhile where the server is not the one that the person saw, PasswordNeeded (a changed
    server without a password), BadInput.
    """
    with Endpoint.storing():
        account, endpoint = find(uuid)
        require_seen(endpoint, seen)
        if box.address != account.address:
            raise BadInput(
                f"The address of a mailbox does not change; this one is {account.address}.",
                "Add the other address as a mailbox of its own, then remove this one.",
                field="address",
            )
        rules.require_possible(box, where or server_of(endpoint))
        for name, value in vars(box).items():
            setattr(account, name, value)
        account.save()
        changed = store(account, endpoint, where, password, actor) if where or password else ""
        audit.record("account changed", box.address, changed, who=actor.who, address=actor.address)
        due.at_once(account.uuid)


def require_seen(endpoint: Endpoint | None, seen: Seen) -> None:
    """Raise EditedMeanwhile where the row is not the one that the person was shown."""
    found = Seen.of(endpoint) if endpoint is not None else Seen()
    if seen.rev not in (None, found.rev) or seen.place not in (None, found.place):
        raise EditedMeanwhile(
            "The mailbox's server was changed meanwhile, so nothing was stored.",
            "Look at it again, then repeat your change.",
        )


def store(
    account: Account, endpoint: Endpoint, where: MailServer | None, password: Secret | None, actor: Actor
) -> str:
    """Store the new server and password in the row; what changed, in words without values.

    `where` is a server that was typed whole; with None the stored one stays, but
    no new password is stored for one that its record does not vouch for.
    """
    if not credential.is_authentic(endpoint, Endpoint.vault()):
        if where is None:
            raise PasswordNeeded(
                "The stored password does not open, so the stored server may have been changed.",
                "Give the whole server together with the password: --protocol, --host, --port, --security, "
                "--username.",
            )
        if password is None:
            raise PasswordNeeded(
                "The stored password does not open, so it must be entered again.", "Enter the password."
            )
    where = where or server_of(endpoint)
    changed = [name for name, value in vars(where).items() if getattr(endpoint, name) != value]
    place = place_of(account, str(endpoint.direction), where)
    new_server = bool(changed)
    if password is not None:
        rules.require_password(password)
        endpoint.password = password
        endpoint.secret_set_at = db.now()
        changed.append("password")
    endpoint.save(place=place)
    if new_server:  # after it: what was refused is not noted
        server_log.append(_data_dir(), place, actor.name)
    return f"New: {', '.join(changed)}." if changed else ""


def last_change(endpoint: Endpoint) -> server_log.Change | None:
    """Who set this server, and when; None where nothing is known of it.

    Where it `differs`, an older database or a record of an earlier server was put back.
    """
    found = server_log.last(_data_dir(), str(endpoint.account_id), str(endpoint.direction))
    return found and replace(found, differs=found.server != server_log.described(endpoint.place))


def _data_dir() -> Path:
    data_dir: Path = Endpoint.vault().keystore.data_dir
    return data_dir


def set_password(uuid: str, password: Secret, seen: Seen, actor: Actor) -> None:
    """Store another password for the same server. Raises CannotStore, EditedMeanwhile."""
    account, _ = find(uuid)
    box = Mailbox(**{field.name: getattr(account, field.name) for field in fields(Mailbox)})
    edit(uuid, box, None, password, seen, actor)


def pause(uuid: str, actor: Actor) -> None:
    """Stop collecting for this account until it is resumed; nothing happens where it is paused already."""
    with db.transaction():
        account, _ = find(uuid)
        here = (Account.uuid == account.uuid) & Account.paused_at.is_null()
        if Account.update(paused_at=db.now()).where(here).execute():
            audit.record("account paused", account.address, who=actor.who, address=actor.address)


def resume(uuid: str, actor: Actor) -> None:
    """Collect for this account again, at once; one that is not paused is only made due."""
    with db.transaction():
        account, _ = find(uuid)
        here = (Account.uuid == account.uuid) & Account.paused_at.is_null(False)
        if Account.update(paused_at=None).where(here).execute():
            audit.record("account resumed", account.address, who=actor.who, address=actor.address)
        due.at_once(account.uuid)


def remove(uuid: str, actor: Actor) -> None:
    """Forget an account and its password. Mail on the server and delivered mail stay where they are."""
    with db.transaction():
        account = find_account(uuid)
        Account.delete().where(Account.uuid == account.uuid).execute()
        audit.record("account removed", account.address, who=actor.who, address=actor.address)


def find(name: str) -> tuple[Account, Endpoint]:
    """The account of that uuid or address, and its incoming server. Raises NotFound."""
    return find_servers(name)[:2]


def find_servers(name: str) -> tuple[Account, Endpoint, Endpoint | None]:
    """The same, and the server that it sends through; None where it only collects. Raises NotFound."""
    query = Endpoint.select(Endpoint, Account).join(Account).where(_is_named(name))
    found = {endpoint.direction: endpoint for endpoint in query}
    if "in" not in found:
        raise _unknown(name)
    return found["in"].account, found["in"], found.get("out")


def find_account(name: str) -> Account:
    """The account of that uuid or address, also one whose server is gone. Raises NotFound."""
    found: Account | None = Account.get_or_none(_is_named(name))
    if found is None:
        raise _unknown(name)
    return found


def _is_named(name: str) -> Any:
    """By address alone where it can be one: SQL may have given an account another one's address as its id."""
    return Account.address == name if "@" in name else Account.uuid == name


def without_server() -> list[Account]:
    """Accounts that nothing is collected for, since SQL removed their server: no list shows them."""
    served = Endpoint.select(Endpoint.account).where(Endpoint.direction == "in")
    return list(Account.select().where(Account.uuid.not_in(served)).order_by(Account.address))


def _unknown(name: str) -> NotFound:
    return NotFound(
        f"There is no mail account “{name[:80]}”.", "It may have been removed. See the list of accounts."
    )


def sending_of(uuid: str) -> Endpoint | None:
    """The server that the account sends through; None where it only collects."""
    found: Endpoint | None = Endpoint.get_or_none(Endpoint.account == uuid, Endpoint.direction == "out")
    return found


def server_of(endpoint: Endpoint) -> MailServer:
    """The stored server as a value."""
    names = ("protocol", "host", "port", "security", "username", "auth_method", "token_url")
    return MailServer(**{name: getattr(endpoint, name) for name in names})


def same_server(endpoint: Endpoint, where: MailServer) -> bool:
    """Whether `where` is exactly the stored server."""
    return server_of(endpoint) == replace(
        where, auth_method=endpoint.auth_method, token_url=endpoint.token_url
    )
