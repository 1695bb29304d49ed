"""Where and as whom to log in for one account, and the secret to do it with."""

from __future__ import annotations

import hashlib
from dataclasses import astuple, dataclass, replace
from typing import Any

from peewee import SQL, AutoField, Check, DoesNotExist

from panel.mail.server import MailServer
from panel.models.account import Account
from panel.models.moment import UtcTime
from panel.models.prepared import Prepared, given
from panel.models.secret_fields import BoundForeignKey, BoundInteger, BoundText
from panel.models.secret_row import SecretRow, Words

# Kinds of secret: the password itself, the uid of a Consent, the name of a file in PANEL_SECRETS_DIR.
PASSWORD, CONSENT, REFERENCE = "password", "consent", "reference"
LABEL = "mailkeep/mail"
# Sealed by a sweep from a clear value that no attestation lists: it opens, but nothing shows that the server
# beside it is the one it was entered for (docs/decisions/0005-found-in-clear.md and 0030-licence.md).
UNATTESTED_LABEL = "mailkeep/mail found in clear"


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


_ADDRESS = Prepared(lambda: Account.select(Account.address).where(Account.uuid == given("uuid")))


class Endpoint(SecretRow):
    """One server of an account. Bound columns are written by `save()` only, together with a secret."""

    BOUND = (
        "account", "direction", "protocol", "host", "port", "security", "username",
        "auth_method", "token_url", "address", "kind",
    )  # fmt: skip
    LABEL = LABEL
    CLEAR_KIND = PASSWORD
    KEY = ("account", "direction")
    WORDS = Words(
        "mailbox", "mail server", "server settings", "password", "The mailbox's server",
        ("This mailbox was removed.", "Go back to the list of mailboxes."),
        "Open the mailbox and enter its server and password again.",
    )  # fmt: skip

    WORDS_OF = {
        CONSENT: replace(
            WORDS, noun="consent", again="Open the mailbox and choose its server and its app again."
        ),
        REFERENCE: replace(
            WORDS, noun="name of a secret",
            again="Open the mailbox and enter its server and the name of its secret again.",
        ),
    }  # fmt: skip

    account_id: str

    id = AutoField()
    account = BoundForeignKey(Account, backref="endpoints", on_delete="CASCADE")
    direction = BoundText()  # in, out
    protocol = BoundText()  # imap, pop3, smtp
    host = BoundText()  # normalised: what is stored is authenticated and connected to
    port = BoundInteger()
    security = BoundText()  # tls, starttls, none
    username = BoundText()
    auth_method = BoundText()  # plain; oauth for a consent; never 'auto'
    token_url = BoundText()
    address = BoundText()  # of the mailbox; its account's must equal it
    kind = BoundText()  # of secret: PASSWORD, CONSENT, REFERENCE
    secret_set_at = UtcTime(null=True, index=True)  # when a person last entered the secret

    class Meta:
        constraints = [
            Check("clear IS NULL OR sealed IS NULL"),
            Check(f"clear IS NULL OR kind = '{PASSWORD}'"),
        ]
        indexes = ((("account", "direction"), True),)

    @property
    def is_moved(self) -> bool:
        """Whether its account says that it has another address than this row is bound to."""
        return self.account_address not in (None, self.address)

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


Endpoint.index_secrets()
for _index in (  # by which pages count
    "endpoint_clear ON endpoint (account_id) WHERE clear IS NOT NULL",
    "endpoint_empty ON endpoint (account_id) WHERE sealed IS NULL AND clear IS NULL",
    "endpoint_sending ON endpoint (direction) WHERE direction <> 'in'",
    "endpoint_server ON endpoint (host, address) WHERE direction = 'in'",
    f"endpoint_other ON endpoint (sealed IS NULL) WHERE kind <> '{PASSWORD}'",
):
    Endpoint.add_index(SQL(f"CREATE INDEX {_index}"))
