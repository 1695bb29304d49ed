"""Sealing as Peewee saves: what `SecretRow.save()` asks before a secret reaches the database.

Connected to the database in `create_app`. Within one transaction: lock the state
row, look at the key file again, seal or keep clear as `state.sealing_key` says.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, cast

from panel import db
from panel.crypto import record
from panel.errors import BadInput
from panel.models.endpoint import Endpoint
from panel.models.secret_row import Clear, Sealed, SecretRow
from panel.secret import Secret
from panel.vault import activate, snapshot, state
from panel.vault.keystore import KeyStore


class Hook:
    """The sealer of one database and one key store."""

    def __init__(self, keystore: KeyStore) -> None:
        self.keystore = keystore
        self._now = threading.local()  # the checks of this thread's `storing()`, where it is in one

    @contextmanager
    def storing(self) -> Iterator[None]:
        """A transaction that secrets may be saved in, holding the lock of the state row.

        A key that nobody has claimed yet is claimed first, in a transaction of
        its own: the lock is never upgraded. Several rows that belong together are
        saved inside one `storing()`. What was written is read again at its end.
        Raises CannotStore where the schema of the database was changed.
        """
        if getattr(self._now, "checks", None) is not None:
            yield
            return
        if not db.database.in_transaction():
            activate.if_needed(self.keystore)
        with db.database.atomic() if not db.database.in_transaction() else nullcontext():
            state.require_unaltered(snapshot.row())
            self._now.checks = {}
            try:
                yield
                for check in self._now.checks.values():
                    check()
            finally:
                self._now.checks = None

    def before_commit(self, row: object, check: Callable[[], None]) -> None:
        """Have `check` called at the end of the outermost `storing()`; if it raises, nothing is stored."""
        self._now.checks[row] = check

    def seal(self, row: SecretRow, secret: Secret) -> Sealed | Clear:
        """What to store for `secret` in the complete `row`, by what file and state row say now."""
        if len(secret.reveal_bytes()) > record.LONGEST_SECRET:
            raise BadInput(
                f"The password is longer than {record.LONGEST_SECRET} bytes.",
                "Use a shorter one.",
                field="password",
            )
        disk, chosen = snapshot.disk(self.keystore), snapshot.row()
        key = state.sealing_key(disk, chosen, disk.file is None and snapshot.any_sealed())
        if key is None:
            return Clear(secret)
        if disk.expected_key != key.id:
            self.keystore.expect(key.id)
        endpoint = cast(Endpoint, row)
        activate.require_scrub_for_clear(endpoint)
        return Sealed(record.seal(key, secret.reveal_bytes(), endpoint.binding(chosen.instance_id)))


def connect(database: Any, keystore: KeyStore) -> Hook:
    """Make `keystore` the one that `database` seals with."""
    database.sealer = Hook(keystore)
    return cast(Hook, database.sealer)
