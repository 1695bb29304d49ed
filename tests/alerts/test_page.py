"""Alerts in the browser and in the shell: recipients, tests, banners, the check."""

from __future__ import annotations

import html
import json
import subprocess
from collections.abc import Callable

import pytest
from flask import Flask

from panel.alerts import channels, service
from panel.audit import Actor
from panel.health import checks, heartbeat
from panel.health.check import Check
from panel.models import Activity, Collection, Session
from tests.alerts.conftest import HOUR, TO, World, fail, prove, recover
from tests.sign_in.browser import Browser, add_person, asked, confirm

PAGE = "/server/alerts"


def stored() -> tuple[tuple[str, ...], str, str]:
    now = channels.read()
    return now.recipients, now.through, now.webhook


def check(world: World) -> Check:
    found = checks.run(checks.gather(world.house.settings, world.house.vault))
    return next(each for each in found if each.check == "alerts")


def test_an_administrator_sets_the_recipients(world: World, admin: Browser) -> None:
    uuid = world.sender().account.uuid
    done = admin.post(PAGE, recipients=f"{TO}\r\nada@example.net", through=uuid, webhook=world.receiver.url)
    assert done.status_code == 303
    assert stored() == ((TO, "ada@example.net"), uuid, world.receiver.url)
    shown = admin.get(PAGE).text
    assert TO in shown and "Not used yet" in shown
    [event] = Activity.select().where(Activity.what == "alert recipients changed")
    assert event.who == "ada@example.org" and TO in event.detail and "in-the-path" not in event.detail


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ({"recipients": "nobody"}, "“nobody” is not an email address."),
        ({"recipients": "a@b <x@y>"}, "is not an email address."),
        ({"recipients": " ".join(f"{n}@example.net" for n in range(11))}, "There are 11 addresses"),
        ({"webhook": "http://hooks.example.org/"}, "Without HTTPS"),
        ({"webhook": "hooks"}, "does not begin with https://"),
        ({"through": "no-such"}, "That mailbox has no server for sending."),
    ],
)
def test_bad_input_is_422_beside_its_field_and_stores_nothing(
    world: World, admin: Browser, typed: dict[str, str], message: str
) -> None:
    refused = admin.post(PAGE, **{"recipients": "", "through": "", "webhook": "", **typed})
    assert refused.status_code == 422 and message in refused.text
    assert stored() == ((), "", "")


def test_a_change_and_a_test_want_the_own_password_when_it_was_typed_long_ago(
    world: World, admin: Browser
) -> None:
    world.send_to(webhook=True)
    Session.update(confirmed_at=1).execute()
    asked(admin.post(f"{PAGE}/test-webhook", on=PAGE, came_from=PAGE))
    form = asked(admin.post(PAGE, recipients=TO, through="", webhook=""))
    assert stored() == ((), "", world.receiver.url) and world.receiver.taken == []
    assert confirm(admin, form).status_code == 303 and stored() == ((TO,), "", "")


def test_agents_and_users_do_not_see_it(world: World, app: Flask) -> None:
    for role in ("agent", "user"):
        add_person(f"{role}@example.org", role)
        browser = Browser(app)
        browser.sign_in(f"{role}@example.org")
        assert browser.get(PAGE).status_code == 403


def test_each_channel_can_be_tested(world: World, admin: Browser) -> None:
    sender = world.sender()
    world.send_to(mail=True, webhook=True)
    sent = admin.post(f"{PAGE}/test-mail", on=PAGE)
    assert "Check that it arrived." in sent.text and [taken.recipients for taken in world.smtp.taken] == [
        [TO]
    ]
    called = admin.post(f"{PAGE}/test-webhook", on=PAGE)
    assert "Check that it arrived." in called.text and world.receiver.events == [("test", "test")]
    assert "Last used" in admin.get(PAGE).text
    world.smtp.users.clear()
    world.receiver.status = 404
    refused = admin.post(f"{PAGE}/test-mail", on=PAGE)
    assert "Not sent" in refused.text and sender.account.address in refused.text
    assert "answered with status 404" in admin.post(f"{PAGE}/test-webhook", on=PAGE).text
    assert "Failing" in admin.get(PAGE).text


