"""Sealing as Peewee saves: what `SecretRow.save()` asks before a secret reaches the database.

Connected to the models in `create_app`. Within one transaction: lock the state row, read the key file again,
seal or keep clear as `Snapshot.sealing_key` says.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from panel.crypto import record
from panel.errors import BadInput, CannotStore
from panel.models.endpoint import Endpoint
from panel.models.secret_fields import Clear, Sealed
from panel.models.secret_row import SecretRow
from panel.secret import Secret
from panel.vault import activate
from panel.vault.vault import Vault


class Sealer:
    """Seals what is saved to one vault."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._now = threading.local()  # the checks of this thread's `storing()`, where it is in one

    @contextmanager
    def storing(self) -> Iterator[None]:
        """A transaction that secrets may be saved in, holding the lock of the state row.

        A key that is not active yet is activated first, in a transaction of its own: the lock is never
        upgraded. Several rows that belong together are saved inside one `storing()`. What was written is
        read again at its end. Raises CannotStore where the schema of the database was changed.
        """
        if getattr(self._now, "checks", None) is not None:
            yield
            return
        database = self._vault.database
        if not database.in_transaction():
            activate.activate(self._vault)
        with database.atomic() if not database.in_transaction() else nullcontext():
            # Read once, however many rows are saved: who changes key file or state row holds this lock too.
            self._now.reading = self._vault.read()
            self._now.reading.require_unaltered()
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
                f"The {row.words.noun} is longer than {record.LONGEST_SECRET} bytes.",
                "Use a shorter one.",
                field="password",
            )
        now = self._now.reading
        key = now.sealing_key(row.words.noun)
        if key is None and not row.may_be_clear:
            raise CannotStore(
                "While encryption is off only a mailbox's password can be stored.",
                "Turn on encryption first: on the Encryption page, or with flask encryption enable",
            )
        if key is None:
            return Clear(secret)
        if now.disk.expected_key != key.id:
            self._vault.keystore.expect(key.id)
            self._now.reading = self._vault.read()
        if isinstance(row, Endpoint):
            activate.require_scrub_for_clear(row)
        return Sealed(record.seal(key, secret.reveal_bytes(), row.binding(now.row.instance_id)))


def connect(vault: Vault) -> None:
    """Make `vault` the one that every `SecretRow` is sealed for."""
    SecretRow.sealer = Sealer(vault)
