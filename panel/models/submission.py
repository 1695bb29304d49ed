"""Sending for helpdesks: a local password of each mailbox, and answers that a client may not have read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from peewee import AutoField

from panel.models.account import Account
from panel.models.base import BaseModel, CharField, IntegerField, TextField
from panel.models.moment import UtcTime
from panel.models.oauth import LABEL
from panel.models.secret_fields import BoundForeignKey, BoundText
from panel.models.secret_row import SecretRow, Words

SUBMISSION = "submission"  # a kind of secret


@dataclass(frozen=True)
class SubmissionPlace:
    """Whose password it is, and the other addresses that may be sent from with it: every bound column."""

    uid: str
    account: str
    aliases: str
    kind: str = SUBMISSION


class SubmissionPassword(SecretRow):
    """The password by which a helpdesk sends as a mailbox. Made here, not the mailbox's own.

    Sealed, since whoever could replace a hash in the database could send as the mailbox.
    """

    BOUND = ("uid", "account", "aliases", "kind")
    LABEL, FIRST = LABEL, ("submission_password",)
    WORDS = Words(
        "submission password", "submission password", "addresses of a submission password",
        "submission password", "The submission password",
        ("This mailbox was removed.", "Go back to the list of mailboxes."),
        "Create a new one on the page of the mailbox.",
    )  # fmt: skip

    account_id: str

    id = AutoField()
    uid = BoundText(unique=True)
    account = BoundForeignKey(Account, unique=True, backref="submission_passwords", on_delete="CASCADE")
    aliases = BoundText()  # separated by spaces
    kind = BoundText()
    created_at = UtcTime()
    sent = IntegerField(default=0)  # messages
    sent_at = UtcTime(null=True)  # the last of them
    problem = TextField(null=True)  # why the mailbox's server could not be signed in to, the last time
    remedy = TextField(null=True)

    @property
    def place(self) -> SubmissionPlace:
        """The bound columns as they were read, or set since."""
        values: dict[str, Any] = {name: getattr(self, name) for name in self.BOUND if name != "account"}
        return SubmissionPlace(account=str(self.account_id), **values)


SubmissionPassword.index_secrets()


class SubmissionAnswer(BaseModel):
    """The answer to a message whose client has not gone on since."""

    digest = CharField(max_length=64, primary_key=True)
    reply = CharField(max_length=1000)
    at = UtcTime(index=True)
