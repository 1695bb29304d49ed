"""What may happen to a message on its IMAP server after delivery: marked as read, moved, deleted.

Only ever by UID. A plain EXPUNGE would also remove what another program has marked
as deleted, so a server without UIDPLUS (RFC 4315) is refused.
"""

from __future__ import annotations

from collections.abc import Iterable

from panel.errors import MailError
from panel.mail.imap_folders import named
from panel.mail.imap_protocol import Imap
from panel.mail.imap_syntax import uid_sets
from panel.mail.refusal import ServerRefused, failure

AT_ONCE = 500  # UIDs per command


def mark_seen(imap: Imap, uids: Iterable[int]) -> None:
    """Set the flag \\Seen. Raises MailError."""
    for uid_set in uid_sets(uids, AT_ONCE):
        _run(imap, b"UID STORE %s +FLAGS.SILENT (\\Seen)" % uid_set, "marked as read")


def move(imap: Imap, uids: Iterable[int], folder: str) -> None:
    """Move into `folder` by MOVE (RFC 6851), else by copying and deleting. Raises MailError.

    Killed between copying and deleting, the second way leaves a copy in both
    folders and makes another one next time; nothing is lost.
    """
    can_move = b"MOVE" in imap.capabilities()
    if not can_move:
        _require_uidplus(imap)
    command = b"UID MOVE" if can_move else b"UID COPY"
    for uid_set in uid_sets(uids, AT_ONCE):
        _into(imap, folder, b"%s %s " % (command, uid_set))
        if not can_move:
            _delete(imap, uid_set)


def delete(imap: Imap, uids: Iterable[int]) -> None:
    """Delete for good. Raises MailError."""
    _require_uidplus(imap)
    for uid_set in uid_sets(uids, AT_ONCE):
        _delete(imap, uid_set)


def _into(imap: Imap, folder: str, command: bytes) -> None:
    try:
        named(imap, folder, lambda word: imap.run(command + word))
    except ServerRefused as refused:
        raise _refused(imap, f"moved to “{folder}”", refused) from None


def _delete(imap: Imap, uid_set: bytes) -> None:
    _run(imap, b"UID STORE %s +FLAGS.SILENT (\\Deleted)" % uid_set, "deleted")
    _run(imap, b"UID EXPUNGE %s" % uid_set, "deleted")


def _require_uidplus(imap: Imap) -> None:
    if b"UIDPLUS" not in imap.capabilities():
        raise imap.wire.error(
            "cannot delete single messages (it lacks UIDPLUS). All mail was delivered.",
            "Choose to leave mail on the server, or to mark it as read.",
        )


def _run(imap: Imap, command: bytes, what: str) -> None:
    try:
        imap.run(command)
    except ServerRefused as refused:
        raise _refused(imap, what, refused) from None


def _refused(imap: Imap, what: str, refused: ServerRefused) -> MailError:
    missing = refused.code in ("TRYCREATE", "NONEXISTENT")
    message = f"Mail was delivered, but cannot be {what} on {imap.wire.host}."
    remedy = "Create that folder, or choose another." if missing else "Choose to leave mail on the server."
    return failure(refused, imap.wire, message, remedy, permanent=False)
