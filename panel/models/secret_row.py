"""Rows that hold a secret: two columns, at most one of them set, and one way to write them.

A `Secret` is handed to the row (`row.password = Secret(…)`), and to `save()` the place that a person saw and
a rule checked, as one frozen value. `save()` has the connected sealer seal the secret for exactly that
place, writes every bound column from it, and what stands in the row is compared with it once more before the
commit (docs/decisions/0031-sealed-for-what-was-seen.md). No other write through Peewee reaches the secret
columns or the bound columns: their fields admit only values wrapped by the types below. Why it is not done
by a signal or by `db_value` alone: docs/decisions/0003-secret-rows.md.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar, Protocol

from peewee import (
    BlobField,
    Check,
    Field,
    ForeignKeyField,
    IntegerField,
    ModelInsert,
    ModelUpdate,
    Node,
    TextField,
)  # fmt: skip

from panel.errors import EditedMeanwhile, PasswordNeeded
from panel.models.base import BaseModel
from panel.models.prepared import Prepared, given
from panel.secret import Secret

SECRET_COLUMNS = ("clear", "sealed", "rev")
LAST_REV = 2**31


@dataclass(frozen=True)
class Sealed:
    """A record on its way into the database. Made by the sealer only."""

    record: bytes = field(repr=False)


@dataclass(frozen=True)
class Clear:
    """A secret on its way into the database unsealed. Made by the sealer only."""

    secret: Secret


@dataclass(frozen=True)
class Saved:
    """The value of a bound column on its way into the database. Made by `SecretRow.save()` only."""

    value: Any


@dataclass(frozen=True)
class StoredRecord:
    """A sealed record as read. Opening it is `panel.vault.credential`'s work alone."""

    record: bytes = field(repr=False)


@dataclass(frozen=True)
class StoredClear:
    """An unsealed secret as read, whatever SQL put there. `panel.vault.credential` checks it."""

    text: str = field(repr=False)


class SecretSealer(Protocol):
    """What must be connected before a secret can be stored (`panel.vault.sealer`)."""

    def storing(self) -> AbstractContextManager[None]:
        """The transaction to store in, under the lock of the state row."""

    def before_commit(self, row: object, check: Callable[[], None]) -> None:
        """Have `check` called at the end of the outermost `storing()`; if it raises, nothing is stored.

        The last one counts for a `row` that is saved more than once.
        """

    def seal(self, row: SecretRow, secret: Secret) -> Sealed | Clear:
        """What is to be stored for `secret` in the complete `row`. Raises CannotStore."""


class _Unloaded:
    """Marks 'store nothing here' for the column that is not set."""


EMPTY = _Unloaded()


class _SecretField(Field):
    only_from: ClassVar[type]

    def admit(self, value: object) -> None:
        """Let pass what the sealer made; raise TypeError for all else, also for None and for SQL."""
        if not isinstance(value, (self.only_from, _Unloaded)):
            raise TypeError(f"{self.name} is written by save() alone: set the row's password to a Secret")

    def db_value(self, value: object) -> Any:
        if isinstance(value, Node):
            raise TypeError(f"{self.name} is never compared or computed")
        self.admit(value)
        return None if isinstance(value, _Unloaded) else self._unwrap(value)

    def _unwrap(self, value: Any) -> Any:
        raise NotImplementedError


def as_bytes(value: object) -> bytes:
    """A blob as bytes; whatever else SQL put in its place, as its text."""
    return bytes(value) if isinstance(value, (bytes, memoryview)) else str(value).encode()


class SealedField(_SecretField, BlobField):
    """Holds a sealed record; reads as StoredRecord, which is not accepted back."""

    only_from = Sealed

    def _unwrap(self, value: Sealed) -> Any:
        return BlobField.db_value(self, value.record)  # type: ignore[no-untyped-call]

    def python_value(self, value: Any) -> StoredRecord | None:
        return None if value is None else StoredRecord(as_bytes(value))


class ClearField(_SecretField, TextField):
    """Holds a secret unsealed, while encryption is off; reads as StoredClear, which is not accepted back."""

    only_from = Clear

    def _unwrap(self, value: Clear) -> str:
        return value.secret.reveal()

    def python_value(self, value: Any) -> StoredClear | None:
        if value is None:
            return None
        return StoredClear(value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value))