def test_a_channel_that_is_not_set_cannot_be_tested(world: World, admin: Browser) -> None:
    for name in ("test-mail", "test-webhook"):
        assert admin.post(f"{PAGE}/{name}", on=PAGE).status_code == 409


def test_without_the_key_the_page_says_that_no_mail_can_go_out(world: World, admin: Browser) -> None:
    world.sender()
    world.house.enable()
    world.send_to(mail=True)
    world.house.key_file.unlink()
    assert "Alert mail cannot be sent now." in admin.get(PAGE).text
    assert "Mail cannot be sent while the encryption key" in admin.post(f"{PAGE}/test-mail", on=PAGE).text


def test_the_page_shows_open_alerts_their_next_reminder_and_history(world: World, admin: Browser) -> None:
    world.send_to(webhook=True)
    account = world.fail("The server says no.")
    world.next_check()
    shown = " ".join(admin.get(PAGE).text.split())
    assert "The server says no." in shown and "Sent once, " in shown and "next reminder" in shown
    recover(account)
    world.pass_(HOUR, 600)
    shown = admin.get(PAGE).text
    assert "No alerts." in shown and "The server says no." in shown
    world.receiver.status = 500
    world.fail()
    world.next_check()
    assert "Not sent yet; next attempt" in admin.get(PAGE).text


def test_every_page_has_a_banner_for_administrators_and_a_fitting_one_for_agents(
    world: World, app: Flask, admin: Browser
) -> None:
    add_person("agent@example.org", "agent")
    agent = Browser(app)
    agent.sign_in("agent@example.org")
    assert "Needs attention" not in admin.get("/people").text
    account = world.fail("The server says no.")
    world.clock.at += 100  # no beat
    shown = admin.get("/people").text
    assert "Needs attention (2):" in shown and "The worker is not responding" in shown
    assert f"{account.address}: The server says no." in shown
    shown = agent.get("/server/encryption").text
    assert "Needs attention (2):" in shown and "The program that collects mail is not running." in shown
    assert PAGE not in shown


def test_the_backup_is_no_matter_of_agents(world: World, app: Flask, admin: Browser) -> None:
    add_person("agent@example.org", "agent")
    world.house.add()
    world.house.enable()
    world.clock.at = int(world.house.keystore.key_file_modified()) + 8 * 24 * HOUR
    heartbeat.beat()
    agent, again = Browser(app), Browser(app)
    agent.sign_in("agent@example.org")
    again.sign_in()
    assert "no verified backup" in again.get("/people").text
    assert "eeds attention" not in agent.get("/status").text.partition("<main")[0]
    prove(world.house)
    assert "no verified backup" not in again.get("/people").text


def test_the_check_reports_channels_that_fail(world: World) -> None:
    assert check(world).ok and "only on pages and in the log" in check(world).message
    world.send_to(webhook=True)
    assert check(world).ok and "to the webhook" in check(world).message
    world.receiver.status = 500
    world.fail()
    world.next_check()
    found = check(world)
    assert (
        not found.ok
        and "status 500" in found.message
        and "1 alert could not be sent yet" in found.message
        and found.remedy
    )


def test_tests_are_limited(world: World, admin: Browser) -> None:
    world.send_to(webhook=True)
    for _ in range(service.TESTS_PER_HOUR):
        Activity.create(at=world.clock.at, who="x", what=service.TESTED, subject="", address="", detail="")
    assert admin.post(f"{PAGE}/test-webhook", on=PAGE).status_code == 429


