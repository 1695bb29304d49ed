"""Promises of the overview: at a glance whether mail is collected, passwords are encrypted, and what needs attention."""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import urlencode

import pytest
from flask import Flask

from panel import create_app, db
from panel.config import Settings
from panel.models import Collection, Heartbeat, LoggedMessage, MailTotal
from tests.encryption.conftest import House
from tests.running import Environ, wait_until
from tests.sign_in.browser import Browser, add_person


def state_of_mail(page: str) -> str:
    """What the page says first of the mail."""
    found = re.search(r'<p class="state-line".*?</span>(.*?)</span>', page, re.DOTALL)
    assert found
    return found[1]


def test_an_admin_sees_that_all_checks_passed(admin: Browser, healthy: House) -> None:
    page = admin.get("/").text
    for words in ("<h1>Overview</h1>", "OK</span>", "Encrypted", "checks passed"):
        assert words in page
    assert "Needs attention" not in page and '<details class="panel checks">' in page
    assert re.search(r'<a href="/" aria-current="page">.*Overview', page)


def test_with_no_mailbox_it_leads_to_the_first_one(admin: Browser) -> None:
    page = admin.get("/").text
    assert "No mailboxes yet" in page
    assert 'href="/accounts/new"' in page
    assert state_of_mail(page) == "No mailboxes yet"


def test_each_problem_is_shown_with_its_remedy_and_a_link_to_the_page_that_solves_it(
    admin: Browser, healthy: House
) -> None:
    with db.database.connection_context():
        Collection.update(problem="The server says no.", remedy="Ask it nicely.").execute()
        [(uuid,)] = healthy.sql("SELECT uuid FROM account")
    page = admin.get("/").text
    for words in (
        "Not collecting mail",
        "Needs attention",
        "1 cause",
        '<details class="panel checks" open>',
        "The server says no.",
        "Ask it nicely.",
    ):
        assert words in page
    assert f'href="/accounts/{uuid}">Open mailbox<span class="hidden"> 0@example.org</span></a>' in page


def test_one_of_two_mailboxes_that_fails_does_not_mean_that_no_mail_comes(
    admin: Browser, healthy: House
) -> None:
    with db.database.connection_context():
        Collection.insert(account=healthy.add().account, problem="No.", last_success_at=db.now()).execute()
    assert state_of_mail(admin.get("/").text) == "Collecting mail, but not from every mailbox"


def test_a_key_that_is_away_is_said_with_what_to_type(admin: Browser, healthy: House) -> None:
    healthy.key_file.unlink()
    page = admin.get("/").text
    for words in (
        "Collecting is paused",
        "The encryption key file is missing.",
        str(healthy.key_file),
        "Open Encryption",
    ):
        assert words in page


def test_mailboxes_that_wait_for_the_key_are_paused_not_failing(admin: Browser, healthy: House) -> None:
    healthy.key_file.unlink()
    page = admin.get("/").text
    assert "1 paused" in page and "failing</strong>" not in page and "Key unavailable" in page


def test_mailboxes_are_counted_as_their_list_counts_them(admin: Browser, healthy: House) -> None:
    with db.database.connection_context():
        Collection.insert(account=healthy.add().account, problem="No.").execute()
        late = {"last_success_at": db.now() - 90_000, "next_due_at": db.now() - 80_000}
        Collection.insert(account=healthy.add().account, **late).execute()
    page, listed = admin.get("/").text, admin.get("/accounts").text
    assert "1 OK</strong>" in page and "1 failing</strong>" in page and "1 needs attention</strong>" in page
    for state in ("OK", "Failing", "Needs attention"):
        assert f'{state} <span class="num">1</span>' in listed


def test_a_silent_worker_is_never_shown_as_mail_coming_in(admin: Browser, healthy: House) -> None:
    with db.database.connection_context():
        Heartbeat.update(beat_at=db.now() - 600).execute()
    page = admin.get("/").text
    assert state_of_mail(page) == "Not collecting mail"
    assert "The worker last responded 10 minutes ago." in page


