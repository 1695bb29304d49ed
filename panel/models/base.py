"""The base of all tables, and fields that read anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import peewee
from peewee import Model

from panel.db import database


def as_text(value: object) -> str:
    """Text, whatever SQL put there: a value that is not UTF-8 must not break the page that lists it."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def as_whole(value: object) -> int | None:
    """A whole number; None for whatever else SQL put there."""
    return value if isinstance(value, int) else None


class _Text:
    def python_value(self, value: object) -> str | None:
        return None if value is None else as_text(value)


class _Whole:
    """A whole number, whatever SQL put there."""

    null: bool

    def python_value(self, value: Any) -> int | None:
        """The number; for anything else None, or 0 in a column that is never null."""
        try:
            return None if value is None else int(value)
        except (ValueError, TypeError, OverflowError):
            return None if self.null else 0


if TYPE_CHECKING:  # the stubs know the types of Peewee's own classes only
    from peewee import BigIntegerField as BigIntegerField
    from peewee import CharField as CharField
    from peewee import IntegerField as IntegerField
    from peewee import TextField as TextField
else:

    class CharField(_Text, peewee.CharField):
        """Text of a bounded length."""

    class TextField(_Text, peewee.TextField):
        """Text."""

    class IntegerField(_Whole, peewee.IntegerField):
        """A whole number."""

    class BigIntegerField(_Whole, peewee.BigIntegerField):
        """A whole number of up to 63 bits."""


class BaseModel(Model):
    """A table of Mailkeep. `save()` writes the fields that were set, never the whole row."""

    class Meta:
        database = database
        legacy_table_names = False
        only_save_dirty = True
