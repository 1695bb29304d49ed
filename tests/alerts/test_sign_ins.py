"""Promises of alerts about consents, apps and client secrets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from panel.accounts.auth import Oauth
from panel.models import Account, Consent
from tests.accounts.test_auth import WHERE, add, app, connect
from tests.alerts.conftest import DAY, HOUR, MINUTE, World, fail, text_of
from tests.encryption.conftest import House


@pytest.fixture
def on(world: World) -> House:
    world.house.enable()
    world.house.prove()
    app(world.house, "corporate")
    world.send_to(webhook=True)
    return world.house


def end(world: World, code: str = "invalid_grant") -> None:
    """As a refresh that the provider refuses leaves it."""
    Consent.update(ended_at=world.clock.at, ended_code=code).execute()


def told(world: World) -> list[tuple[str, str]]:
    return [(event, name) for event, name in world.receiver.events if name != "backup-unverified"]


def test_an_ended_consent_is_one_alert_at_once_that_leads_to_connect(world: World, on: House) -> None:
    uuid = add(on, Oauth("corporate"))
    connect(on)
    world.next_check()
    assert told(world) == []
    end(world)
    world.next_check()
    assert told(world) == [("opened", "consent-ended")]
    event = world.receiver.taken[-1]
    assert event["message"] == (
        "support@example.org: The provider has ended this mailbox's consent (invalid_grant)."
    )
    assert event["url"].endswith(f"/accounts/{uuid}") and "Connect it again" in event["remedy"]
    fail(Account.get_by_id(uuid), "The provider has ended this mailbox's consent.", world.clock.at)
    world.pass_(2 * HOUR)
    assert {name for _, name in told(world)} == {"consent-ended"}, "that it fails since is no alert besides"
    connect(on)
    world.pass_(6 * MINUTE)
    assert told(world)[-1] == ("resolved", "consent-ended")


def test_each_mailbox_has_its_own_alert_and_all_are_one_mail(world: World, on: House) -> None:
    world.sender()
    world.send_to(mail=True)
    for number in range(3):
        add(on, Oauth("corporate"), address=f"box{number}@example.org")
    Consent.update(connected_at=world.clock.at).execute()
    end(world)
    world.next_check()
    assert world.open.count("consent-ended") == 3
    assert len(world.smtp.taken) == 1
    assert text_of(world.smtp.taken[0].data).count("Connect it again; mail waits on the server.") == 3


@pytest.mark.parametrize(("after", "hint"), [(7 * DAY, True), (9 * DAY, False)])
def test_a_google_consent_that_ends_soon_points_to_testing(
    world: World, on: House, after: int, hint: bool
) -> None:
    app(on, "workspace", provider="google", issuer="")
    add(on, Oauth("workspace"), replace(WHERE, host="imap.gmail.com"))
    connect(on)
    Consent.update(connected_at=world.clock.at - after).execute()
    end(world)
    world.next_check()
    assert ("Testing" in world.receiver.taken[-1]["remedy"]) == hint


def test_sign_in_rules_are_named(world: World, on: House) -> None:
    add(on, Oauth("corporate"))
    connect(on)
    end(world, "AADSTS53003")
    world.next_check()
    assert "sign-in rules ended the session (AADSTS53003)" in world.receiver.taken[-1]["message"]


def test_an_apps_fault_is_one_alert_however_many_mailboxes_it_has(world: World, on: House) -> None:
    for number in range(30):
        uuid = add(on, Oauth("corporate"), address=f"box{number}@example.org")
        fail(Account.get_by_id(uuid), "The client secret has expired.", world.clock.at - HOUR)
    Consent.update(connected_at=world.clock.at).execute()
    on.sql("UPDATE oauth_app SET problem = 'The client secret has expired.', problem_at = ?", world.clock.at)
    world.pass_(2 * HOUR)
    assert {name for _, name in told(world)} == {"app-fault"}
    event = world.receiver.taken[0]
    assert event["mailboxes"] == 30 and "/server/oauth/" in event["url"]


def test_mailboxes_that_nobody_connects_are_one_alert_after_a_while(world: World, on: House) -> None:
    for number in range(3):
        add(on, Oauth("corporate"), address=f"box{number}@example.org")
    world.pass_(30 * MINUTE)
    assert told(world) == []
    world.pass_(31 * MINUTE)
    assert told(world) == [("opened", "consent-needed")]
    assert "3 mailboxes not connected" in world.receiver.taken[-1]["message"]


def test_a_client_secret_alerts_30_and_7_days_before_it_expires(world: World, on: House) -> None:
    expires = world.clock.at + 31 * DAY
    on.sql("UPDATE oauth_app SET secret_expires_at = ?", expires)
    days: list[int] = []
    for _ in range(31 * 4):
        before = len(told(world))
        world.pass_(6 * HOUR, step=HOUR)
        if any(name == "secret-expires" for _, name in told(world)[before:]):
            days.append((expires - world.clock.at) // DAY)
    assert {day for day in days if day > 7} <= {29, 30}, "not a word between"
    assert any(day in (29, 30) for day in days) and {6, 5, 4, 3, 2, 1} <= set(days)
    assert ("resolved", "secret-expires") not in told(world)
    on.sql("UPDATE oauth_app SET secret_expires_at = ?", expires + 365 * DAY)
    world.pass_(HOUR)
    assert "secret-expires" not in world.open


def test_a_date_that_is_entered_less_than_30_days_before_is_told_at_once_and_once(
    world: World, on: House
) -> None:
    on.sql("UPDATE oauth_app SET secret_expires_at = ?", world.clock.at + 20 * DAY)
    world.pass_(MINUTE)
    assert told(world) == [("opened", "secret-expires")]
    world.pass_(DAY, step=HOUR)
    so_far = len(told(world))
    world.pass_(5 * DAY, step=6 * HOUR)
    assert len(told(world)) == so_far


def test_a_paused_mailbox_is_no_alert(world: World, on: House) -> None:
    add(on, Oauth("corporate"))
    connect(on)
    end(world)
    on.sql("UPDATE account SET paused_at = ?", world.clock.at)
    world.next_check()
    assert told(world) == []
