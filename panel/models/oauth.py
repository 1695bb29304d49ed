"""Signing in without a password of the mailbox's own: apps at providers, consents, and flows under way.

Each row is sealed, or it does not exist: what it says is believed only after its record has opened
(`panel.vault.credential.open_row`), a record of nothing included.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import astuple, dataclass
from typing import Any

from peewee import SQL, AutoField

from panel.models.account import Account
from panel.models.base import BigIntegerField, TextField
from panel.models.moment import FutureTime, UtcTime
from panel.models.secret_fields import BoundForeignKey, BoundText
from panel.models.secret_row import SecretRow, Words

LABEL = "mailkeep/oauth"
CLIENT_SECRET, REFRESH_TOKEN, PENDING = "client-secret", "refresh-token", "pending"  # kinds of secret
UID_BYTES = 16
PENDING_SECONDS = 600  # a flow that was begun longer ago is over
LONGEST_LEASE = 300  # seconds: more than a call to a provider and the commit after it may take


def new_uid() -> str:
    """A new id for an app or a consent, which records are bound to."""
    return secrets.token_hex(UID_BYTES)


@dataclass(frozen=True)
class AppPlace:
    """An app as a person saw it and a rule checked it: every bound column."""

    uid: str
    name: str
    provider: str  # microsoft, google, issuer
    tenant: str
    issuer: str
    client_id: str
    scopes: str
    access: str  # delegated, application
    kind: str = CLIENT_SECRET

    @property
    def digest(self) -> str:
        """Names this very app, for a form to say which one it showed."""
        return hashlib.sha256(repr(astuple(self)).encode("utf-8", "surrogatepass")).hexdigest()[:32]


@dataclass(frozen=True)
class ConsentPlace:
    """Whose consent it is, through which app, and who gave it: every bound column."""

    uid: str
    app: str
    account: str
    signs_in_as: str
    subject: str
    kind: str = REFRESH_TOKEN


class OauthApp(SecretRow):
    """An app that is registered at a provider. The secret: its client secret; empty for a public client."""

    BOUND = (
        "uid", "name", "provider", "tenant", "issuer", "client_id", "scopes", "access", "kind",
    )  # fmt: skip
    LABEL, FIRST = LABEL, ("oauth_app",)
    WORDS = Words(
        "app", "app", "settings of an app", "client secret", "The app",
        ("This app was removed.", "Go back to the list of apps."),
        "Restore the database from a backup, or add the app anew and choose that one for its mailboxes.",
    )  # fmt: skip

    id = AutoField()
    uid = BoundText(unique=True)
    name = BoundText(unique=True)
    provider = BoundText()
    tenant = BoundText()  # of Microsoft; else empty
    issuer = BoundText()  # URL; empty for Microsoft and Google
    client_id = BoundText()
    scopes = BoundText()  # of an issuer, separated by spaces; empty: the provider's own
    access = BoundText()
    kind = BoundText()
    secret_expires_at = BigIntegerField(null=True)  # a date that a person entered
    created_at = UtcTime()
    # The app's own fault, which all its mailboxes share.
    problem = TextField(null=True)
    problem_remedy = TextField(null=True)
    problem_at = UtcTime(null=True)

    @property
    def place(self) -> AppPlace:
        """The bound columns as they were read, or set since."""
        return AppPlace(**{name: getattr(self, name) for name in self.BOUND})


class Consent(SecretRow):
    """That an app may open a mailbox. The secret: the refresh token; empty until connected, or of the app."""

    BOUND = ("uid", "app", "account", "signs_in_as", "subject", "kind")
    LABEL, FIRST = LABEL, ("consent",)
    WORDS = Words(
        "consent", "consent", "settings of a consent", "refresh token", "The mailbox's consent",
        ("This mailbox was removed.", "Go back to the list of mailboxes."),
        "Connect the mailbox again.",
    )  # fmt: skip

    account_id: str

    id = AutoField()
    uid = BoundText(unique=True)
    app = BoundText(index=True)  # uid of the app
    account = BoundForeignKey(Account, backref="consents", on_delete="CASCADE")
    signs_in_as = BoundText()  # empty: the mailbox itself
    subject = BoundText()  # as the provider names who gave it; empty until connected
    kind = BoundText()
    connected_at = UtcTime(null=True)
    ended_at = UtcTime(null=True)  # the provider ended it; set together with its code
    ended_code = TextField(null=True)
    lease_owner = TextField(null=True)  # who refreshes just now; a crash ends it with its time
    lease_until = FutureTime(LONGEST_LEASE, null=True)
    created_at = UtcTime()

    @property
    def place(self) -> ConsentPlace:
        """The bound columns as they were read, or set since."""
        values: dict[str, Any] = {name: getattr(self, name) for name in self.BOUND if name != "account"}
        return ConsentPlace(account=str(self.account_id), **values)


class Pending(SecretRow):
    """A flow that waits for the provider's answer. The secret: all that is known of it, as JSON."""

    BOUND = ("uid", "kind")
    LABEL, FIRST = LABEL, ("pending",)
    WORDS = Words(
        "sign-in", "flow", "settings of a flow", "sign-in", "The connecting of the mailbox",
        ("This connecting is over.", "Begin again."),
        "Begin again.",
    )  # fmt: skip

    id = AutoField()
    uid = BoundText(unique=True)  # SHA-256 of its state, in hexadecimal
    kind = BoundText()
    created_at = UtcTime(index=True)


WAITING = "connected_at IS NULL OR ended_at IS NOT NULL"  # of a consent: a person must sign in
Consent.add_index(SQL(f"CREATE INDEX consent_waiting ON consent (account_id) WHERE {WAITING}"))
for _model in (OauthApp, Consent, Pending):
    _model.index_secrets()
