"""Connecting a mailbox at its provider, again too: whatever state the mailbox is in, paused or failing.

Page and shell call the same functions. A browser is sent to the provider, and a consent is stored, only after
the mailbox's server and its consent have opened (docs/decisions/0044-connecting.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from panel.accounts import service
from panel.audit import Actor
from panel.collect import due
from panel.config import Settings
from panel.errors import EditedMeanwhile, NotFound
from panel.models import Consent, Endpoint
from panel.models.endpoint import CONSENT
from panel.oauth import apps, connections, flow_rows, flows
from panel.oauth.flow_rows import Flow, Owner, Wish
from panel.vault.vault import Vault


@dataclass(frozen=True)
class Connected:
    uuid: str
    address: str
    signed_in_as: str  # empty: the app itself, or the provider did not say


def wanted(vault: Vault, uuid: str) -> tuple[Wish, Consent]:
    """What is to be connected, each record of it opened. Raises NotFound, CannotOpen, PasswordNeeded."""
    account, incoming, sending = service.find_servers(uuid)
    endpoints = [incoming, *([sending] if sending else [])]
    consent = connections.of_endpoints(vault, endpoints)
    if consent is None:
        raise NotFound(
            f"{account.address} does not sign in at a provider.",
            "Choose OAuth2 where you edit it (in the shell: flask accounts edit ADDRESS --app NAME).",
        )
    used_at = ", ".join(f"{each.host}:{each.port}" for each in endpoints if each.kind == CONSENT)
    return Wish(
        str(consent.app), account.uuid, account.address, _digest(endpoints), str(consent.signs_in_as),
        str(consent.subject), used_at,
    ), consent  # fmt: skip


def _digest(endpoints: Sequence[Endpoint]) -> str:
    return hashlib.sha256(" ".join(each.place.digest for each in endpoints).encode()).hexdigest()[:32]


def begin(vault: Vault, settings: Settings, uuid: str, owner: Owner, *, device: bool = False) -> Flow | None:
    """Begin to connect the mailbox. None where the app itself has access: `connect_application` does it.

    Raises as `wanted`, and as `flows.begin`.
    """
    wish, _ = wanted(vault, uuid)
    app, _ = flows.open_app(vault, wish.app)
    if app.access == "application":
        return None
    started = flows.begin_device if device else flows.begin
    return started(vault, settings, replace(wish, app_name=app.name, provider=app.provider), owner)


def connect_application(vault: Vault, settings: Settings, uuid: str, actor: Actor) -> Connected:
    """Ask the provider whether it lets the app in, and note that it does. Raises as `begin`, and AppFault."""
    wish, _ = wanted(vault, uuid)
    flows.connect_application(vault, settings, wish.app)
    with Consent.storing():
        now, consent = wanted(vault, uuid)
        _require_same(now, wish)
        connections.connect_application(consent)
        return _finish(wish, "", actor)


def confirm(vault: Vault, uuid: str, flow: str, owner: Owner, actor: Actor) -> Connected:
    """Store what the provider granted, once the person has seen who signed in; its mail is collected next.

    Raises Refused for a flow that is over or another's, EditedMeanwhile where the mailbox is not the one that
    was shown, CannotStore; nothing is stored then, and what was granted waits.
    """
    with Consent.storing():
        wish, consent = wanted(vault, uuid)
        granted = flow_rows.take(vault, flow, owner)
        _require_same(wish, granted.wish)
        before = str(consent.uid)
        now = connections.connect(consent, granted)
        endpoints = [each for each in service.find_servers(uuid)[1:] if each]
        connections.give(vault, endpoints, before, now)
        return _finish(wish, granted.signed_in_as, actor)


def _require_same(now: Wish, shown: Wish) -> None:
    if (now.app, now.account, now.server) != (shown.app, shown.account, shown.server):
        raise EditedMeanwhile(
            "The mailbox's server or app has been changed since, so nothing was connected.",
            "Connect it again.",
        )


def _finish(wish: Wish, name: str, actor: Actor) -> Connected:
    apps.works(wish.app)
    due.make_due(wish.account)
    how = f"Signed in as {name}." if name else ""
    actor.record("mailbox connected", wish.address, how)
    return Connected(wish.account, wish.address, name)
