"""Where and as whom to log in for one account, and the secret to do it with."""

from __future__ import annotations

from peewee import AutoField, BigIntegerField, IntegerField, TextField

from panel.crypto.record import Binding
from panel.models.account import Account
from panel.models.secret_row import BoundForeignKey, BoundInteger, BoundText, SecretRow

LABEL = "mailkeep/mail"
# Sealed by a sweep from a clear value that nothing had left to do with turning encryption on: it
# opens, but nobody vouches for the server beside it (docs/decisions/0005-found-in-clear.md).
FOUND_LABEL = "mailkeep/mail found in clear"


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
    secret_set_at = BigIntegerField(null=True)  # when a person last entered the secret
    # What the last opening found. It counts only for this `rev` and this generation of the key file.
    failed_rev = IntegerField(null=True)
    failed_generation = BigIntegerField(null=True)
    failure = TextField(null=True)

    class Meta:
        indexes = ((("account", "direction"), True),)

    def binding(self, instance_id: bytes, label: str = LABEL) -> Binding:
        """The fields that this row's sealed record is authenticated with."""
        return Binding(
            label=label,
            instance_id=instance_id,
            account=str(self.account_id),
            direction=str(self.direction),
            protocol=str(self.protocol),
            host=str(self.host),
            port=str(self.port),
            security=str(self.security),
            username=str(self.username),
            auth_method=str(self.auth_method),
            token_url=str(self.token_url),
        )
