"""The vault of one install, as services get it: its database and its key store."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from peewee import OperationalError

from panel.config import Settings
from panel.vault import snapshot
from panel.vault.keystore import KeyStore
from panel.vault.snapshot import Snapshot


@dataclass(frozen=True)
class Vault:
    """Where the secrets are (`database`) and where the key is (`keystore`)."""

    database: Any  # peewee's, which the models are bound to
    keystore: KeyStore
    # What services remember in this process; nothing of it is stored.
    memory: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    _latest: threading.local = field(default_factory=threading.local, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, settings: Settings, database: Any) -> Vault:
        return cls(database, KeyStore.of(settings))

    def read(self, *, counts: bool = False) -> Snapshot:
        """A fresh reading. A step that changes something takes it inside `changing()`."""
        found = snapshot.read(self.keystore, counts=counts)
        if found.may_be_midway and not self.database.in_transaction():
            with suppress(OperationalError), self.database.atomic():  # which a refused form may not begin
                return snapshot.read(self.keystore, counts=counts)
        return found

    def latest(self) -> Snapshot:
        """A reading for a page, with counts: the one of before while neither database nor key file changed.

        SQLite's data_version tells of other connections' commits, total_changes of our own.
        """
        connection = self.database.connection()
        version = (
            connection.execute("PRAGMA data_version").fetchone()[0],
            connection.total_changes,
            self.keystore.version(),
        )
        found = getattr(self._latest, "found", None)
        if found is None or found[0] is not connection or found[1] != version:
            # Read after its version: what changes in between is met by the next page.
            found = self._latest.found = (connection, version, self.read(counts=True))
        reading: Snapshot = found[2]
        return reading

    @contextmanager
    def changing(self) -> Iterator[None]:
        """The key file's lock, then the state row's: what is read inside stays so until the end."""
        with self.keystore.locked(), self.database.atomic():
            yield
