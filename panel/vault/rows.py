"""Many rows that hold a secret, for a sweep and for `verify`: a page at a time, in the order of their ids.

They come as plain tuples, because making the model's objects would take longer
than opening their records. What is in them reads as it does from the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from peewee import JOIN, ColumnBase, DoesNotExist, Field, IntegerField

from panel import db
from panel.crypto.keyfile import KeyFile
from panel.crypto.record import Binding
from panel.models import Account, Endpoint
from panel.models.endpoint import LABEL, binding
from panel.models.secret_row import StoredClear, StoredRecord
from panel.vault.state import Failure

PAGE = 500  # rows read at once
NO_ACCOUNT = "It belongs to no account, so it cannot be entered again: docs/encryption.md, 'Inconsistent'."
STORED = Endpoint.clear.is_null(False) | Endpoint.sealed.is_null(False)

# What the last opening found: at which `rev`, with which generation of the key file, it failed, and why.
Finding = tuple[int | None, int | None, str | None]
NOTE = "UPDATE endpoint SET failed_rev = ?, failed_generation = ?, failure = ? WHERE id = ? AND rev = ?"


class Row(NamedTuple):
    """A row of `endpoint` as it was read. `credential` opens it."""

    id: int
    rev: int
    clear: StoredClear | None
    sealed: StoredRecord | None
    account_id: str
    direction: str
    protocol: str
    host: str
    port: object
    security: str
    username: str
    auth_method: str
    token_url: str
    address: str
    kind: str
    account_address: str | None
    failed_rev: int | None
    failed_generation: int | None
    failure: str | None

    def binding(self, instance_id: bytes, label: str = LABEL) -> Binding:
        """The fields that this row's sealed record is authenticated with."""
        return binding(self, instance_id, label)

    @property
    def finding(self) -> Finding:
        """What the row says of its last opening."""
        return self.failed_rev, self.failed_generation, self.failure


WRAPPED = ("clear", "sealed")
FIELDS = [
    Account.address if name == "account_address" else Endpoint._meta.columns[name] for name in Row._fields
]


def after(last: int | None, wanted: ColumnBase, size: int) -> list[Row]:
    """The next `size` rows behind the id `last` that are as `wanted`; None: from the first one on."""
    query = Endpoint.select(*FIELDS).join(Account, JOIN.LEFT_OUTER).where(wanted)
    query = query.order_by(Endpoint.id).limit(size)
    if last is not None:
        query = query.where(Endpoint.id > last)
    return [_row(values) for values in db.database.execute(query)]


def each(wanted: ColumnBase) -> Iterator[Row]:
    """All rows that are as `wanted`, by id, no more than a page of them in memory.

    Call it inside a transaction where they must be of one moment.
    """
    last: int | None = None
    while page := after(last, wanted, PAGE):
        yield from page
        last = page[-1].id


def _row(values: tuple[Any, ...]) -> Row:
    read = list(values)
    for index, python_value in _conversions(tuple(map(type, values))):
        read[index] = python_value(read[index])
    return Row._make(read)


@lru_cache(maxsize=64)  # a table has a few such patterns; only what SQL forced in has others
def _conversions(kinds: tuple[type, ...]) -> list[tuple[int, Callable[[Any], Any]]]:
    """Which columns are not taken as the driver returned them, and how each is read."""
    return [
        (index, field.python_value)
        for index, (name, field, kind) in enumerate(zip(Row._fields, FIELDS, kinds, strict=True))
        if kind is not type(None) and (name in WRAPPED or kind is not _plain(field))
    ]


def _plain(field: Field) -> type:
    return int if isinstance(field, IntegerField) else str


def mark() -> tuple[object, ...]:
    """What changes with each password that is saved in clear text, and each account that goes."""
    summed = "SELECT count(*), total(rev), max(id) FROM endpoint WHERE clear IS NOT NULL"
    return tuple(db.database.execute_sql(summed).fetchone())


def still_clear(found: Iterable[Row]) -> list[Row]:
    """Those rows that still stand in clear text at the same `rev`."""
    query = Endpoint.select().where(Endpoint.clear.is_null(False))
    return [row for row in found if query.where((Endpoint.id == row.id) & (Endpoint.rev == row.rev)).exists()]


def count(wanted: ColumnBase) -> int:
    """How many rows are as `wanted`."""
    return int(Endpoint.select().where(wanted).count())


def note(file: KeyFile | None, found: Iterable[tuple[Row, str | None]]) -> None:
    """Store in each row why it could not be opened with `file`, or None; rows that have it already are left
    alone.

    It counts for this revision of the row and this generation of the key file only.
    """
    news = [(*finding, row.id, row.rev) for row, finding in _findings(file, found) if finding != row.finding]
    if news:
        with db.transaction():
            db.database.connection().cursor().executemany(NOTE, news)


def _findings(file: KeyFile | None, found: Iterable[tuple[Row, str | None]]) -> Iterator[tuple[Row, Finding]]:
    for row, reason in found:
        if reason is None:
            yield row, (None, None, None)
        elif file is not None:
            yield row, (row.rev, file.generation, reason)


# -- whose they are -----------------------------------------------------------------


def without_account(wanted: ColumnBase) -> list[Endpoint]:
    """The servers that match `wanted` and whose account was removed by SQL, without them."""
    joined = Endpoint.select().join(Account, JOIN.LEFT_OUTER)
    return list(joined.where(wanted & Account.uuid.is_null()).order_by(Endpoint.id))


def failure(endpoint: Endpoint, reason: str) -> Failure:
    """The account of `endpoint`, whose record cannot be opened for `reason`."""
    direction = str(endpoint.direction)
    text = reason if direction == "in" else f"The password for sending: {reason}"
    account = _account(endpoint)
    if account is None:
        return Failure("", address(endpoint), f"{text} {NO_ACCOUNT}", direction)
    return Failure(account.uuid, address(endpoint), text, direction)


def address(endpoint: Endpoint) -> str:
    """The address of its account, or that it has none."""
    account = _account(endpoint)
    return str(account.address) if account else f"(no account {str(endpoint.account_id)[:36]})"


def _account(endpoint: Endpoint) -> Account | None:
    try:
        account: Account = endpoint.account
    except DoesNotExist:  # removed by SQL without its servers; one bad row stops no other
        return None
    return account


def failures(found: Iterable[tuple[Row, str]]) -> list[Failure]:
    """The accounts of the rows that cannot be opened, each for the reason beside it."""
    return [failure(endpoint, reason) for row, reason in found if (endpoint := Endpoint.get_or_none(row.id))]
