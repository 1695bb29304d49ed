"""Rows that hold a secret: two columns, at most one of them set, and one way to write them.

A `Secret` is handed to the row (`row.secret = Secret(…)`), and to `save()` the place that a person saw and
a rule checked, as one frozen value. `save()` has the connected sealer seal the secret for exactly that
place, writes every bound column from it, and what stands in the row is compared with it once more before the
commit (docs/decisions/0031-sealed-for-what-was-seen.md). No other write through Peewee reaches the secret
columns or the bound columns: their fields admit only values wrapped by types of `secret_fields`. Why it is
not done by a signal or by `db_value` alone: docs/decisions/0003-secret-rows.md.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from peewee import SQL, Check, Field, ModelInsert, ModelUpdate

from panel.crypto.record import Binding
from panel.errors import EditedMeanwhile, PasswordNeeded
from panel.models import base
from panel.models.base import BaseModel, BigIntegerField
from panel.models.prepared import Prepared, given
from panel.models.secret_fields import EMPTY, BoundInteger, Clear, ClearField, Saved, Sealed, SealedField
from panel.secret import Secret

SECRET_COLUMNS = ("clear", "sealed", "rev")
LAST_REV = 2**31


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


@cache
def _bound_columns(model: type[SecretRow]) -> Prepared:
    """The bound columns and `rev` of the row `key`: each save asks for them twice."""
    fields = [model._meta.fields[name] for name in (*model.BOUND, "rev")]
    return Prepared(lambda: model.select(*fields).where(model._meta.primary_key == given("key")))


@dataclass(frozen=True)
class Words:
    """What a table's rows and secrets are called in its errors."""

    owner: str  # whose they are: mailbox, app, …
    row: str  # a new …
    settings: str  # The … can change only together with
    noun: str  # of its secret: the …
    changed: str  # … has been changed since
    gone: tuple[str, str]  # what happened where the row was removed, and what to do
    again: str  # what to do where the record does not open


