"""What to do about a key that cannot be used, with the paths and commands of this install."""

from __future__ import annotations

from dataclasses import dataclass

from panel.errors import DamagedKeyFile
from panel.program import as_typed
from panel.vault.files import typed
from panel.vault.snapshot import PUT_BACK, Snapshot
from panel.vault.state import State
from panel.vault.vault import Vault

OLDER_DATABASE = " If you restored an older database, add its key: flask encryption key add FILE"


@dataclass(frozen=True)
class Advice:
    """`reason` and `remedy` are sentences; `command` puts a backup of the key file back, where that helps."""

    reason: str = ""
    remedy: str = ""
    command: str | None = None


def advise(now: Snapshot, vault: Vault) -> Advice:
    """What is wrong in the state `now`, and what to do; empty where nothing is."""
    if not now.state.no_key:
        return Advice()
    flagged = now.file is not None and now.file.decrypt_id is not None
    another = now.state is State.KEY_WRONG and not now.database_wrong
    put_back = (
        now.state is State.KEY_MISSING
        or isinstance(now.disk.error, DamagedKeyFile)
        or (another and not flagged)
    )
    return Advice(now.reason, as_typed(_remedy(now, vault)), vault.keystore.put_back() if put_back else None)


def _remedy(now: Snapshot, vault: Vault) -> str:
    path = vault.keystore.path
    if now.state is State.KEY_MISSING:
        return f"Put it back from its backup as {path}, mode 600."
    if now.file is None or now.row.altered:
        return now.remedy
    if now.file.decrypt_id is not None and now.file.find(now.row.active_key_id) and not now.database_wrong:
        away = f"{typed(path)}.away"
        return (
            "This copy was made while encryption was being turned off. To clear its flag, run: "
            f"mv {typed(path)} {away}, then flask encryption key import {away}"
        )
    remedy = now.remedy if now.remedy != PUT_BACK else f"Put the right key file back as {path}, mode 600."
    ours = now.file.instance_id == now.row.instance_id and now.row.active_key_id and not now.row.decrypt_id
    return remedy + OLDER_DATABASE if ours else remedy
