"""Promises against an administrator who also writes the database: no token goes to another app's issuer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest

from panel.accounts import auth, payload
from panel.audit import Actor
from panel.errors import BadInput, PanelError, PasswordNeeded, Tampered
from panel.mail.server import MailServer
from panel.models import OauthApp
from panel.models.oauth import AppPlace, new_uid
from panel.oauth import app_rules, apps, flows, known_apps
from panel.secret import Secret
from panel.vault import forget, turn_on, unfinished
from tests.installs import BOTH
from tests.oauth.conftest import Office
from tests.servers.rogue_issuer import RogueIssuer

ACTOR = Actor("eve@example.org")


@pytest.fixture
def rogue() -> Iterator[RogueIssuer]:
    found = RogueIssuer()
    found.answer("/token", {"access_token": "a", "token_type": "Bearer", "expires_in": 60})
    yield found
    found.stop()


def place(uid: str, issuer: str, **over: Any) -> AppPlace:
    return app_rules.place(
        uid, over.pop("name", "Eve's"), "issuer", issuer=issuer, client_id="eve", in_shell=True, **over
    )


@pytest.mark.parametrize("edit", ["UPDATE oauth_app SET uid = 'x', name = 'y'", "DELETE FROM oauth_app"])
def test_an_app_that_takes_the_uid_of_another_gets_none_of_its_tokens(
    office: Office, rogue: RogueIssuer, edit: str
) -> None:
    account = office.connected()
    office.token(account)
    uid = str(office.app_of(account).uid)
    office.sql(edit)
    with pytest.raises(BadInput, match="Another app"):
        apps.add(office.vault, place(uid, rogue.url), Secret("s"), None, ACTOR)
    with pytest.raises(PanelError):
        office.in_new_process().token(account)
    assert not rogue.received


def test_nor_does_it_by_a_record_from_before(office: Office, rogue: RogueIssuer) -> None:
    uid = new_uid()
    apps.add(office.vault, place(uid, rogue.url), Secret("s"), None, ACTOR)
    office.sql("DELETE FROM oauth_app")
    with pytest.raises(BadInput, match="Another app"):
        apps.add(office.vault, place(uid, office.issuer.url), Secret("s"), None, ACTOR)
    assert not OauthApp.select().exists()


def test_one_that_came_in_by_another_server_is_not_believed_where_the_first_was_used(
    office: Office, rogue: RogueIssuer
) -> None:
    account = office.connected()
    office.token(account)
    before = office.app_of(account).place
    office.sql("DELETE FROM oauth_app")
    office.add_app(uid=before.uid, issuer=rogue.url, name=before.name)  # as a server without this file
    with pytest.raises(Tampered, match="Another app"):
        flows.open_app(office.vault, before.uid)
    with pytest.raises(Tampered, match="Another app"):
        office.in_new_process().token(account)
    assert not rogue.received


def test_no_server_is_entered_for_one_either(office: Office, rogue: RogueIssuer) -> None:
    before = office.app_of(office.connected()).place
    assert known_apps.note(office.settings.data_dir, before)
    office.sql("DELETE FROM oauth_app")
    office.add_app(uid=before.uid, issuer=rogue.url, name=before.name)
    server = MailServer("imap", "rogue.example.org", 993, "tls", "x")
    with pytest.raises(Tampered, match="Another app"):
        payload.app_for(auth.Oauth(before.uid), server, office.vault, ACTOR)


def test_of_two_that_are_used_at_the_same_moment_one_is_believed(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir, app = office.settings.data_dir, place(new_uid(), office.issuer.url)
    other = place(app.uid, "https://other.example.org")
    first = known_apps._first
    believed: list[bool] = []

    def meanwhile(fd: int, uid: str) -> str | None:
        found = first(fd, uid)
        if not believed:
            believed.append(False)
            believed[0] = known_apps.note(data_dir, other)
        return found

    monkeypatch.setattr(known_apps, "_first", meanwhile)
    assert not known_apps.note(data_dir, app)
    assert believed == [True]


def test_the_same_app_may_be_added_again_after_its_row_was_lost(office: Office) -> None:
    app = place(new_uid(), office.issuer.url)
    apps.add(office.vault, app, Secret("s"), None, ACTOR)
    office.sql("DELETE FROM oauth_app")
    apps.add(office.vault, app, Secret("t"), None, ACTOR)
    assert flows.open_app(office.vault, app.uid)[1].reveal() == "t"


def test_a_line_that_a_crash_cut_off_stands_for_nothing(office: Office) -> None:
    app = place(new_uid(), office.issuer.url)
    path = office.settings.data_dir / known_apps.FILE
    path.write_bytes(f"{app.uid} 0123".encode() + b"\xff")
    assert known_apps.note(office.settings.data_dir, app)
    assert not known_apps.note(office.settings.data_dir, place(app.uid, "https://other.example.org"))


def test_no_number_of_other_apps_hides_one(office: Office) -> None:
    data_dir, app = office.settings.data_dir, place(new_uid(), office.issuer.url)
    others = (f"\n{number:032x} {'0' * 64}\n" for number in range(20_000))
    (data_dir / known_apps.FILE).write_text("".join(others))
    assert known_apps.note(data_dir, app)
    assert not known_apps.note(data_dir, place(app.uid, "https://other.example.org"))


def test_no_app_is_called_by_the_uid_of_another(office: Office) -> None:
    with pytest.raises(BadInput, match="uid"):
        place(new_uid(), office.issuer.url, name=new_uid())


def lose_the_key(office: Office) -> None:
    office.settings.key_file.unlink()
    forget.forget(office.vault, ACTOR)
    turn_on.turn_on(office.vault, BOTH, ACTOR)
    unfinished.resume(office.vault)


@pytest.mark.parametrize("column", ["", "issuer", "client_id"])
def test_after_a_lost_key_a_client_secret_is_taken_for_an_app_that_is_known(
    office: Office, column: str
) -> None:
    app = place(new_uid(), office.issuer.url)
    apps.add(office.vault, app, Secret("s"), None, ACTOR)
    lose_the_key(office)
    if column:
        office.sql(f"UPDATE oauth_app SET {column} = 'https://rogue.example.org'")
    shown = apps.show(office.vault, app.uid)
    with pytest.raises(PasswordNeeded, match="No client secret") if column else nullcontext():
        apps.set_secret(office.vault, app.uid, Secret("t"), None, ACTOR, shown.seen)
        assert flows.open_app(office.vault, app.uid)[1].reveal() == "t"
