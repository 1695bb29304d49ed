"""The panel's side: which mailbox goes out to which target, told to the deliverer by a file in the spool.

The panel's user alone can write that file and its folder: a member of PANEL_MAIL_GROUP chooses no target.
What a target is stands in the targets file: whoever writes the database can choose only among those.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from panel import db, durable
from panel.audit import Actor
from panel.config import Settings
from panel.deliver import spool, targets_file
from panel.deliver.sample import LONGEST
from panel.deliver.spool import ASIDE, SENT, NotOurs
from panel.deliver.targets import MAILDIR
from panel.errors import BadInput, NotFound, SpoolError
from panel.logs import escaped
from panel.mail.maildir import make_folder, make_spool
from panel.models import LISTED, Account, Message
from panel.wording import reason

FILE = "mailboxes.json"
LISTING = "SELECT uuid, address, deliver_to FROM account WHERE removed_at IS NULL ORDER BY uuid"
WAITS = """
UPDATE message_log SET waiting = 1
WHERE fetched_id IN (SELECT id FROM message WHERE account_id = ? AND name = ?)
"""
SUBJECTS = """
SELECT m.name, CAST(l.subject AS TEXT), CAST(l.sender AS TEXT) FROM message m
JOIN message_log l ON l.fetched_id = m.id WHERE m.account_id = ? AND m.name IN ({marks})
"""


def find(name: str) -> Account:
    """The mailbox of that uuid or address. Raises NotFound."""
    same = Account.address == name if "@" in name else Account.uuid == name
    found: Account | None = Account.get_or_none(LISTED, same)
    if found is None or not spool.is_uuid(found.uuid):
        raise NotFound(f"There is no mailbox “{name[:80]}”.", "To list them, run: flask accounts list")
    return found


def require(settings: Settings, name: str) -> None:
    """Raise BadInput for a name that is not in the targets file, SettingsError where that is broken."""
    if name not in ("", MAILDIR):
        targets_file.read(settings.targets_file).require(name)


def choose(settings: Settings, uuid: str, name: str, actor: Actor) -> None:
    """Have the mailbox's mail go out to that target; empty: to the default one.

    Raises BadInput for a name that is not in the targets file, SettingsError, SpoolError.
    """
    require(settings, name)
    with db.transaction():
        account = find(uuid)
        Account.update(deliver_to=name).where(Account.uuid == account.uuid).execute()
        actor.record("delivery target chosen", account.address, name or "the default")
    publish(settings)


def publish(settings: Settings) -> None:
    """Write the file where it does not say what the database says. Raises SpoolError."""
    if settings.targets_file is None:
        return
    listed = {
        str(uuid): {"address": str(address), "target": str(target)}
        for uuid, address, target in db.database.execute_sql(LISTING)
        if spool.is_uuid(str(uuid))
    }
    data, path = json.dumps(listed).encode(), spool.beside(settings.mail_spool, FILE)
    if path.exists() and path.read_bytes() == data:
        return
    with _named(settings.mail_spool):
        _make_folders(settings, listed)
        durable.replace(path, data, 0o640 if settings.mail_group else 0o600)


def _make_folders(settings: Settings, uuids: Any) -> None:
    root, group = settings.mail_spool, settings.mail_group
    make_spool(root, group)
    make_folder(spool.beside(root), 0o2750, group)
    make_folder(spool.beside(root, "requests"), 0o2750, group)
    make_folder(spool.beside(root, "state"), 0o2770, group)
    for uuid in uuids:
        if not spool.beside(root, uuid, ASIDE).exists():
            make_folder(spool.beside(root, uuid), 0o2750, group)
            for name in (SENT, ASIDE):
                make_folder(spool.beside(root, uuid, name), 0o2770, group)


def again(settings: Settings, uuid: str, since: int, *, only_aside: bool, actor: Actor) -> int:
    """Put back into new/ what was set aside, and what was delivered since then; how many messages.

    Each gets a new name, and so another delivery id: helpdesks drop what they have seen. Raises SpoolError.
    """
    root = settings.mail_spool
    beside, to = spool.beside(root, uuid), root / uuid / "new"
    moved = []
    with _named(beside):
        if not to.exists():  # nothing was collected yet
            return 0
        owner = root.stat().st_uid
        with spool.folder(to, owner) as new:
            moved += _put_back(beside / ASIDE, owner, new, 0)
            moved += [] if only_aside else _put_back(beside / SENT, owner, new, since)
    with db.transaction():
        for old, name in (pair for pair in moved if pair[0].isprintable()):  # as the log has them
            db.database.execute_sql(WAITS, (uuid, old))
            Message.update(name=name).where(Message.account == uuid, Message.name == old).execute()
        actor.record("delivery repeated", find(uuid).address, f"{len(moved)} messages.")
    return len(moved)


def _put_back(path: Path, owner: int, new: int, since: int) -> list[tuple[str, str]]:
    """Move what came into the folder since then; the old and new names. No planted link is followed."""
    moved = []
    with suppress(FileNotFoundError), spool.folder(path, owner) as folder:
        for name in spool.names(path):
            with suppress(FileNotFoundError, NotOurs), spool.message(folder, name, owner) as file:
                other = spool.renamed(name)
                if os.fstat(file.fileno()).st_mtime >= since and spool.move(file, name, folder, new, other):
                    moved.append((name, other))
    return moved


def subjects(uuid: str, names: list[str]) -> dict[str, tuple[str, str]]:
    """Subject and sender of these files of the mailbox, as far as they are logged."""
    marks = ", ".join("?" * len(names))
    rows = db.database.execute_sql(SUBJECTS.format(marks=marks), (uuid, *names)).fetchall()
    return {str(name): (str(subject), str(sender)) for name, subject, sender in rows}


# -- a sample message --------------------------------------------------------------------


def request_sample(settings: Settings, name: str, actor: Actor) -> str:
    """Have the deliverer send a sample to the target; the id to ask `sample_result` for.

    Raises BadInput, SettingsError, SpoolError.
    """
    found = targets_file.read(settings.targets_file)
    found.require(name)
    if name not in found.by_name:
        raise BadInput(f"{name} has nothing to test.", "It leaves mail in the Maildir.")
    publish(settings)
    _remove_answered(settings.mail_spool)
    chosen = [name, ""] if found.default == name else [name]
    mailbox = Account.select(Account.address).where(LISTED, Account.deliver_to.in_(chosen)).scalar()
    id_ = secrets.token_hex(16)
    asked = {"target": name, "mailbox": mailbox or "mailkeep-test@example.invalid", "at": int(time.time())}
    with _named(settings.mail_spool):
        path = spool.beside(settings.mail_spool, "requests", f"test-{id_}.json")
        spool.write(path, asked, 0o640 if settings.mail_group else 0o600)
    actor.record("delivery target tested", name)
    return id_


def sample_result(settings: Settings, id_: str) -> tuple[bool, str] | None:
    """Whether the sample was delivered, and what the target answered; None while there is no answer."""
    found = spool.read(spool.beside(settings.mail_spool, "state", f"test-{id_}.json"))
    if not found:
        return None
    return found.get("outcome") == "delivered", spool.text(found.get("answer"))


def _remove_answered(root: Path) -> None:
    for folder in ("requests", "state"):
        for path in spool.beside(root, folder).glob("test-*.json"):
            with suppress(OSError):  # gone, or a folder that a member of the group made
                if path.lstat().st_mtime < time.time() - LONGEST:
                    path.unlink()


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        what = escaped(str(error.filename or path))  # which a member of the group may have named
        raise SpoolError(f"{what} cannot be written: {reason(error)}.", "Check its owner and mode.") from None
    except NotOurs as error:
        raise SpoolError(escaped(str(error)), "Check its owner and mode.") from None
