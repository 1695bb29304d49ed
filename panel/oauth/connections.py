"""Consents: that an app may open a mailbox. One serves the incoming and the outgoing server of an account.

Before anything is done with a consent, the endpoint that names it has opened, and so has its own record:
neither a redirected endpoint nor a swapped consent is connected, or has a browser sent to a provider.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from peewee import JOIN

from panel import db
from panel.errors import CannotOpen, EditedMeanwhile, PasswordNeeded, Tampered
from panel.models import Consent, Endpoint, OauthApp
from panel.models.endpoint import CONSENT
from panel.models.oauth import new_uid
from panel.oauth.flow_rows import Granted
from panel.secret import Secret
from panel.vault import credential
from panel.vault.vault import Vault


@dataclass(frozen=True)
class ConsentState:
    """How a mailbox's consent is, as pages show it."""

    state: str  # needed, ok, ended
    app_name: str  # empty where the app is gone
    provider: str
    access: str
    signs_in_as: str
    subject: str
    connected_at: int | None
    ended_at: int | None
    ended_code: str


def of_endpoints(vault: Vault, endpoints: Sequence[Endpoint]) -> Consent | None:
    """The consent that these endpoints of one account name; None where they name none.

    Raises CannotOpen, PasswordNeeded as `credential.open_for`, Tampered for a consent of another account.
    """
    named = (_named(vault, each) for each in endpoints)
    return next((consent for consent in named if consent is not None), None)


def _named(vault: Vault, endpoint: Endpoint) -> Consent | None:
    opened = credential.open_for(endpoint, vault)
    if opened.kind != CONSENT:
        return None
    return _opened(vault, opened.secret.reveal(), str(endpoint.account_id))


def _opened(vault: Vault, uid: str, account: str) -> Consent:
    row: Consent | None = Consent.get_or_none(Consent.uid == uid)
    if row is None or str(row.account_id) != account:
        raise Tampered(
            "The consent of this mailbox was removed or exchanged outside Mailkeep.",
            "Open the mailbox and choose again how it signs in.",
        )
    credential.open_row(row, vault)
    return row


def connect(consent: Consent, granted: Granted) -> str:
    """Store what was granted in the consent, whatever state it was in; its new uid. Inside `storing()`.

    So it serves only the servers that are given that uid now, and none whose record lies elsewhere, to be put
    back later. Raises EditedMeanwhile where it is not the one of the flow.
    """
    if (str(consent.app), str(consent.account_id)) != (granted.wish.app, granted.wish.account):
        raise EditedMeanwhile("The mailbox signs in through another app meanwhile.", "Connect it again.")
    _mark_connected(consent)
    name = granted.signed_in_as or granted.wish.signs_in_as
    consent.secret = granted.refresh
    consent.lease_owner = consent.lease_until = None  # of who refreshes by the uid of before
    place = replace(consent.place, uid=new_uid(), signs_in_as=name, subject=granted.subject)
    consent.save(place=place)
    return place.uid


def give(vault: Vault, endpoints: Sequence[Endpoint], before: str, uid: str) -> None:
    """Have those of these servers, as they were shown, sign in by the consent `uid` that did by `before`."""
    for endpoint in endpoints:
        with suppress(CannotOpen, PasswordNeeded):
            if endpoint.kind == CONSENT and credential.open_for(endpoint, vault).secret.reveal() == before:
                endpoint.secret = Secret(uid)
                endpoint.save(place=endpoint.place)


def connect_application(consent: Consent) -> None:
    """Note that the app itself has access: nothing is stored but that. Inside `storing()`."""
    _mark_connected(consent)
    consent.secret = Secret("")
    consent.save(place=consent.place)


def _mark_connected(consent: Consent) -> None:
    consent.connected_at, consent.ended_at, consent.ended_code = db.now(), None, None


def state_of(account: str) -> ConsentState | None:
    """How the consent of a mailbox is, as the database has it; None where it has none. One statement."""
    columns = (
        OauthApp.name, OauthApp.provider, OauthApp.access, Consent.signs_in_as, Consent.subject,
        Consent.connected_at, Consent.ended_at, Consent.ended_code,
    )  # fmt: skip
    query = Consent.select(*columns).join(OauthApp, JOIN.LEFT_OUTER, on=(OauthApp.uid == Consent.app))
    row = query.where(Consent.account == account).order_by(Consent.id.desc()).namedtuples().first()
    if row is None:
        return None
    state = "ended" if row.ended_at is not None else "needed" if row.connected_at is None else "ok"
    return ConsentState(
        state, str(row.name or ""), str(row.provider or ""), str(row.access or ""), str(row.signs_in_as),
        str(row.subject), row.connected_at, row.ended_at, str(row.ended_code or ""),
    )  # fmt: skip
