"""One row of every kind of secret there is: whatever is done with all secrets is tried on these.

A table that is entered in `SECRET_ROWS` and has no maker here fails `test_secret_rows`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from panel import db
from panel.models import Account, Consent, Endpoint, OauthApp, Pending, SecretRow, SubmissionPassword
from panel.models.endpoint import CONSENT, PASSWORD, REFERENCE
from panel.models.oauth import CLIENT_SECRET, PENDING, REFRESH_TOKEN
from panel.models.submission import SUBMISSION
from panel.secret import Secret
from panel.vault import credential
from tests.encryption.conftest import House, new_endpoint


@dataclass(frozen=True)
class Stored:
    """A row that was saved, and the secret that it holds."""

    model: type[SecretRow]
    id: int
    secret: str

    @property
    def row(self) -> SecretRow:
        """As it stands in the database now."""
        found: SecretRow = self.model.get_by_id(self.id)
        return found

    @property
    def table(self) -> str:
        return str(self.model._meta.table_name)

    def opened(self, house: House) -> str:
        """Its secret, by the one way that there is. Raises what that raises."""
        return credential.open_row(self.row, house.vault).reveal()

    def columns(self, house: House) -> tuple[Any, Any, int]:
        """clear, sealed, rev."""
        found: tuple[Any, Any, int] = house.sql(
            f"SELECT clear, sealed, rev FROM {self.table} WHERE id = ?", self.id
        )[0]
        return found


def account(number: object) -> Account:
    """A mailbox without a server yet."""
    made: Account = Account.create(address=f"kind-{number}@example.org", created_at=db.now())
    return made


def uid(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def mailbox(kind: str, **over: Any) -> Callable[[str], SecretRow]:
    def make(text: str) -> SecretRow:
        auth = "oauth" if kind == CONSENT else "plain"
        return new_endpoint(account(f"{kind}-{text}"), kind=kind, auth_method=auth, **over)

    return make


def app(text: str) -> SecretRow:
    return OauthApp(
        uid=uid(f"app {text}"), name=f"App {text}", provider="issuer", tenant="", issuer="https://id.example.org/",
        client_id=f"client-{text}", scopes="openid mail", access="delegated", kind=CLIENT_SECRET, created_at=db.now(),
    )  # fmt: skip


def consent(text: str) -> SecretRow:
    return Consent(
        uid=uid(f"consent {text}"), app=uid(f"app {text}"), account=account(f"token-{text}"), signs_in_as="delegate@example.org",
        subject=f"subject {text}", kind=REFRESH_TOKEN, created_at=db.now(), connected_at=db.now(),
    )  # fmt: skip


def pending(text: str) -> SecretRow:
    return Pending(uid=hashlib.sha256(text.encode()).hexdigest(), kind=PENDING, created_at=db.now())


def submission(text: str) -> SecretRow:
    return SubmissionPassword(
        uid=uid(f"submission {text}"), account=account(f"submission-{text}"), aliases="sales@example.org",
        kind=SUBMISSION, created_at=db.now(),
    )  # fmt: skip


# By what they are: how a row is made, and what its secret looks like.
KINDS: dict[str, tuple[Callable[[str], SecretRow], Callable[[str], str]]] = {
    "a password": (mailbox(PASSWORD), lambda text: f"the password of {text}"),
    "a mailbox by consent": (mailbox(CONSENT), lambda text: uid(f"consent {text}")),
    "a mailbox by reference": (mailbox(REFERENCE), lambda text: f"secret_{uid(text)[:8]}"),
    "an app": (app, lambda text: f"client secret {text} ~8Q"),
    "a consent": (consent, lambda text: f"0.AX {text} " + hashlib.sha512(text.encode()).hexdigest() * 12),
    "a flow": (pending, lambda text: json.dumps({"state": text, "verifier": "v" * 43})),
    "a submission password": (submission, lambda text: f"submission of {text}"),
}
OTHERS = [name for name in KINDS if name != "a password"]
TABLES: dict[str, type[SecretRow]] = dict(
    zip(KINDS, (Endpoint, Endpoint, Endpoint, OauthApp, Consent, Pending, SubmissionPassword), strict=True)
)


def add(name: str, text: str = "one", secret: str | None = None) -> Stored:
    """Save one row of that kind. Raises what `save()` raises, and leaves no account behind then."""
    make, secret_of = KINDS[name]
    kept = secret_of(text) if secret is None else secret
    with SecretRow.storing():
        row = make(text)
        row.secret = Secret(kept)
        row.save()
    return Stored(type(row), row.id, kept)


def add_all(text: str = "one") -> dict[str, Stored]:
    """One row of every kind."""
    return {name: add(name, text) for name in KINDS}


def expected(text: str) -> dict[str, frozenset[str]]:
    """What `add_all(text)` stores in each table."""
    found: dict[str, frozenset[str]] = {}
    for name, (_, secret_of) in KINDS.items():
        table = str(TABLES[name]._meta.table_name)
        found[table] = found.get(table, frozenset()) | {secret_of(text)}
    return found


def opened(house: House, stored: dict[str, Stored]) -> dict[str, str]:
    """What each row holds now."""
    return {name: each.opened(house) for name, each in stored.items()}


def secrets(stored: dict[str, Stored]) -> dict[str, str]:
    """What each row must hold."""
    return {name: each.secret for name, each in stored.items()}
