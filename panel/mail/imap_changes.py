"""What may become of a message on its IMAP server once it is delivered: seen, moved, deleted.

Only ever by UID. A plain EXPUNGE would also remove what somebody else has marked
as deleted, so a server without UIDPLUS (RFC 4315) is refused.
"""

from __future__ import annotations

from collections.abc import Iterable

from panel.errors import MailError
from panel.mail.imap_protocol import Imap
from panel.mail.imap_words import folder_word, uid_sets
from panel.mail.refusal import ServerRefused

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
    for uid_set in uid_sets(uids, AT_ONCE):
        if can_move:
            _run(imap, b"UID MOVE %s %s" % (uid_set, folder_word(folder)), f"moved to “{folder}”")
        else:
            _run(imap, b"UID COPY %s %s" % (uid_set, folder_word(folder)), f"moved to “{folder}”")
            _delete(imap, uid_set)


def delete(imap: Imap, uids: Iterable[int]) -> None:
    """Delete for good. Raises MailError."""
    _require_uidplus(imap)
    for uid_set in uid_sets(uids, AT_ONCE):
        _delete(imap, uid_set)


def _delete(imap: Imap, uid_set: bytes) -> None:
    _run(imap, b"UID STORE %s +FLAGS.SILENT (\\Deleted)" % uid_set, "deleted")
    _run(imap, b"UID EXPUNGE %s" % uid_set, "deleted")


def _require_uidplus(imap: Imap) -> None:
    if b"UIDPLUS" not in imap.capabilities():
        raise MailError(
            "after",
            f"{imap.wire.host} cannot delete single messages (it lacks UIDPLUS). All mail was delivered.",
            "Choose to keep mail on the server, or to mark it as read.",
        )


def _run(imap: Imap, command: bytes, what: str) -> None:
    try:
        for _ in imap.command(command):
            pass
    except ServerRefused as refused:
        missing = refused.code in ("TRYCREATE", "NONEXISTENT")
        raise MailError(
            "after",
            f"Mail was delivered, but cannot be {what} on {imap.wire.host}. It says: {refused.text}",
            "Make that folder, or choose another." if missing else "Choose to keep mail on the server.",
        ) from None
