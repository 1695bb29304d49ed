"""The columns of rows that hold a secret: each admits only values of one type, which `save()` alone makes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from peewee import BlobField, Field, ForeignKeyField, IntegerField, Node, TextField

from panel.models.base import as_text
from panel.secret import Secret


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


class _Unloaded:
    """Marks 'store nothing here' for the column that is not set."""


EMPTY = _Unloaded()


class _SecretField(Field):
    only_from: ClassVar[type]

    def admit(self, value: object) -> None:
        """Let pass what the sealer made; raise TypeError for all else, also for None and for SQL."""
        if not isinstance(value, (self.only_from, _Unloaded)):
            raise TypeError(f"{self.name} is written by save() alone: set the row's secret to a Secret")

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
        return None if value is None else StoredClear(as_text(value))


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
        return as_text(value)


class BoundInteger(_BoundField, IntegerField):
    """An integer, read and compared leniently as BoundText is read."""

    def adapt(self, value: Any) -> Any:
        return value


class BoundForeignKey(_BoundField, ForeignKeyField):
    """A reference that is part of the binding."""
