"""Where and as whom to log in for one account, and the secret to do it with."""

from __future__ import annotations

import hashlib
from dataclasses import astuple, dataclass
from typing import Any, Protocol

from peewee import SQL, AutoField, DoesNotExist

from panel.crypto.record import Binding
from panel.mail.server import MailServer
from panel.models.account import Account
from panel.models.base import BigIntegerField, IntegerField, TextField
from panel.models.moment import UtcTime
from panel.models.prepared import Prepared, given
from panel.models.secret_row import BoundForeignKey, BoundInteger, BoundText, SecretRow

PASSWORD = "password"  # noqa: S105 - a kind of secret
LABEL = "mailkeep/mail"
# Sealed by a sweep from a clear value that no attestation lists: it opens, but nothing shows that the server
# beside it is the one it was entered for (docs/decisions/0005-found-in-clear.md and 0030-licence.md).
UNATTESTED_LABEL = "mailkeep/mail found in clear"


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
    @property
    def address(self) -> Any: ...
    @property
    def kind(self) -> Any: ...


@dataclass(frozen=True)
class Place:
    """Whose secret it is and where it may be shown: every bound column, as a rule checked it."""

    account: str  # uuid
    direction: str  # in, out
    protocol: str
    host: str
    port: int
    security: str
    username: str
    auth_method: str
    token_url: str
    address: str  # of the mailbox
    kind: str = PASSWORD

    @property
    def digest(self) -> str:
        """Names this very place, for a form to say which one it showed."""
        return hashlib.sha256(repr(astuple(self)).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def binding(row: Bound, instance_id: bytes, label: str) -> Binding:
    """The fields that the sealed record of `row` is authenticated with."""
    return Binding(
        label, instance_id, str(row.account_id), str(row.direction), str(row.protocol), str(row.host),
        str(row.port), str(row.security), str(row.username), str(row.auth_method), str(row.token_url),
        str(row.address), str(row.kind),
    )  # fmt: skip


_ADDRESS = Prepared(lambda: Account.select(Account.address).where(Account.uuid == given("uuid")))


class Endpoint(SecretRow):
    """One server of an account. Bound columns are written by `save()` only, together with a password."""

    BOUND = (
        "account", "direction", "protocol", "host", "port", "security", "username",
        "auth_method", "token_url", "address", "kind",
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
    address = BoundText()  # of the mailbox; its account's must equal it
    kind = BoundText()  # of secret
    secret_set_at = UtcTime(null=True, index=True)  # when a person last entered the secret
    # What the last opening found. It counts only for this `rev` and this generation of the key file.
    failed_rev = IntegerField(null=True, index=True)
    failed_generation = BigIntegerField(null=True)
    failure = TextField(null=True)

    class Meta:
        indexes = ((("account", "direction"), True),)

    def binding(self, instance_id: bytes, label: str = LABEL) -> Binding:
        """The fields that this row's sealed record is authenticated with."""
        return binding(self, instance_id, label)

    @property
    def place(self) -> Place:
        """The bound columns as they were read, or set since."""
        values = {name: getattr(self, name) for name in self.BOUND if name != "account"}
        return Place(account=str(self.account_id), **values)

    @property
    def server(self) -> MailServer:
        """The one server that the secret may be shown to."""
        return MailServer(
            self.protocol,
            self.host,
            self.port,
            self.security,
            self.username,
            self.auth_method,
            self.token_url,
        )

    def _belongs(self, bound: dict[str, Any]) -> bool:
        account = _ADDRESS.first(uuid=bound["account"])
        return account is not None and account.address == bound["address"]

    @property
    def account_address(self) -> str | None:
        """The address that the account says it has; None where SQL removed the account."""
        try:
            return str(self.account.address)
        except DoesNotExist:
            return None


for _index in (  # by which pages count
    "endpoint_key ON endpoint (substr(sealed, 3, 8)) WHERE sealed IS NOT NULL",
    "endpoint_unsealed ON endpoint (failed_rev) WHERE sealed IS NULL",
    "endpoint_clear ON endpoint (account_id) WHERE clear IS NOT NULL",
    "endpoint_empty ON endpoint (account_id) WHERE sealed IS NULL AND clear IS NULL",
    "endpoint_sending ON endpoint (direction) WHERE direction <> 'in'",
    "endpoint_server ON endpoint (host, address) WHERE direction = 'in'",
):
    Endpoint.add_index(SQL(f"CREATE INDEX {_index}"))
