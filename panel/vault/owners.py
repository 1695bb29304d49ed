"""Whose the secrets are: the mailbox, app or sign-in under way that a row belongs to, named for people."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from peewee import JOIN, ColumnBase, DoesNotExist

from panel.models import Account, Endpoint, OauthApp, SecretRow
from panel.vault.rows import PAGE, Model, Row

NO_ACCOUNT = "It belongs to no account, so it cannot be entered again: docs/encryption.md, 'Inconsistent'."
LONGEST_NAME = 80  # characters of what SQL may have put in the place of a name


@dataclass(frozen=True)
class Failure:
    """Whose record cannot be decrypted, and why. `direction`: in or out, of a mailbox's server.

    `account` is empty where the account itself no longer exists, and of an app.
    """

    account: str
    address: str  # or the name of the app
    reason: str
    direction: str = "in"
    what: str = "mailbox"  # or app, consent, submission password, sign-in
    is_password: bool = True

    @property
    def stops_collecting(self) -> bool:
        """Whether the account's mail cannot be collected."""
        return self.what == "consent" or (self.what == "mailbox" and self.direction == "in")

    @property
    def stops_sending(self) -> bool:
        """Whether nothing can be sent through the account."""
        return self.what == "consent" or (self.what == "mailbox" and self.direction == "out")


def by_owner(model: Model, wanted: ColumnBase) -> list[SecretRow]:
    """The rows that are as `wanted`, by the addresses of their accounts; those without one at the end."""
    if not has_account(model):
        return list(model.select().where(wanted).order_by(model.id))
    owned = model.select(model, Account).join(Account).where(wanted).order_by(Account.address, model.id)
    orphans = model.select().join(Account, JOIN.LEFT_OUTER).where(wanted & Account.uuid.is_null())
    return [*owned, *orphans.order_by(model.id)]


def has_account(model: Model) -> bool:
    """Whether each row is an account's."""
    return "account" in model._meta.fields


def is_orphan(row: SecretRow) -> bool:
    """Whether its account was removed by SQL, without it."""
    return has_account(type(row)) and _account(row) is None


def failure(row: SecretRow, reason: str) -> Failure:
    """Whose record cannot be opened for `reason`."""
    direction = str(row.direction) if isinstance(row, Endpoint) else "in"
    text = reason if direction == "in" else f"The {row.words.noun} for sending: {reason}"
    account = _account(row)
    if is_orphan(row):
        text = f"{text} {NO_ACCOUNT}"
    uuid = account.uuid if account else ""
    return Failure(uuid, address(row), text, direction, row.words.owner, row.may_be_clear)


def address(row: SecretRow) -> str:
    """Whose it is, for people: the address of its account, or that it has none; the name of an app."""
    if isinstance(row, OauthApp):
        return f"app {row.name[:LONGEST_NAME]}"
    if not has_account(type(row)):
        return "a sign-in under way"
    account = _account(row)
    uuid = str(row.__data__.get("account"))
    return str(account.address) if account else f"(no account {uuid[:36]})"


def names(found: Iterable[Row]) -> set[str]:
    """Whose these rows are, for people."""
    result: set[str] = set()
    for model, some in groupby(found, key=lambda row: row.model):
        ids = [row.id for row in some]
        for start in range(0, len(ids), PAGE):
            result.update(map(address, by_owner(model, model.id.in_(ids[start : start + PAGE]))))
    return result


def _account(row: SecretRow) -> Account | None:
    try:
        account: Account | None = getattr(row, "account", None)
    except DoesNotExist:  # removed by SQL without its servers; one bad row stops no other
        return None
    return account


def failures(found: Iterable[tuple[Row, str]]) -> list[Failure]:
    """Whose the rows are that cannot be opened, each for the reason beside it."""
    return [failure(one, reason) for row, reason in found if (one := row.model.get_or_none(row.id))]
