"""The row of a flow: all that is known of it, sealed, so that it survives a restart.

Verifier, device code, what the person was shown, who began it in which session, and at last what the provider
granted, until the person has seen who signed in and said yes. A flow lasts ten minutes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Self

from panel import db
from panel.errors import CannotOpen, PasswordNeeded, Refused
from panel.models.oauth import PENDING, PENDING_SECONDS, Pending
from panel.secret import Secret
from panel.vault import credential, only_encrypted
from panel.vault.vault import Vault

BEGUN, DEVICE, REDEEMING, GRANTED = "begun", "device", "redeeming", "granted"
SHELL = "shell "  # begins the session of an owner who has none in a browser


@dataclass(frozen=True)
class Owner:
    """Who began a flow, and in which session: nobody else, and no other browser, goes on with it."""

    who: str
    session: str


@dataclass(frozen=True)
class Wish:
    """What is to be connected. People are shown this, and not what the rows say by then."""

    app: str  # uid
    account: str
    address: str
    server: str  # a digest of all servers of the mailbox
    signs_in_as: str  # whom to suggest to the provider; empty: the mailbox itself
    subject: str = ""  # who gave the consent of before; empty where nobody has
    used_at: str = ""  # the servers that the consent will be shown to
    app_name: str = ""
    provider: str = ""


@dataclass(frozen=True)
class Flow:
    """How far a flow is. Only `details`, which no page is handed, holds secrets."""

    uid: str
    stage: str
    wish: Wish
    ends_at: int
    url: str = ""  # of the provider's sign-in page, with the state: for the browser that began
    user_code: str = ""
    verification_url: str = ""
    interval: int = 0  # seconds between two polls
    signed_in_as: str = ""  # as the provider names who signed in; may be unknown
    subject: str = ""


@dataclass(frozen=True)
class Granted:
    wish: Wish
    refresh: Secret
    signed_in_as: str
    subject: str


@dataclass(frozen=True, repr=False)  # it holds what no log may show
class Details:
    """What is sealed in the row of a flow."""

    stage: str
    wish: Wish
    owner: Owner
    began_at: int
    verifier: str = ""
    redirect: str = ""
    url: str = ""
    answer: Mapping[str, str] = field(default_factory=dict)  # that a browser brought for a shell
    device_code: str = ""
    user_code: str = ""
    verification_url: str = ""
    interval: int = 0
    next_at: int = 0
    refresh: str = ""
    signed_in_as: str = ""
    subject: str = ""

    @property
    def is_over(self) -> bool:
        return not 0 <= db.now() - self.began_at <= PENDING_SECONDS

    @property
    def secret(self) -> Secret:
        return Secret(json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":")))

    @classmethod
    def read(cls, secret: Secret) -> Self:
        values = json.loads(secret.reveal())
        return cls(**values | {"wish": Wish(**values["wish"]), "owner": Owner(**values["owner"])})


def over() -> Refused:
    """The error for a flow that is over, or another's."""
    return Refused("This sign-in is over, or was begun elsewhere.", "Connect the mailbox again.")


def uid_of(state: str) -> str:
    return hashlib.sha256(state.encode("utf-8", "replace")).hexdigest()


def store_new(uid: str, details: Details) -> Flow:
    """Store a flow that begins; those that are over go."""
    only_encrypted.forget_flows()
    row = Pending(uid=uid, kind=PENDING, created_at=details.began_at)
    row.secret = details.secret
    row.save()
    return shown(uid, details)


def take(vault: Vault, uid: str, owner: Owner) -> Granted:
    """What was granted, once. Call it inside the transaction that stores it. Raises Refused."""
    row, details = opened(vault, uid, owner)
    if details.stage != GRANTED or not Pending.delete().where(Pending.id == row.id).execute():
        raise over()
    return Granted(details.wish, Secret(details.refresh), details.signed_in_as, details.subject)


def find(vault: Vault, uid: str, owner: Owner) -> Flow:
    """The flow, for who began it. Raises Refused."""
    return shown(uid, opened(vault, uid, owner)[1])


def end(uid: str) -> None:
    """Forget the flow, and with it what was granted."""
    Pending.delete().where(Pending.uid == uid).execute()


def opened(vault: Vault, uid: str, owner: Owner) -> tuple[Pending, Details]:
    """The row and what is sealed in it. Raises Refused unless it is this owner's and still open."""
    row: Pending | None = Pending.get_or_none(Pending.uid == uid)
    if row is None:
        raise over()
    try:
        details = Details.read(credential.open_row(row, vault))
    except (CannotOpen, PasswordNeeded):  # edited outside Mailkeep
        raise over() from None
    if details.owner != owner:
        raise over()
    if details.is_over:
        end(str(row.uid))
        raise over()
    return row, details


def move(row: Pending, details: Details) -> None:
    """Store the next stage. Raises EditedMeanwhile where another request was first."""
    row.secret = details.secret
    row.save()


def shown(uid: str, details: Details) -> Flow:
    """The flow without its secrets."""
    return Flow(
        uid, details.stage, details.wish, details.began_at + PENDING_SECONDS, details.url, details.user_code,
        details.verification_url, details.interval, details.signed_in_as, details.subject,
    )  # fmt: skip
