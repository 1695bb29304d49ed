"""Many rows that hold a secret, for a sweep and for `verify`: a page at a time, in the order of their ids.

Every table of `SECRET_ROWS` is walked. Rows come as plain tuples, because making the model's objects would
take longer than opening their records. What is in them reads as it does from the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from functools import cache, lru_cache
from typing import Any, NamedTuple

from peewee import JOIN, SQL, ColumnBase, Field, IntegerField

from panel import db
from panel.crypto.keyfile import KeyFile
from panel.crypto.record import Binding
from panel.models import SECRET_ROWS, Account, Endpoint, SecretRow
from panel.models.secret_fields import StoredClear, StoredRecord
from panel.models.secret_row import Words

PAGE = 500  # rows read at once
PLANTED = "A value in clear text was put where only an encrypted one may be, outside Mailkeep."

Model = type[SecretRow]
Wanted = Callable[[Model], ColumnBase]  # which rows of a table
# What the last opening found: at which `rev`, with which generation of the key file, it failed, and why.
Finding = tuple[int | None, int | None, str | None]
NOTE = "UPDATE {} SET failed_rev = ?, failed_generation = ?, failure = ? WHERE id = ? AND rev = ?"
HEAD, FAILED = ("id", "rev", "clear", "sealed"), ("failed_rev", "failed_generation", "failure")


class Row(NamedTuple):
    """A row as it was read. `credential` opens it."""

    model: Model
    id: int
    rev: int
    clear: StoredClear | None
    sealed: StoredRecord | None
    bound: tuple[object, ...]  # the columns that `model.BOUND` names
    is_moved: object  # true where its account says that it has another address than the row is bound to
    failed_rev: int | None
    failed_generation: int | None
    failure: str | None

    def binding(self, instance_id: bytes, label: str | None = None) -> Binding:
        """The fields that this row's sealed record is authenticated with."""
        model = self.model
        return Binding(label or model.LABEL, instance_id, (*model.FIRST, *map(str, self.bound)))

    @property
    def may_be_clear(self) -> bool:
        """Whether the secret is a password."""
        return self.bound[-1] == self.model.CLEAR_KIND

    @property
    def words(self) -> Words:
        return self.model.words_of(self.bound[-1])


AnyRow = SecretRow | Row  # as the model or as a sweep reads it


def stored(model: Model) -> ColumnBase:
    """Rows that hold something."""
    return model.clear.is_null(False) | model.sealed.is_null(False)


def planted(model: Model) -> ColumnBase:
    """Rows with a value in clear text where only an encrypted one may be."""
    in_clear = model.clear.is_null(False)
    return in_clear if model.CLEAR_KIND is None else in_clear & (model.kind != model.CLEAR_KIND)


def after(model: Model, last: int | None, wanted: ColumnBase, size: int) -> list[Row]:
    """The next `size` rows behind the id `last` that are as `wanted`; None: from the first one on."""
    query = model.select(*_columns(model)).where(wanted)
    if model is Endpoint:
        query = query.join(Account, JOIN.LEFT_OUTER)
    query = query.order_by(model.id).limit(size)
    if last is not None:
        query = query.where(model.id > last)
    return [_row(model, values) for values in db.database.execute(query)]


def each(model: Model, wanted: ColumnBase) -> Iterator[Row]:
    """All rows that are as `wanted`, by id, no more than a page of them in memory.

    Call it inside a transaction where they must be of one moment.
    """
    last: int | None = None
    while page := after(model, last, wanted, PAGE):
        yield from page
        last = page[-1].id


@cache
def _columns(model: Model) -> list[Any]:
    """The columns of a `Row`, the bound ones one after the other."""
    named = [model._meta.fields[name] for name in (*HEAD, *model.BOUND)]
    moved = Account.address != Endpoint.address if model is Endpoint else SQL("NULL")
    return [*named, moved, *(model._meta.fields[name] for name in FAILED)]


def _row(model: Model, values: tuple[Any, ...]) -> Row:
    read = list(values)
    for index, python_value in _conversions(model, tuple(map(type, values))):
        read[index] = python_value(read[index])
    head, end = len(HEAD), len(HEAD) + len(model.BOUND)
    return Row._make((model, *read[:head], tuple(read[head:end]), *read[end:]))


@lru_cache(maxsize=256)  # a table has a few such patterns; only what SQL forced in has others
def _conversions(model: Model, kinds: tuple[type, ...]) -> list[tuple[int, Callable[[Any], Any]]]:
    """Which columns are not taken as the driver returned them, and how each is read."""
    return [
        (index, field.python_value)
        for index, (field, kind) in enumerate(zip(_columns(model), kinds, strict=True))
        if isinstance(field, Field)
        and kind is not type(None)
        and (field.name in ("clear", "sealed") or kind is not _plain(field))
    ]


def _plain(field: Field) -> type:
    return int if isinstance(field, IntegerField) else str


def mark() -> tuple[object, ...]:
    """What changes with each password that is saved in clear text, and each account that goes."""
    summed = "SELECT count(*), total(rev), max(id) FROM endpoint WHERE clear IS NOT NULL"
    return tuple(db.database.execute_sql(summed).fetchone())


def still_clear(found: Iterable[Row]) -> list[Row]:
    """Those rows that still stand in clear text at the same `rev`."""
    return [row for row in found if _is_there(row, row.model.clear.is_null(False))]


def _is_there(row: Row, wanted: ColumnBase) -> bool:
    here = (row.model.id == row.id) & (row.model.rev == row.rev)
    return bool(row.model.select().where(wanted & here).exists())


def count(wanted: Wanted) -> int:
    return sum(int(model.select().where(wanted(model)).count()) for model in SECRET_ROWS)


def note(file: KeyFile | None, found: Iterable[tuple[AnyRow, str | None]]) -> None:
    """Store in each row why it could not be opened with `file`, or None; rows that have it already are left
    alone.

    It counts for this revision of the row and this generation of the key file only.
    """
    news = list(_news(file, found))
    with db.transaction() if news else nullcontext():
        for row, finding in news:
            table = (row.model if isinstance(row, Row) else type(row))._meta.table_name
            db.database.execute_sql(NOTE.format(table), (*finding, row.id, row.rev))


def _news(
    file: KeyFile | None, found: Iterable[tuple[AnyRow, str | None]]
) -> Iterator[tuple[AnyRow, Finding]]:
    for row, reason in found:
        finding: Finding = None, None, None
        if reason is not None:
            if file is None:
                continue
            finding = row.rev, file.generation, reason
        if finding != (row.failed_rev, row.failed_generation, row.failure):
            yield row, finding
