"""Who verified the backup of the key, and who changed the key file: as Activity has it, for people only."""

from __future__ import annotations

import json
from dataclasses import dataclass

from panel import db
from panel.vault import retired_keys, rotation
from panel.vault.snapshot import Snapshot

VERIFIED, CREATED = "key backup verified", "key file created"
CHANGES = {
    rotation.STARTED: "The key changed",
    retired_keys.ADDED: "An older key was added to the key file",
    retired_keys.PRUNED: "Retired keys were removed from the key file",
    "turning off encryption cancelled": "Turning encryption off was cancelled, which changed the key file",
}
NEWEST = """
SELECT what, CAST(who AS TEXT), at, max(id) FROM activity
WHERE what IN (SELECT value FROM json_each(:kinds)) GROUP BY what
"""


@dataclass(frozen=True)
class KeyEvent:
    """What happened last, when (UTC seconds), and by whom."""

    text: str
    at: int
    who: str


@dataclass(frozen=True)
class KeyHistory:
    """`verified`: of the key file as it is now. `changed`: the key file since it was created."""

    verified: KeyEvent | None = None
    changed: KeyEvent | None = None


def read(now: Snapshot) -> KeyHistory:
    """The newest steps. Whoever may write to the database may have forged them."""
    kinds = json.dumps([VERIFIED, CREATED, *CHANGES])
    found = {what: (number, who, at) for what, who, at, number in db.read(NEWEST, {"kinds": kinds})}
    verified, proved_at = found.pop(VERIFIED, None), now.times.backup_proved_at
    newest = max(found, key=lambda what: found[what][0], default=CREATED)
    by = verified[1] if verified and verified[2] == proved_at else ""
    return KeyHistory(
        KeyEvent("Key backup verified", proved_at, by) if proved_at else None,
        KeyEvent(CHANGES[newest], found[newest][2], found[newest][1]) if newest in CHANGES else None,
    )
