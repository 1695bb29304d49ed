"""The helpdesk's mailboxes."""

from __future__ import annotations

import uuid

from peewee import SQL

from panel.models.base import BaseModel, CharField, IntegerField
from panel.models.moment import UtcTime

BEGINS = ("now", "unread", "all")
ON_SERVER = ("keep", "seen", "move", "delete")  # after collecting: what to do with the message on its server


def new_uuid() -> str:
    """A new id for an account: its sealed records are bound to it, and its Maildir is named by it."""
    return str(uuid.uuid4())


class Account(BaseModel):
    """One mailbox that mail is collected from; its servers are its Endpoints."""

    uuid = CharField(max_length=36, primary_key=True, default=new_uuid)
    address = CharField(max_length=254)  # unique among those that were not removed
    folder = CharField(max_length=255, default="INBOX")
    begin = CharField(max_length=8, default="now")
    interval = IntegerField(default=60)  # seconds between two rounds
    paused_at = UtcTime(null=True)
    removed_at = UtcTime(
        null=True
    )  # kept for `removal.UNDO_SECONDS` then, its records included; no list shows it
    on_server = CharField(max_length=8, default="keep")
    move_to = CharField(max_length=255, default="")  # the folder, where on_server is 'move'
    # A name of PANEL_TARGETS_FILE, which says what it does; empty: that file's default.
    deliver_to = CharField(max_length=32, default="")
    created_at = UtcTime(index=True)  # small numbers: by this index all mailboxes are counted


LISTED = Account.removed_at.is_null()

for _index in (
    "UNIQUE INDEX account_address ON account (address) WHERE removed_at IS NULL",
    "INDEX account_paused ON account (address) WHERE paused_at IS NOT NULL AND removed_at IS NULL",
    "INDEX account_removed ON account (removed_at) WHERE removed_at IS NOT NULL",
):
    Account.add_index(SQL(f"CREATE {_index}"))
