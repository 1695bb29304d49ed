"""Adding, changing, pausing and removing mailboxes. Page and shell call the same functions.

A server and how to sign in there belong together: the settings that a sealed record is bound to
change only together with a newly entered password, or what stands in its place (docs/decisions/0001).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from panel import db
from panel.accounts import auth, payload, rules, server_log
from panel.accounts.auth import Auth, Login, Oauth
from panel.accounts.rules import Mailbox
from panel.audit import Actor
from panel.collect import due, older
from panel.errors import BadInput, Conflict, EditedMeanwhile, NotFound, PasswordNeeded
from panel.mail.server import MailServer
from panel.models import LISTED, Account, Endpoint
from panel.models.endpoint import CONSENT, PASSWORD, Place
from panel.secret import Secret
from panel.vault import credential
from panel.vault.vault import Vault


@dataclass(frozen=True)
class Seen:
    """Which server a person was shown before entering a password: its revision, its digest. None: any."""

    rev: int | None = None
    place: str | None = None

    @classmethod
    def of(cls, endpoint: Endpoint) -> Seen:
        """What a person who is shown `endpoint` sees."""
        rev = endpoint.rev if isinstance(endpoint.rev, int) else None  # SQL may have stored any type
        return cls(rev, endpoint.place.digest)


@dataclass(frozen=True)
class New:
    """A new mailbox as it was entered. `sending`: the server to send through, and how to sign in there.

    The same password for both is sealed twice, each record for its own server.
    """

    box: Mailbox
    where: MailServer
    auth: Auth
    begin: str = "now"
    sending: Login | None = None

    @property
    def logins(self) -> list[Login]:
        """What to log in with, in the order of a test."""
        return [Login(self.where, self.auth), *([self.sending] if self.sending else [])]


def require_new(new: New) -> None:
    """Raise BadInput where `add` certainly would, before its server is asked."""
    rules.require_possible(new.box, new.where, new.begin)
    auth.require_valid(new.auth)
    if Account.select().where(_is_named(new.box.address)).exists():
        raise address_taken(new.box.address)


def add(vault: Vault, new: New, actor: Actor) -> str:
    """Store a new mailbox; its uuid.

    Raises BadInput (also for an address that was added already), CannotStore, and as `payload.of`; then
    nothing is stored.
    """
    rules.require_possible(new.box, new.where, new.begin)
    with Endpoint.storing():
        if new.box.address.lower() in addresses():
            raise address_taken(new.box.address)
        return insert(vault, new.box, Login(new.where, new.auth), new.begin, actor, new.sending)


def insert(
    vault: Vault,
    box: Mailbox,
    login: Login,
    begin: str,
    actor: Actor,
    sending: Login | None = None,
    deliver_to: str = "",
) -> str:
    """`add` without its checks. Inside `storing()`. `deliver_to`: a target; empty: the default."""
    account = Account.create(begin=begin, created_at=db.now(), deliver_to=deliver_to, **vars(box))
    stored = insert_endpoint(vault, account, "in", login, actor)
    if sending is not None:
        shares = isinstance(login.auth, Oauth) and sending.auth == login.auth
        insert_endpoint(vault, account, "out", sending, actor, stored if shares else None)
    actor.record("mailbox added", box.address, deliver_to and f"Goes out to {deliver_to}.")
    return account.uuid


def addresses() -> set[str]:
    """All addresses that are in use, in lower case; not those of removed mailboxes."""
    return {
        str(address).lower()
        for (address,) in db.database.execute_sql("SELECT address FROM account WHERE removed_at IS NULL")
    }


def address_taken(address: str) -> Conflict:
    """The error for an address that was added already."""
    return Conflict(f"{address} has been added already.", "Open it in the list.", "address")


def insert_endpoint(
    vault: Vault, account: Account, direction: str, login: Login, actor: Actor, begun: Secret | None = None
) -> Secret:
    """Store a new server of a mailbox; what its record holds. Inside `storing()`.

    Raises BadInput, and as `payload.of`.
    """
    auth.require_valid(login.auth)
    endpoint = Endpoint(secret_set_at=db.now())
    place = _place_of(account, direction, login.server, login.auth)
    endpoint.secret = held = payload.of(vault, account, direction, login, actor, begun)
    endpoint.save(place=place)
    server_log.append(vault.keystore.data_dir, place, actor.name)
    return held


def _place_of(account: Account, direction: str, where: MailServer, how: Auth | str) -> Place:
    """`how`: what was entered, or the kind that is stored."""
    kind = how if isinstance(how, str) else auth.kind(how)
    server = replace(where, auth_method=auth.method(kind), token_url="")
    return Place(account.uuid, direction, address=account.address, kind=kind, **vars(server))


def edit(
    vault: Vault,
    uuid: str,
    box: Mailbox,
    where: MailServer | None,
    entered: Auth | None,
    seen: Seen,
    actor: Actor,
) -> None:
    """Change a mailbox. `where` None keeps the server, `entered` None how to sign in there.

    A mailbox goes from a password to OAuth2 or a secret kept outside, and back, without losing its place:
    what was delivered is not delivered again. Raises as `store`, and BadInput.
    """
    with Endpoint.storing():
        account, endpoint = find(uuid)
        require_seen(endpoint, seen)
        if box.address != account.address:
            raise BadInput(
                f"The address of a mailbox cannot be changed; this one is {account.address}.",
                "Add the other address as a mailbox of its own, then remove this one.",
                "address",
            )
        rules.require_possible(box, where or endpoint.server)
        for name, value in vars(box).items():
            setattr(account, name, value)
        account.save()
        changed = store(vault, account, endpoint, where, entered, actor) if where or entered else ""
        actor.record("mailbox changed", box.address, changed)
        due.make_due(account.uuid)


def require_seen(endpoint: Endpoint | None, seen: Seen) -> None:
    """Raise EditedMeanwhile if the row is not the one that the person was shown."""
    found = Seen.of(endpoint) if endpoint is not None else Seen()
    if seen.rev not in (None, found.rev) or seen.place not in (None, found.place):
        raise EditedMeanwhile(
            "The mailbox's server has been changed since, so nothing was stored.",
            "Check the current settings, then repeat your change.",
        )


def store(
    vault: Vault,
    account: Account,
    endpoint: Endpoint,
    where: MailServer | None,
    entered: Auth | None,
    actor: Actor,
) -> str:
    """Store server and secret in the row; which settings changed, without their values. Inside `storing()`.

    `where` is a server that was entered whole; None keeps the stored one.
    Raises as `require_entered`, `require_authentic` and `payload.of`.
    """
    if where is None or entered is None:
        require_authentic(vault, endpoint)
    where = where or endpoint.server
    require_entered(where, entered, endpoint)
    direction, before = str(endpoint.direction), endpoint.place
    place = _place_of(account, direction, where, entered if entered is not None else str(endpoint.kind))
    changed = [name for name, value in vars(place).items() if getattr(before, name) != value]
    new_server = bool({"protocol", "host", "port", "security", "username"} & set(changed))
    if entered is not None:
        endpoint.secret = payload.of(vault, account, direction, Login(where, entered), actor)
        endpoint.secret_set_at = db.now()
        changed = [name for name in changed if name not in ("auth_method", "kind")] + [_noun(entered)]
    endpoint.save(place=place)
    payload.drop_unused(account)
    if new_server:  # last, so that a refused change is not logged
        server_log.append(vault.keystore.data_dir, place, actor.name)
    return f"New: {', '.join(changed)}." if changed else ""


def _noun(entered: Auth) -> str:
    kind = auth.kind(entered)
    return {PASSWORD: "password", CONSENT: "sign-in by OAuth2"}.get(kind, "secret kept outside")


def require_entered(where: MailServer, entered: Auth | None, endpoint: Endpoint | None) -> None:
    """Raise unless what was `entered` can be used at `where`; None: if what is stored belongs to exactly it.

    A changed server needs its password, or what stands in its place: this is the one place where that is
    decided, for page, shell, connection test and sending. Raises PasswordNeeded, BadInput.
    """
    if entered is not None:
        auth.require_valid(entered)
    elif endpoint is None or endpoint.kind == PASSWORD:
        if endpoint is None or not auth.is_same(endpoint, where):
            raise PasswordNeeded(
                "A new or changed mail server needs its password.",
                "Enter the password of this server (in the shell: --password-file).",
            )
    elif not auth.is_same(endpoint, where):
        raise PasswordNeeded(
            "A changed mail server needs what this mailbox signs in with again.",
            "Choose it again (in the shell: --auth oauth --app NAME, or --secret-name NAME).",
        )


def require_authentic(vault: Vault, endpoint: Endpoint) -> None:
    """Raise PasswordNeeded unless the stored password was entered for the stored server."""
    if not credential.is_authentic(endpoint, vault):
        raise PasswordNeeded(
            f"The stored {endpoint.words.noun} does not belong to the stored server, which may have been "
            "changed.",
            "Enter the whole server and how to sign in there (in the shell: --protocol, --host, --port, "
            "--security, --username, and --password-file, --app or --secret-name).",
        )


def last_change(vault: Vault, endpoint: Endpoint) -> server_log.Change | None:
    """Who last set this server, and when; None if unknown.

    If it `differs`, an older database or a record of an earlier server was restored.
    """
    found = server_log.last(vault.keystore.data_dir, str(endpoint.account_id), str(endpoint.direction))
    return found and replace(found, differs=found.server != server_log.described(endpoint.place))


def set_password(vault: Vault, uuid: str, password: Secret, seen: Seen, actor: Actor) -> None:
    """Store a password, another one say, for the same server. Raises as `edit`."""
    account, _ = find(uuid)
    edit(vault, uuid, mailbox_of(account), None, password, seen, actor)


def collect_older(uuid: str, actor: Actor) -> None:
    """Collect what 'Start with' left on the server, too. Raises as `older.collect_older`."""
    account, _ = find(uuid)
    older.collect_older(account.uuid)
    actor.record("mailbox changed", account.address, "New: begin.")
    due.make_due(account.uuid)


def pause(uuid: str, actor: Actor) -> None:
    """Stop collecting from this mailbox until it is resumed."""
    with db.transaction():
        account, _ = find(uuid)
        if _set_paused(account, db.now()):
            actor.record("mailbox paused", account.address)


def resume(uuid: str, actor: Actor) -> None:
    """Collect from this mailbox again, at once, also if it was not paused."""
    with db.transaction():
        account, _ = find(uuid)
        if _set_paused(account, None):
            actor.record("mailbox resumed", account.address)
        due.make_due(account.uuid)


def _set_paused(account: Account, at: int | None) -> bool:
    """Whether this changed anything."""
    differs = Account.paused_at.is_null(at is not None)
    return bool(Account.update(paused_at=at).where((Account.uuid == account.uuid) & differs).execute())


def find(name: str) -> tuple[Account, Endpoint]:
    """The mailbox with that uuid or address, and its incoming server. Raises NotFound."""
    return find_servers(name)[:2]


def find_servers(name: str) -> tuple[Account, Endpoint, Endpoint | None]:
    """As `find`, and the server that it sends through; None if it only collects."""
    query = Endpoint.select(Endpoint, Account).join(Account).where(_is_named(name))
    found = {endpoint.direction: endpoint for endpoint in query}
    if "in" not in found:
        raise _not_found(name)
    return found["in"].account, found["in"], found.get("out")


def find_account(name: str) -> Account:
    """The mailbox with that uuid or address, even if its server is missing. Raises NotFound."""
    found: Account | None = Account.get_or_none(_is_named(name))
    if found is None:
        raise _not_found(name)
    return found


def _is_named(name: str) -> Any:
    """By address only if it can be one: SQL may have set a mailbox's id to another one's address."""
    return LISTED & (Account.address == name if "@" in name else Account.uuid == name)


def _not_found(name: str) -> NotFound:
    remedy = "It may have been removed. See the list of mailboxes (in the shell: flask accounts list)."
    return NotFound(f"Mailbox “{name[:80]}” does not exist.", remedy)


def without_server() -> list[Account]:
    """Mailboxes whose incoming server was deleted by SQL: no list shows them, nothing is collected."""
    served = Endpoint.select(Endpoint.account).where(Endpoint.direction == "in")
    return list(Account.select().where(LISTED, Account.uuid.not_in(served)).order_by(Account.address))


def sending_of(uuid: str) -> Endpoint | None:
    """The server that the mailbox sends through; None if it only collects."""
    found: Endpoint | None = Endpoint.get_or_none(Endpoint.account == uuid, Endpoint.direction == "out")
    return found


def mailbox_of(account: Account) -> Mailbox:
    return Mailbox(**{field.name: getattr(account, field.name) for field in fields(Mailbox)})