class _BoundField(Field):
    """A column that the sealed record is authenticated with."""

    def admit(self, value: object) -> None:
        """Let pass what `save()` wrapped; raise TypeError for all else."""
        if not isinstance(value, Saved):
            raise TypeError(f"{self.name} is bound to the row's secret: change it with save()")

    def db_value(self, value: Any) -> Any:
        return super().db_value(value.value if isinstance(value, Saved) else value)  # type: ignore[no-untyped-call]


class BoundText(_BoundField, TextField):
    """Text, read leniently: a value forced in by SQL fails when it is opened, not when it is listed."""

    def python_value(self, value: Any) -> str:
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


class BoundInteger(_BoundField, IntegerField):
    """An integer, read and compared leniently as BoundText is read."""

    def adapt(self, value: Any) -> Any:
        return value


class BoundForeignKey(_BoundField, ForeignKeyField):
    """A reference that is part of the binding."""


@cache
def _bound_columns(model: type[SecretRow]) -> Prepared:
    """The bound columns and `rev` of the row `key`: each save asks for them twice."""
    fields = [model._meta.fields[name] for name in (*model.BOUND, "rev")]
    return Prepared(lambda: model.select(*fields).where(model._meta.primary_key == given("key")))


def _edited() -> EditedMeanwhile:
    return EditedMeanwhile(
        "The mailbox's server has been changed since, so nothing was stored.",
        "Look at it again, then repeat your change.",
    )


