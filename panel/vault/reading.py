"""What a `Snapshot` holds, and what people are shown of it: state, counts, fingerprints and times."""

from __future__ import annotations

import hashlib
import hmac
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

from panel import db
from panel.crypto.keyfile import KeyFile, fingerprint
from panel.errors import Refused
from panel.models import Encryption
from panel.models.moment import is_ahead
from panel.models.secret_fields import as_bytes
from panel.vault.keystore import KeyStore
from panel.vault.owners import Failure
from panel.vault.state import FileFacts, RecordFacts, RowFacts, State, derive
from panel.wording import counted

BACKUP_LABEL, TAG_BYTES = b"mailkeep/backup-proved", 32
STUCK_SECONDS = 3600  # turning on and changing the key take seconds, or minutes


def secrets(count: int, *, others: int) -> str:
    """'1 password', '3 passwords'; where `others` are stored besides, '3 secrets'."""
    noun = "secret" if others else "password"
    return counted(count, noun)


@dataclass(frozen=True)
class Times:
    """When what happened last (UTC seconds): for people, nothing is decided by it."""

    key_created_at: int | None = None
    enabled_at: int | None = None
    verified_at: int | None = None
    backup_proved_at: int | None = None  # a copy of the key file as it is now; None without an authentic tag
    trouble_since: int | None = None
    key_changed_at: int | None = None  # when the key file was last written


NO_TIMES = Times()


@dataclass(frozen=True)
class Reading:
    """What was read at one moment. `counts` and `times` are there where they were asked for."""

    disk: FileFacts
    row: RowFacts
    any_sealed: bool = False  # read where there is no key file, which is where it matters
    counts: RecordFacts | None = None
    times: Times = NO_TIMES

    @property
    def file(self) -> KeyFile | None:
        """The key file, the right one or not; None where there is none that can be used."""
        return self.disk.file

    @property
    def records(self) -> RecordFacts:
        """How the secrets are stored. TypeError where that was not read."""
        if self.counts is None:
            raise TypeError("this snapshot was taken without counts")
        return self.counts

    @cached_property
    def state(self) -> State:
        """The state; it takes the counts."""
        return derive(self.disk, self.row, self.records)

    # -- what people are shown ----------------------------------------------------------

    @property
    def found(self) -> str | None:
        """Fingerprint of the expected key, where the file holds it, else of the file's primary key."""
        expected = self._expected
        return fingerprint((self.file.find(expected) or self.file.primary).id) if self.file else None

    @property
    def expected(self) -> str | None:
        """Fingerprint of the key that the database, or else this server, expects."""
        return fingerprint(self._expected) if self._expected else None

    @property
    def _expected(self) -> bytes | None:
        return self.row.active_key_id or self.disk.expected_key or None

    @property
    def total(self) -> int:
        """Stored passwords."""
        return self.sealed + self.records.clear

    @property
    def sealed(self) -> int:
        """Encrypted passwords."""
        return self.records.sealed - self.records.others

    @property
    def others(self) -> int:
        """What is stored besides, always encrypted: client secrets, consents, names of secrets outside."""
        return self.records.others

    @property
    def stored(self) -> int:
        """All that is stored: passwords and the others."""
        return self.total + self.others

    @property
    def tokens(self) -> int:
        """Sign-in tokens of mailboxes: one for each consent."""
        return self.records.tokens

    @property
    def clear(self) -> int:
        """Passwords in clear text."""
        return self.records.clear

    @property
    def moved(self) -> int:
        """All that is encrypted under the primary key."""
        return self.records.sealed_by_key.get(self.file.primary.id, 0) if self.file else 0

    @property
    def unreadable(self) -> int:
        """Passwords that cannot be decrypted, as far as is known."""
        return self.sealed if self.state.no_key else sum(each.is_password for each in self.failures)

    @property
    def others_unreadable(self) -> int:
        """The same of `others`."""
        return self.others if self.state.no_key else sum(not each.is_password for each in self.failures)

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Whose record is known not to open."""
        return self.records.failures

    @property
    def retired(self) -> tuple[str, ...]:
        """Fingerprints of the keys that are kept for old database backups."""
        return tuple(fingerprint(k.id) for k in self.file.keys if k.state == "retired") if self.file else ()

    @property
    def backup_due(self) -> bool:
        """Whether a backup of the key file as it is now still has to be verified.

        While the key is changed another copy follows soon; but a change that got stuck, or is held up on
        purpose, must not hide that no copy holds the key in use.
        """
        finished = self.state in (State.ON, State.INCONSISTENT)
        stuck = self.state in (State.ENABLING, State.ROTATING) and self._changed_long_ago
        return (finished or stuck) and self.times.backup_proved_at is None

    @property
    def _changed_long_ago(self) -> bool:
        at = self.times.key_changed_at
        return at is not None and (db.now() - at >= STUCK_SECONDS or is_ahead(at))


def times(keystore: KeyStore, file: KeyFile | None, found: Encryption | None) -> Times:
    changed_at = None
    if file is not None:
        with suppress(Refused):  # gone since it was read
            changed_at = int(keystore.key_file_modified())
    if found is None:
        return Times(key_changed_at=changed_at)
    return Times(
        found.key_created_at, found.enabled_at, found.verified_at, _proved_at(found, file),
        found.trouble_since, changed_at,
    )  # fmt: skip


def _proved_at(found: Encryption, file: KeyFile | None) -> int | None:
    if found.backup_proved_at is None or file is None:
        return None
    at, tag = int(found.backup_proved_at), as_bytes(found.backup_tag or b"")
    return at if hmac.compare_digest(tag, backup_tag(file, at)) else None


def backup_tag(file: KeyFile, at: int) -> bytes:
    """Authenticates that at the time `at` a copy of `file` was shown: making one takes the key.

    It binds every byte of the file, so that each change makes it void (docs/decisions/0012).
    """
    info = BACKUP_LABEL + hashlib.sha256(file.to_bytes()).digest() + at.to_bytes(8, "big")
    return file.primary.derive(info, TAG_BYTES)
