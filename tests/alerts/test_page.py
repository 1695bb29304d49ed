"""Alerts in the browser and in the shell: recipients, tests, banners, the check."""

from __future__ import annotations

import html
import json
import re
import subprocess
from collections.abc import Callable

import pytest
from flask import Flask

from panel.alerts import alert_log, channels, service, thresholds
from panel.alerts.thresholds import Thresholds
from panel.audit import Actor
from panel.health import checks
from panel.health.check import Check
from panel.models import Activity, Alert, AlertChannels, Collection, Session
from tests.alerts.conftest import HOUR, QUIET_PERIOD, TO, World, add_sending, fail, prove, recover
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
    assert "last used" in admin.get(PAGE).text
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


BELL = re.compile(r'<span class="count (\w+)">(\d+)<span class="hidden"> open')


def bell(browser: Browser) -> tuple[str, str] | None:
    found = BELL.search(browser.get("/people").text)
    return (found[1], found[2]) if found else None


def banners(text: str) -> str:
    return " ".join(re.findall(r'<div class="banner.*?</div>', text, re.DOTALL))


def test_the_bell_of_every_page_counts_what_is_open_and_not_muted(world: World, admin: Browser) -> None:
    assert bell(admin) is None
    world.fail("The server says no.")
    world.fail("The server says no.")
    world.next_check()
    assert bell(admin) == ("bad", "2"), "one cause, and passwords that are not encrypted"
    assert banners(admin.get("/people").text) == ""
    [alert] = alert_log.open_alerts()
    assert admin.post(f"{PAGE}/{alert.id}/mute", on=PAGE).status_code == 303
    assert bell(admin) == ("warn", "1")
    world.house.enable()
    prove(world.house)
    assert bell(admin) is None
    shown = admin.get(PAGE).text
    assert "Muted by ada@example.org; reminders resume" in shown and "Unmute" in shown
    assert admin.post(f"{PAGE}/{alert.id}/unmute", on=PAGE).status_code == 303
    assert bell(admin) == ("bad", "1")
    events = [event.what for event in Activity.select().where(Activity.what.contains("muted"))]
    assert events == ["alert muted", "alert unmuted"]


def test_a_silent_worker_is_the_banner_of_everybody_but_of_no_page_that_says_it(
    world: World, app: Flask, admin: Browser
) -> None:
    add_person("agent@example.org", "agent")
    agent = Browser(app)
    agent.sign_in("agent@example.org")
    world.fail("The server says no.")
    assert banners(admin.get("/people").text) == banners(agent.get("/server/encryption").text) == ""
    world.clock.at += 100  # no beat
    assert "The worker is not responding" in banners(admin.get("/people").text)
    assert "The program that collects mail is not running." in banners(agent.get("/server/encryption").text)
    assert banners(admin.get("/").text) == banners(agent.get("/status").text) == ""
    assert (
        PAGE not in agent.get("/server/encryption").text and "says no" not in agent.get("/status").text[:5000]
    )


def test_only_one_banner_is_shown_the_lost_key_first(world: World, admin: Browser) -> None:
    world.house.add()
    world.house.enable()
    world.house.key_file.unlink()
    world.clock.at += 100
    shown = banners(admin.get("/people").text)
    assert "Collecting mail is paused." in shown and shown.count('class="banner') == 1
    assert "The worker is not responding" in banners(admin.get("/server/encryption").text)


def test_the_backup_is_no_matter_of_agents(world: World, app: Flask, admin: Browser) -> None:
    add_person("agent@example.org", "agent")
    world.house.add()
    world.house.enable()
    world.clock.at = int(world.house.keystore.key_file_modified()) + 8 * 24 * HOUR
    world.next_check()
    agent, again = Browser(app), Browser(app)
    agent.sign_in("agent@example.org")
    again.sign_in()
    assert bell(again) == ("warn", "1")
    assert "has had no verified backup for 7 days or longer." in again.get(PAGE).text
    assert "eeds attention" not in agent.get("/status").text.partition("<main")[0]
    prove(world.house)
    world.pass_(2 * QUIET_PERIOD)
    assert bell(again) is None


def test_muting_is_for_administrators_and_says_when_the_alert_is_gone(
    world: World, app: Flask, admin: Browser
) -> None:
    account = world.fail()
    world.next_check()
    [alert] = alert_log.open_alerts()
    add_person("agent@example.org", "agent")
    agent = Browser(app)
    agent.sign_in("agent@example.org")
    assert agent.post(f"{PAGE}/{alert.id}/mute", on="/server/encryption").status_code == 403
    recover(account)
    world.pass_(HOUR, 600)
    stale = admin.post(f"{PAGE}/{alert.id}/mute", on=PAGE)
    assert stale.status_code == 409 and "alert was resolved" in stale.text
    assert admin.post(f"{PAGE}/999999999/mute", on=PAGE).status_code == 409
    assert admin.post(f"{PAGE}/{'9' * 30}/mute", on=PAGE).status_code in (404, 409)