class SecretRow(BaseModel):
    """A row with one secret. Subclasses name their bound columns in `BOUND`."""

    BOUND: ClassVar[tuple[str, ...]] = ()
    sealer: ClassVar[SecretSealer | None] = None  # of the vault in use (panel.vault.sealer)

    clear = ClearField(null=True)
    sealed = SealedField(null=True)
    rev = BoundInteger()

    class Meta:
        constraints = [Check("clear IS NULL OR sealed IS NULL")]

    _password: Secret | None = None
    _dirty: set[str]  # Peewee's own, missing from its stubs

    @property
    def password(self) -> Secret | None:
        """The Secret that waits to be saved; None where there is none. Never what is stored."""
        return self._password

    @password.setter
    def password(self, secret: Secret) -> None:
        if not isinstance(secret, Secret):
            raise TypeError("the password of a row is a Secret")
        self._password = secret

    def save(
        self,
        force_insert: bool = False,
        only: Any = None,
        *,
        place: Any = None,
        seen: Any = None,
    ) -> int:
        """Write what was set, and seal the waiting password for `place`, whole and nothing else.

        `place` is a frozen value with every bound column, as a rule checked it; without one it is
        the row as it was read. `seen` is what the person was shown. Raises PasswordNeeded
        where a bound column changed without a password, EditedMeanwhile where the row is not as it
        was read or shown, or does not hold `place` before the commit, CannotStore where the state of
        the key forbids it; nothing is written then and the password still waits. It waits until the
        outermost transaction has committed.
        """
        changed = {f.name for f in self.dirty_fields}
        new = force_insert or not self._is_stored()
        self._refuse(changed, only)
        if not new and self._password is None and place is None and not changed & set(self.BOUND):
            return int(super().save(only=only)) if changed else 0
        with self.storing():
            bound = self._bound(place)
            return self._insert(bound) if new else self._update(bound, changed, seen)

    def _refuse(self, changed: set[str], only: Any) -> None:
        if changed & set(SECRET_COLUMNS) and self._is_stored():
            raise TypeError("set the row's password to a Secret; its columns are written by save() alone")
        names = {f if isinstance(f, str) else f.name for f in only or ()}
        if names & {*SECRET_COLUMNS, *self.BOUND} or (only is not None and self._password is not None):
            raise TypeError("only= cannot name or leave out a secret or a bound column")

    def _bound(self, place: Any) -> dict[str, Any]:
        """The bound columns of `place`; without one, of this row, which must have been read whole."""
        if place is not None:
            bound = dict(vars(place))
        else:
            bound = {name: self.__data__[name] for name in self.BOUND if name in self.__data__}
        if bound.keys() != set(self.BOUND):
            raise TypeError("a secret is saved for a whole place: read the row whole, or hand one over")
        return bound

    def _is_stored(self) -> bool:
        return self._pk is not None

    @classmethod
    def storing(cls) -> AbstractContextManager[None]:
        """The transaction that several secrets are saved in together (`SecretSealer.storing`)."""
        return cls._sealer().storing()

    @staticmethod
    def _sealer() -> SecretSealer:
        if SecretRow.sealer is None:
            raise TypeError("no sealer is connected: create_app() does that")
        return SecretRow.sealer

    def _insert(self, bound: dict[str, Any]) -> int:
        if self._password is None:
            raise PasswordNeeded("A password is needed for a new mail server.", "Enter it.")
        others = {n: v for n, v in self.__data__.items() if n not in (*SECRET_COLUMNS, *bound)}
        key = ModelInsert(type(self), self._columns(bound, others, rev=1)).execute()
        self._written(key, bound, 1)
        return 1

    def _update(self, bound: dict[str, Any], changed: set[str], seen: Any) -> int:
        fresh = self._fresh(self._pk)
        if fresh is None:
            raise EditedMeanwhile("This mailbox was removed.", "Go back to the list of mailboxes.")
        rev, same = fresh.pop("rev"), set(self.BOUND) - changed
        if self.__data__.get("rev", rev) != rev or (seen is not None and fresh != vars(seen)):
            raise _edited()
        if any(name in self.__data__ and self.__data__[name] != fresh[name] for name in same):
            raise _edited()  # by SQL, a trigger or a cascade, which leave `rev` alone
        others = {name: self.__data__[name] for name in changed - set(self.BOUND)}
        if self._password is None:
            if bound == fresh:
                return int(super().save(only=list(others))) if others else 0
            raise PasswordNeeded(
                "The server settings can change only together with the password.", "Enter the password again."
            )
        following = rev + 1 if isinstance(rev, int) and 0 < rev < LAST_REV else 1  # SQL put another there
        columns = self._columns(bound, others, rev=following)
        key = type(self)._meta.primary_key
        where = (key == self._pk) & (type(self).rev == rev)
        if ModelUpdate(type(self), columns).where(where).execute() != 1:
            raise _edited()
        self._written(self._pk, bound, following)
        return 1

    def _fresh(self, key: Any) -> dict[str, Any] | None:
        """The bound columns and `rev` as they stand in the row now; None where it is gone."""
        row = _bound_columns(type(self)).first(key=key)
        return None if row is None else dict(row._asdict())

    def _columns(self, bound: dict[str, Any], others: dict[str, Any], rev: int) -> dict[Field, Any]:
        """The columns of a query, with the waiting password sealed for exactly `bound`."""
        assert self._password is not None
        stored = self._sealer().seal(type(self)(**bound), self._password)
        fields = type(self)._meta.fields
        columns: dict[Field, Any] = {fields[name]: value for name, value in others.items()}
        columns |= {fields[name]: Saved(value) for name, value in bound.items()}
        columns[fields["sealed"]] = stored if isinstance(stored, Sealed) else EMPTY
        columns[fields["clear"]] = stored if isinstance(stored, Clear) else EMPTY
        columns[fields["rev"]] = Saved(rev)
        return columns

    def _written(self, key: Any, bound: dict[str, Any], rev: int) -> None:
        """Before the commit the row must hold `bound`, whatever else happened in the transaction."""

        def check() -> None:
            if self._fresh(key) != {**bound, "rev": rev} or not self._belongs(bound):
                raise _edited()

        self._sealer().before_commit((type(self), key), check)
        self._meta.database.after_commit(lambda: self._committed(key, bound, rev))

    def _belongs(self, bound: dict[str, Any]) -> bool:
        """Whether what else the database says of this row agrees with `bound`."""
        return True

    def _committed(self, key: Any, bound: dict[str, Any], rev: int) -> None:
        """After the commit, and only if it took: the password is safe, the instance is clean.

        A savepoint may have been rolled back alone; then the row does not have
        this `rev`, and the password goes on waiting.
        """
        row = _bound_columns(type(self)).first(key=key)
        if row is None or row.rev != rev:
            return
        self._pk = key
        self.__data__ |= {**bound, "rev": rev}
        self.__data__.pop("clear", None)
        self.__data__.pop("sealed", None)
        self._password = None
        self._dirty.clear()