def test_mailboxes_that_fail_alike_are_one_cause_and_three_are_shown(admin: Browser, healthy: House) -> None:
    with db.database.connection_context():
        for _ in range(30):
            Collection.insert(account=healthy.add().account, problem="No. It says: 1").execute()
    page = admin.get("/").text
    assert "<strong>30 mailboxes</strong>" in page and "Show the 30 mailboxes" in page and "1 cause<" in page
    with db.database.connection_context():
        for number in range(40):
            Collection.insert(account=healthy.add().account, problem=f"No {number}.").execute()
    page = admin.get("/").text
    assert page.count('<span class="sign bad">') <= 20 and "All 21 causes" in page
    before, after = page.split("All 21 causes")
    assert before.count('<span class="sign bad">') == 3 and "<strong>30 mailboxes</strong>" in before
    assert "21 more mailboxes fail, for 21 other reasons." in after


def test_the_worst_comes_first(admin: Browser, healthy: House) -> None:
    with db.database.connection_context():
        Collection.update(problem="No.").execute()
        Heartbeat.update(beat_at=db.now() - 600).execute()
        healthy.sql("UPDATE encryption SET backup_proved_at = NULL, backup_tag = NULL")
    titles = re.findall(r'<span class="sign (\w+)">.*?<strong>(.*?)</strong>', admin.get("/").text, re.DOTALL)
    assert titles[:3] == [("bad", "Worker"), ("bad", "Mailbox 0@example.org"), ("warn", "Key backup")]


def test_encryption_that_is_off_comes_after_what_keeps_mail_from_coming(admin: Browser, house: House) -> None:
    titles = re.findall(r'<span class="sign (\w+)">.*?<strong>(.*?)</strong>', admin.get("/").text, re.DOTALL)
    assert titles[:2] == [("bad", "Worker"), ("warn", "Encryption")]


# -- the mail ------------------------------------------------------------------------------


def came(house: House, number: int = 3) -> None:
    """So many messages, just now, and one that was skipped."""
    now = db.now()
    [(uuid,)] = house.sql("SELECT uuid FROM account LIMIT 1")
    MailTotal.create(at=now - now % 3600, delivered=number)
    for subject in range(number):
        LoggedMessage.create(
            account=uuid, at=now, size=38_000, subject=f"Subject {subject}", sender_name="Petra H"
        )
    LoggedMessage.create(account=uuid, at=now, size=1, waiting=False, reason="Larger than 50 MiB.")


def test_mail_of_today_its_chart_and_the_latest_messages_are_shown(admin: Browser, healthy: House) -> None:
    with db.database.connection_context():
        came(healthy)
    page = admin.get("/").text
    for words in (
        'Mail today</p><p class="stat">3</p>', "Petra H", "Subject 2", "38 kB", ": 3 messages</title>",
        "Show as table", "All messages", "Messages skipped", "1 message of 1 mailbox in seven days",
    ):  # fmt: skip
        assert words in page, words
    for span, bars in (("24h", 24), ("90d", 90), ("<script>", 14)):
        page = admin.get("/?" + urlencode({"span": span})).text
        assert page.count("</title></rect>") == bars and "<script>alert" not in page


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("UPDATE account SET paused_at = 1", "All mailboxes are paused."),
        ("UPDATE collection SET last_success_at = NULL", "The first run has not ended yet."),
        ("UPDATE collection SET problem = 'No.'", "No mailbox could be collected."),
        ("SELECT 1", "Send a message to one of the mailboxes"),
    ],
)
def test_without_a_first_message_it_says_why(admin: Browser, healthy: House, state: str, words: str) -> None:
    healthy.sql(state)
    page = admin.get("/").text
    assert "No messages yet" in page and words in page