def test_each_alert_has_one_action_that_leads_to_its_remedy(world: World, admin: Browser) -> None:
    one = world.fail("One reason.")
    world.fail("Another <b>reason<b>.")
    world.fail("Another <b>reason<b>.")
    world.next_check()
    shown = html.unescape(admin.get(PAGE).text.replace("&lt;", "(").replace("&gt;", ")"))
    assert f'href="/mailkeep/accounts/{one.uuid}">Open mailbox' in shown
    assert 'href="/mailkeep/accounts?state=failing&q=imap.example.org">Show mailboxes' in shown
    assert 'href="/mailkeep/server/encryption">Turn on encryption' in shown
    assert "2 mailboxes: Another (b)reason(b)." in shown and "<b>" not in shown


def test_thresholds_are_shown_set_and_kept_within_reason(world: World, admin: Browser) -> None:
    shown = admin.get(PAGE).text
    for value in ("60", "7", "5"):
        assert f'value="{value}"' in shown
    url, set_ = (
        f"{PAGE}/thresholds",
        {"failing_minutes": "10", "unverified_days": "1", "disk_percent": "20", "waiting_minutes": "90"},
    )
    assert admin.post(url, on=PAGE, **set_).status_code == 303
    assert thresholds.of(AlertChannels.get()) == Thresholds(10, 1, 20, 90)
    for name, bad in (
        ("failing_minutes", "4"), ("failing_minutes", "1441"), ("unverified_days", ""), ("disk_percent", "x"),
        ("waiting_minutes", "4"), ("disk_percent", "0"), ("failing_minutes", "9" * 1024), ("disk_percent", "-1"), ("unverified_days", "1e3"),
    ):  # fmt: skip
        refused = admin.post(url, on=PAGE, **set_ | {name: bad})
        assert refused.status_code == 422 and 'aria-invalid="true"' in refused.text
    assert thresholds.of(AlertChannels.get()) == Thresholds(10, 1, 20, 90)
    AlertChannels.update(failing_minutes=2**40, disk_percent=-1).execute()
    assert thresholds.of(AlertChannels.get()) == Thresholds(60, 1, 5, 90), "what SQL wrote silences nothing"
    [event] = Activity.select().where(Activity.what == "alert thresholds changed")
    assert "10" in event.detail
    Session.update(confirmed_at=1).execute()
    assert "/confirm" in admin.post(url, on=PAGE, **set_).headers["Location"]


def test_the_history_is_paged_searched_and_filtered(world: World, admin: Browser) -> None:
    for number in range(55):
        Alert.create(
            topic="mailboxes", subject=str(number), condition="mailbox-failing", message=f"Alert {number}.",
            remedy="", path="/", since=1, resolved_at=world.clock.at - number, next_at=0,
            severity="warn" if number % 5 else "bad",
        )  # fmt: skip
    assert admin.get(PAGE).text.count('<td class="main">') == 50
    assert "1–50 of 55" in admin.get(PAGE).text
    assert admin.get(f"{PAGE}?page=2").text.count('<td class="main">') == 5
    assert admin.get(f"{PAGE}?state=bad").text.count('<td class="main">') == 11
    assert admin.get(f"{PAGE}?q=alert+54").text.count('<td class="main">') == 1
    assert "No matching alerts." in admin.get(f"{PAGE}?q=%25").text
    Alert.update(since=9, notified_times=3).where(Alert.subject == "54").execute()
    for sort in ("started", "sent"):
        assert admin.get(f"{PAGE}?sort={sort}").text.partition('<td class="main">')[2].startswith("Alert 54.")
    assert admin.get(f"{PAGE}?sort=id&state=x&page=0&q={'x' * 1024}").status_code == 200


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
    assert cli("alerts", "set", "--webhook", "http://hooks.example.org").returncode == 2
    assert cli("alerts", "set").returncode == 2
    done = cli("alerts", "set", "--failing-minutes", "30", "--disk-percent", "10")
    assert "mailbox failing 30 min, backup not verified 7 days, disk under 10% free" in done.stdout
    assert stored()[0] == (TO, "b@example.net"), "the recipients stay"
    assert cli("alerts", "set", "--unverified-days", "0").returncode == 2
    assert cli("alerts", "set", "--failing-minutes", "90", "--to", "nobody").returncode == 2
    assert "failing 30 min" in cli("alerts", "set", "--disk-percent", "10").stdout, "all of it or nothing"


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
    assert not check(world).ok and "last used" not in admin.get(PAGE).text


def test_neither_page_nor_mail_grows_with_the_mailboxes_that_send(world: World, admin: Browser) -> None:
    accounts = [world.house.add().account for _ in range(70)]
    for account in accounts:
        add_sending(world.smtp, account, "refused")
    chosen = accounts[-1].uuid
    service.store((TO,), chosen, "", Actor("ada"))
    shown = admin.get(PAGE).text
    assert shown.count("<option") == 1 + 50 + 1 and f'<option selected value="{chosen}"' in shown
    tried = list(service.test_mail(world.house.settings, world.house.vault, Actor()))
    assert len(tried) == 51 and accounts[-1].address in tried[0].message
