"""Promises to whoever connects a mailbox at a provider that answers with anything at all."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest

from panel.accounts import connecting as service
from panel.audit import Actor
from panel.errors import PanelError
from panel.models.oauth import new_uid
from panel.oauth import app_rules, apps, client, flows
from panel.oauth.flow_rows import GRANTED, Flow, Owner
from panel.secret import Secret
from tests.oauth.pages.connecting import Connecting
from tests.servers.rogue_issuer import RogueIssuer

OWNER = Owner("ada@example.org", "session 1")
Answer = tuple[object, int]
TOKENS = {"access_token": "a", "token_type": "Bearer", "refresh_token": "r" * client.LONGEST_REFRESH}


@pytest.fixture
def rogue() -> Iterator[RogueIssuer]:
    found = RogueIssuer()
    yield found
    found.stop()


def waiting(connecting: Connecting, rogue: RogueIssuer, address: str = "", access: str = "delegated") -> str:
    """A mailbox that waits for the consent of that provider, its uuid."""
    place = app_rules.place(
        new_uid(), f"Rogue {access}", "issuer", issuer=rogue.url, client_id="c", access=access, in_shell=True
    )
    with connecting.database():
        apps.add(connecting.house.vault, place, Secret("s"), None, Actor())
    return connecting.waiting(address or connecting.user(), app=place.uid)


def redeem(connecting: Connecting, uuid: str) -> Flow:
    vault, settings = connecting.house.vault, connecting.house.settings
    flow = service.begin(vault, settings, uuid, OWNER)
    assert flow
    state = parse_qs(urlsplit(flow.url).query)["state"][0]
    return flows.redeem(vault, settings, flow.wish.app, {"state": state, "code": "x"}, OWNER)


@pytest.mark.parametrize("answer", [(b"", 200), (b"", 503), ({"error": "server_error"}, 400)], ids=str)
def test_what_is_over_is_not_said_to_be_asked_for_again(
    connecting: Connecting, rogue: RogueIssuer, answer: Answer
) -> None:
    vault, settings = connecting.house.vault, connecting.house.settings
    delegated, own = waiting(connecting, rogue), waiting(connecting, rogue, access="application")
    rogue.answer("/token", *answer)
    rogue.answer("/device", *answer)
    with connecting.database():
        for step in (
            lambda: redeem(connecting, delegated),
            lambda: service.begin(vault, settings, delegated, OWNER, device=True),
            lambda: service.connect_application(vault, settings, own, Actor()),
        ):
            with pytest.raises(PanelError) as failed:
                step()
            assert failed.value.remedy.startswith("Connect the mailbox again."), str(failed.value)


def test_the_longest_token_of_who_has_the_longest_name_is_stored(
    connecting: Connecting, rogue: RogueIssuer
) -> None:
    name = "ü" * 254
    claims = {"iss": rogue.url, "aud": "c", "sub": name, "email": name}
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    rogue.answer("/token", {**TOKENS, "id_token": f"e30.{payload}."})
    address = f"{'u' * 64}@{'x' * 60}.{'y' * 60}.{'z' * 60}.org"
    uuid = waiting(connecting, rogue, address=address)
    with connecting.database():
        flow = redeem(connecting, uuid)
        assert flow.stage == GRANTED
        assert service.confirm(connecting.house.vault, uuid, flow.uid, OWNER, Actor()).signed_in_as == name
