"""Where and as whom to log in for one account, and the secret to do it with."""

from __future__ import annotations

from typing import Any, Protocol

from peewee import AutoField, BigIntegerField, IntegerField, TextField

from panel.crypto.record import Binding
from panel.models.account import Account
from panel.models.moment import At
from panel.models.secret_row import BoundForeignKey, BoundInteger, BoundText, SecretRow

LABEL = "mailkeep/mail"
# Sealed by a sweep from a clear value that nothing had left to do with turning encryption on: it
# opens, but nobody vouches for the server beside it (docs/decisions/0005-found-in-clear.md).
FOUND_LABEL = "mailkeep/mail found in clear"


class Bound(Protocol):
    """A row of `endpoint`, as the model or as a sweep reads it: what its secret is bound to."""

    @property
    def account_id(self) -> Any: ...
    @property
    def direction(self) -> Any: ...
    @property
    def protocol(self) -> Any: ...
    @property
    def host(self) -> Any: ...
    @property
    def port(self) -> Any: ...
    @property
    def security(self) -> Any: ...
    @property
    def username(self) -> Any: ...
    @property
    def auth_method(self) -> Any: ...
    @property
    def token_url(self) -> Any: ...


def binding(row: Bound, instance_id: bytes, label: str) -> Binding:
    """The fields that the sealed record of `row` is authenticated with."""
    return Binding(
        label, instance_id, str(row.account_id), str(row.direction), str(row.protocol), str(row.host),
        str(row.port), str(row.security), str(row.username), str(row.auth_method), str(row.token_url),
    )  # fmt: skip


class Endpoint(SecretRow):
    """One server of an account. Bound columns are written by `save()` only, together with a password."""

    BOUND = (
        "account", "direction", "protocol", "host", "port", "security", "username",
        "auth_method", "token_url",
    )  # fmt: skip

    account_id: str

    id = AutoField()
    account = BoundForeignKey(Account, backref="endpoints", on_delete="CASCADE")
    direction = BoundText()  # in, out
    protocol = BoundText()  # imap, pop3, smtp
    host = BoundText()  # normalised: what is stored is authenticated and connected to
    port = BoundInteger()
    security = BoundText()  # tls, starttls, none
    username = BoundText()
    auth_method = BoundText()  # plain; never 'auto'
    token_url = BoundText()
    secret_set_at = At(null=True)  # when a person last entered the secret
    # What the last opening found. It counts only for this `rev` and this generation of the key file.
    failed_rev = IntegerField(null=True)
    failed_generation = BigIntegerField(null=True)
    failure = TextField(null=True)

    class Meta:
        indexes = ((("account", "direction"), True),)

    def binding(self, instance_id: bytes, label: str = LABEL) -> Binding:
        """The fields that this row's sealed record is authenticated with."""
        return binding(self, instance_id, label)