def test_the_shell_does_the_same(world: World, cli: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    sender = world.sender()
    done = cli("alerts", "set", "--to", f"{TO}, b@example.net", "--webhook", world.receiver.url)
    assert done.returncode == 0 and f"mail to: {TO}, b@example.net" in done.stdout
    assert "in-the-path" not in done.stdout
    assert cli("alerts", "set", "--through", sender.account.address).returncode == 0
    assert stored() == ((TO, "b@example.net"), sender.account.uuid, world.receiver.url)
    done = cli("alerts", "test")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(world.smtp.taken) == 1 and world.receiver.events == [("test", "test")]
    world.fail("The server says no.")
    world.next_check()
    listed = json.loads(cli("alerts", "list", "--json").stdout)
    assert [each["condition"] for each in listed["open"]] == ["mailbox-failing"]
    assert "The server says no." in cli("alerts", "list").stdout
    world.receiver.status = 500
    assert cli("alerts", "test").returncode == 1
    assert cli("alerts", "set", "--webhook", "http://hooks.example.org").returncode == 3
    assert cli("alerts", "set").returncode == 2


def test_an_old_choice_of_an_account_that_is_gone_does_no_harm(world: World) -> None:
    sender, other = world.sender(), world.sender()
    service.store((TO,), sender.account.uuid, "", Actor("ada"))
    sender.account.delete_instance(recursive=True)
    fail(other.account, "No.", world.clock.at - HOUR)
    world.next_check()
    assert [taken.sender for taken in world.smtp.taken] == [other.account.address]


# -- where no alert is open ----------------------------------------------------


def summary(world: World, admin: Browser) -> str:
    """The sentence of the page; the shell has the same one."""
    overview = service.read(world.house.vault)
    assert overview.open == []
    page = html.unescape(" ".join(admin.get(PAGE).text.split()))
    assert overview.summary in page
    assert ("OK</span> No alerts." in page) is overview.is_ok
    assert ("Needs attention</span> No alerts." in page) is not overview.is_ok
    return overview.summary


def test_no_alert_is_not_ok_while_every_mailbox_fails_for_less_than_an_hour(
    world: World, admin: Browser
) -> None:
    for _ in range(3):
        fail(world.house.add().account, "No.", world.clock.at - 60)
    world.next_check()
    assert summary(world, admin).startswith(
        "Of 3 mailboxes, 3 are failing: 0@example.org, 1@example.org, 2@example.org."
    )
    Collection.update(problem=None, last_success_at=None).execute()
    assert summary(world, admin).startswith("Of 3 mailboxes, 3 are waiting for their first run")
    Collection.update(last_success_at=world.clock.at - 3000, next_due_at=world.clock.at - 2900).execute()
    assert summary(world, admin).startswith("Of 3 mailboxes, 3 are overdue")
    Collection.update(last_success_at=world.clock.at).execute()
    assert summary(world, admin).endswith("passwords, key backup; 3 mailboxes.")


def test_no_alert_is_not_ok_while_nothing_checks(world: World, admin: Browser) -> None:
    assert summary(world, admin) == "Alerts have not been checked yet. Check that script/server is running."
    world.next_check()
    assert summary(world, admin).startswith("Checked ")
    assert summary(world, admin).endswith("; no mailboxes yet.")
    world.clock.at += HOUR
    assert summary(world, admin).startswith("Alerts were last checked ")


def test_another_address_has_neither_worked_nor_failed(world: World) -> None:
    world.sender()
    world.send_to(mail=True, webhook=True)
    list(service.test_mail(world.house.settings, world.house.vault, Actor()))
    list(service.test_webhook(world.house.settings, Actor()))
    assert channels.read().mail_use.worked_at and channels.read().webhook_use.worked_at
    service.store(("other@example.net",), "", "https://elsewhere.example.org/", Actor())
    assert (channels.read().mail_use.worked_at, channels.read().webhook_use.worked_at) == (None, None)


def test_a_mail_that_one_address_refused_is_no_ok(world: World, admin: Browser) -> None:
    world.sender()
    service.store((TO, "gone@example.net"), "", "", Actor())
    world.smtp.refused.add("gone@example.net")
    assert list(service.test_mail(world.house.settings, world.house.vault, Actor()))[-1].ok
    assert "gone@example.net" in (channels.read().mail_use.problem or "")
    assert not check(world).ok and "Last used" not in admin.get(PAGE).text