class SecretRow(BaseModel):
    """A row with one secret.

    A subclass is entered in `panel.models.SECRET_ROWS` and names its bound columns in `BOUND`, `kind` last,
    and what its records are bound to besides: `LABEL`, and `FIRST` before the columns.
    """

    BOUND: ClassVar[tuple[str, ...]] = ()
    LABEL: ClassVar[str]
    FIRST: ClassVar[tuple[str, ...]] = ()
    CLEAR_KIND: ClassVar[str | None] = None  # the one kind that may stand in clear text
    WORDS: ClassVar[Words]
    WORDS_OF: ClassVar[dict[str, Words]] = {}  # by kinds of secret that are called otherwise
    KEY: ClassVar[tuple[str, ...]] = ("uid",)  # the bound columns that name the row
    sealer: ClassVar[SecretSealer | None] = None  # of the vault in use (panel.vault.sealer)

    clear = ClearField(null=True)
    sealed = SealedField(null=True)
    rev = BoundInteger()
    if TYPE_CHECKING:
        id: Any  # of each table, as
        kind: Any  # of secret
    # What the last opening found. It counts only for this `rev` and this generation of the key file.
    failed_rev = base.IntegerField(null=True, index=True)
    failed_generation = BigIntegerField(null=True)
    failure = base.TextField(null=True)

    class Meta:
        constraints = [Check("clear IS NULL")]

    _secret: Secret | None = None
    _dirty: set[str]  # Peewee's own, missing from its stubs

    @property
    def secret(self) -> Secret | None:
        """The Secret that waits to be saved; None where there is none. Never what is stored."""
        return self._secret

    @secret.setter
    def secret(self, secret: Secret) -> None:
        if not isinstance(secret, Secret):
            raise TypeError("the secret of a row is a Secret")
        self._secret = secret

    @property
    def bound(self) -> tuple[str, ...]:
        """The bound columns as text, in their order."""
        return tuple(str(self.__data__.get(name)) for name in self.BOUND)

    def binding(self, instance_id: bytes, label: str | None = None) -> Binding:
        """What this row's sealed record is authenticated with."""
        return Binding(label or self.LABEL, instance_id, (*self.FIRST, *self.bound))

    @property
    def may_be_clear(self) -> bool:
        """Whether the secret may stand in clear text while encryption is off: passwords alone may."""
        return self.CLEAR_KIND is not None and str(self.__data__.get("kind")) == self.CLEAR_KIND

    @classmethod
    def words_of(cls, kind: object) -> Words:
        """What a row with that kind of secret, and the secret, are called."""
        return cls.WORDS_OF.get(str(kind), cls.WORDS)

    @property
    def words(self) -> Words:
        return self.words_of(self.__data__.get("kind"))

    @property
    def is_moved(self) -> bool:
        """Whether SQL moved the row to another mailbox."""
        return False

    def save(self, force_insert: bool = False, only: Any = None, *, place: Any = None) -> int:
        """Write what was set, and seal the waiting secret for `place`, whole and nothing else.

        `place` is a frozen value with every bound column, as a rule checked it; without one it is
        the row as it was read. Raises PasswordNeeded where a bound column changed without a secret,
        EditedMeanwhile where the row is not as it was read, or does not hold `place` before the commit,
        CannotStore where the state of the key forbids it; nothing is written then and the secret still
        waits. It waits until the outermost transaction has committed.
        """
        changed = {f.name for f in self.dirty_fields}
        new = force_insert or not self._is_stored()
        self._refuse(changed, only)
        if not new and self._secret is None and place is None and not changed & set(self.BOUND):
            return int(super().save(only=only)) if changed else 0
        with self.storing():
            bound = self._bound(place)
            return self._insert(bound) if new else self._update(bound, changed)

    def _refuse(self, changed: set[str], only: Any) -> None:
        if changed & set(SECRET_COLUMNS) and self._is_stored():
            raise TypeError("set the row's secret to a Secret; its columns are written by save() alone")
        names = {f if isinstance(f, str) else f.name for f in only or ()}
        if names & {*SECRET_COLUMNS, *self.BOUND} or (only is not None and self._secret is not None):
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

    def _edited(self) -> EditedMeanwhile:
        return EditedMeanwhile(
            f"{self.words.changed} has been changed since, so nothing was stored.",
            "Look at it again, then repeat your change.",
        )

    def _is_stored(self) -> bool:
        return self._pk is not None

    @classmethod
    def index_secrets(cls) -> None:
        """Add the indexes by which the vault counts (`panel.vault.counts`)."""
        table = cls._meta.table_name
        for index in (
            f"{table}_key ON {table} (substr(sealed, 3, 8)) WHERE sealed IS NOT NULL",
            f"{table}_unsealed ON {table} (failed_rev) WHERE sealed IS NULL",
            f"{table}_planted ON {table} (id) WHERE clear IS NOT NULL{cls._and_no_password()}",
        ):
            cls.add_index(SQL(f"CREATE INDEX {index}"))

    @classmethod
    def _and_no_password(cls) -> str:
        return f" AND kind <> '{cls.CLEAR_KIND}'" if cls.CLEAR_KIND else ""

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
        if self._secret is None:
            raise PasswordNeeded(f"A {self.words.noun} is needed for a new {self.words.row}.", "Enter it.")
        others = {n: v for n, v in self.__data__.items() if n not in (*SECRET_COLUMNS, *bound)}
        key = ModelInsert(type(self), self._columns(bound, others, rev=1)).execute()
        self._written(key, bound, 1)
        return 1

    def _update(self, bound: dict[str, Any], changed: set[str]) -> int:
        fresh = self._fresh(self._pk)
        if fresh is None:
            raise EditedMeanwhile(*self.words.gone)
        rev, same = fresh.pop("rev"), set(self.BOUND) - changed
        if self.__data__.get("rev", rev) != rev:
            raise self._edited()
        if any(name in self.__data__ and self.__data__[name] != fresh[name] for name in same):
            raise self._edited()  # by SQL, a trigger or a cascade, which leave `rev` alone
        others = {name: self.__data__[name] for name in changed - set(self.BOUND)}
        if self._secret is None:
            if bound == fresh:
                return int(super().save(only=list(others))) if others else 0
            secret = self.words.noun
            raise PasswordNeeded(
                f"The {self.words.settings} can change only together with the {secret}.",
                f"Enter the {secret} again.",
            )
        following = rev + 1 if isinstance(rev, int) and 0 < rev < LAST_REV else 1  # SQL put another there
        columns = self._columns(bound, others, rev=following)
        key = type(self)._meta.primary_key
        where = (key == self._pk) & (type(self).rev == rev)
        if ModelUpdate(type(self), columns).where(where).execute() != 1:
            raise self._edited()
        self._written(self._pk, bound, following)
        return 1

    def _fresh(self, key: Any) -> dict[str, Any] | None:
        """The bound columns and `rev` as they stand in the row now; None where it is gone."""
        row = _bound_columns(type(self)).first(key=key)
        return None if row is None else dict(row._asdict())

    def _columns(self, bound: dict[str, Any], others: dict[str, Any], rev: int) -> dict[Field, Any]:
        """The columns of a query, with the waiting secret sealed for exactly `bound`."""
        assert self._secret is not None
        stored = self._sealer().seal(type(self)(**bound), self._secret)
        values = others | {name: Saved(value) for name, value in (*bound.items(), ("rev", rev))}
        values["sealed"] = stored if isinstance(stored, Sealed) else EMPTY
        values["clear"] = stored if isinstance(stored, Clear) else EMPTY
        return {type(self)._meta.fields[name]: value for name, value in values.items()}

    def _written(self, key: Any, bound: dict[str, Any], rev: int) -> None:
        """Before the commit the row must hold `bound`, whatever else happened in the transaction."""

        def check() -> None:
            if self._fresh(key) != {**bound, "rev": rev} or not self._belongs(bound):
                raise self._edited()

        self._sealer().before_commit((type(self), key), check)
        self._meta.database.after_commit(lambda: self._committed(key, bound, rev))

    def _belongs(self, bound: dict[str, Any]) -> bool:
        """Whether what else the database says of this row agrees with `bound`."""
        return True

    def _committed(self, key: Any, bound: dict[str, Any], rev: int) -> None:
        """After the commit, and only if it took: the secret is safe, the instance is clean.

        A savepoint may have been rolled back alone; then the row does not have
        this `rev`, and the secret goes on waiting.
        """
        row = _bound_columns(type(self)).first(key=key)
        if row is None or row.rev != rev:
            return
        self._pk = key
        self.__data__ |= {**bound, "rev": rev}
        self.__data__.pop("clear", None)
        self.__data__.pop("sealed", None)
        self._secret = None
        self._dirty.clear()