def test_what_is_left_open_changes_only_with_the_page(admin: Browser, healthy: House) -> None:
    address = ""

    def is_answered_with_nothing() -> bool:
        nonlocal address
        answer = admin.client.get("/", headers={"HX-Request": "true"})
        address = unescape(re.search(r'hx-get="(.*?)"', answer.text)[1])  # type: ignore[index]
        again = admin.client.get(address, headers={"HX-Request": "true"})
        return (again.status_code, again.data) == (204, b"")

    wait_until(is_answered_with_nothing, "no news")  # the clock's minute and the room on the disk change
    with db.database.connection_context():
        came(healthy)
    changed = admin.client.get(address, headers={"HX-Request": "true"})
    assert changed.status_code == 200 and "Subject 2" in changed.text
    assert "span=24h" in admin.client.get("/?span=24h", headers={"HX-Request": "true"}).text


def test_htmx_gets_the_fragment_alone(app: Flask, admin: Browser, healthy: House) -> None:
    answer = admin.client.get("/", headers={"HX-Request": "true"})
    assert answer.text.startswith('<div id="overview"')
    assert "<html" not in answer.text


def test_below_a_path_the_links_stay_below_it(admin: Browser, house: House) -> None:
    with db.database.connection_context():
        house.add()
    page = admin.client.get("/", environ_overrides={"SCRIPT_NAME": "/mail"}).text
    assert 'href="/mail/server/encryption">Open Encryption' in page


def test_what_comes_from_outside_is_escaped(admin: Browser, healthy: House) -> None:
    with db.database.connection_context():
        Collection.update(problem="<script>alert(1)</script>").execute()
    assert "<script>alert" not in admin.get("/").text


# -- a proxy that no setting names --------------------------------------------------------


@pytest.mark.parametrize("header", ["X-Forwarded-For", "X-Forwarded-Proto", "Forwarded"])
def test_headers_of_a_proxy_are_noticed_and_named_with_where_they_came_from(
    admin: Browser, healthy: House, header: str
) -> None:
    assert "No request in the last 24 hours carried proxy headers." in admin.get("/").text
    admin.client.get("/login", headers={header: "<b>192.0.2.1</b>"}, environ_base={"REMOTE_ADDR": "10.0.0.2"})
    page = admin.get("/").text
    assert f"proxy headers ({header} from 10.0.0.2" in page and "no proxy is trusted" in page
    assert "Set PANEL_TRUSTED_PROXIES" in page
    assert "192.0.2.1" not in page


def test_they_are_written_once_an_hour_at_most(admin: Browser, healthy: House) -> None:
    for _ in range(3):
        admin.client.get("/login", headers={"X-Forwarded-For": "192.0.2.1"})
        with db.database.connection_context():
            Heartbeat.update(forwarded_at=1).where(Heartbeat.forwarded_at != 1).execute()
    with db.database.connection_context():
        assert Heartbeat.get().forwarded_at == 1


def test_an_old_note_is_forgotten(admin: Browser, healthy: House) -> None:
    with db.database.connection_context():
        Heartbeat.update(forwarded_at=db.now() - 2 * 86400, forwarded="Forwarded from 10.0.0.2").execute()
    assert "No request in the last 24 hours carried proxy headers." in admin.get("/").text


def test_where_proxies_are_trusted_nothing_is_noted(environ: Environ, healthy: House) -> None:
    settings = Settings.load(environ | {"PANEL_TRUSTED_PROXIES": "1"})
    client = create_app(settings).test_client()
    client.get("/login", headers={"X-Forwarded-For": "192.0.2.1"})
    with db.database.connection_context():
        assert Heartbeat.get().forwarded_at is None


def test_the_address_that_answers_load_balancers_writes_nothing(healthy: House, app: Flask) -> None:
    app.test_client().get("/healthz", headers={"X-Forwarded-For": "192.0.2.1"})
    with db.database.connection_context():
        assert Heartbeat.get().forwarded_at is None


@pytest.mark.parametrize(("role", "start"), [("agent", "/status"), ("user", "/profile")])
def test_others_are_led_to_their_own_page_and_see_none_of_it(app: Flask, role: str, start: str) -> None:
    add_person("x@example.org", role)
    browser = Browser(app)
    browser.sign_in("x@example.org")
    answer = browser.get("/")
    assert (answer.status_code, answer.location) == (303, start)
    assert "Overview" not in browser.get("/profile").text
