"""Promises of the accounts pages: nothing lost, nothing shown, nothing sent to another server."""

from __future__ import annotations

import re

import pytest
from flask import Flask

from panel import audit, db
from panel.accounts import probe
from panel.models import Account, Activity, Collection, Endpoint, Session, Skipped
from panel.vault import verification
from tests.accounts.conftest import form, stored
from tests.encryption.conftest import House
from tests.running import shapes_of
from tests.servers.dovecot import DovecotServer
from tests.sign_in.browser import WRONG, Browser, add_person, asked, confirm

NEW = "/accounts/new"
TYPED = [
    " leading", "trailing ", "  both  ", "Grüße", "🗝️🔑", "\"double\" 'single'", "back\\slash", "100% %s", "x",
    "<b>&amp;", "x" * 1024, "--leading", "AQGfPEHSB6rlsQ==",
]  # fmt: skip


def opened(house: House) -> str:
    with db.database.connection_context():
        return house.opened(stored())


def url() -> str:
    return f"/accounts/{stored().account.uuid}"


def edit_url() -> str:
    return f"{url()}/edit"


def edit_form(**over: str) -> dict[str, str]:
    endpoint = stored()
    return form(password="", account=endpoint.account.uuid, rev=str(endpoint.rev), **over)


@pytest.mark.parametrize("typed", TYPED, ids=lambda t: ascii(t[:12]))
@pytest.mark.parametrize("on", [False, True], ids=["off", "on"])
def test_a_password_comes_through_the_form_exactly_as_typed(
    admin: Browser, house: House, typed: str, on: bool
) -> None:
    if on:
        with db.database.connection_context():
            house.enable()
    response = admin.post(NEW, **form(password=typed))
    assert response.status_code == 303 and response.location.startswith(f"{url()}?collecting=")
    assert opened(house) == typed
    assert (stored().sealed is not None) is on


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ({"password": ""}, "Enter the mailbox&#39;s password."),
        ({"password": "a\0b"}, "NUL"),
        ({"address": ""}, "Enter the email address."),
        ({"address": "no at sign"}, "is not an email address"),
        ({"address": "a" * 250 + "@x.de"}, "longer than 254"),
        ({"host": ""}, "Enter the mail server&#39;s name."),
        ({"host": "imaps://imap.example.org"}, "not the name of a server"),
        ({"host": "127.1"}, "whole IP address"),
        ({"port": "99999"}, "Port 99999 is not allowed"),
        ({"port": "22"}, "PANEL_MAIL_PORTS"),
        ({"port": "abc"}, "Enter the port as a number."),
        ({"protocol": "nntp"}, "“nntp” is not a valid protocol."),
        ({"protocol": "smtp"}, "smtp cannot collect mail."),
        ({"security": "none"}, "cross the network unencrypted"),
        ({"security": "unknown"}, "“unknown” is not a valid security setting."),
        ({"username": "a\r\nb"}, "control character"),
        ({"folder": "x" * 256}, "longer than 255"),
        ({"begin": "yesterday"}, "“yesterday” is not a valid starting point."),
        ({"interval": "5"}, "30 to 86400"),
    ],
)
def test_bad_input_is_422_says_what_to_do_keeps_what_was_typed_and_stores_nothing(
    admin: Browser, over: dict[str, str], message: str
) -> None:
    response = admin.post(NEW, **form(**over))
    assert response.status_code == 422
    assert message in response.text
    assert "There is a problem" in response.text
    assert 'value="60"' in response.text or "interval" in over
    assert "hunter2hunter2" not in response.text
    with db.database.connection_context():
        assert Account.select().count() == Endpoint.select().count() == 0


def test_the_same_address_twice_is_refused_whatever_its_case(admin: Browser) -> None:
    admin.post(NEW, **form())
    response = admin.post(NEW, **form(address="Support@Example.ORG"))
    assert (response.status_code, "has been added already" in response.text) == (422, True)


def test_an_umlaut_host_is_stored_as_it_is_connected_to(admin: Browser) -> None:
    admin.post(NEW, **form(host="IMAP.Müller.example."))
    assert stored().host == "imap.xn--mller-kva.example"


def test_what_people_type_is_escaped(admin: Browser) -> None:
    admin.post(NEW, **form(address="<script>@example.org", username="<img src=x>"))
    for page in (
        admin.get("/accounts"),
        admin.get(f"/accounts/{stored('<script>@example.org').account.uuid}"),
    ):
        assert page.status_code == 200
        assert "<script>@" not in page.text
        assert "<img src=x" not in page.text


def test_a_stored_password_is_on_no_page(admin: Browser) -> None:
    admin.post(NEW, **form(password="MARKER-never-shown"))
    for path in ("/accounts", url(), edit_url(), f"{url()}/remove"):
        assert "MARKER" not in admin.get(path).text
    refused = admin.post(edit_url(), **edit_form(interval="1") | {"password": "MARKER-typed-again"})
    assert refused.status_code == 422
    assert "MARKER" not in refused.text


def test_leaving_the_password_blank_keeps_it(admin: Browser, house: House) -> None:
    admin.post(NEW, **form())
    assert (
        admin.post(edit_url(), **edit_form(folder="Archive", username="support@example.org")).status_code
        == 303
    )
    assert (stored().account.folder, opened(house)) == ("Archive", "hunter2hunter2")


@pytest.mark.parametrize(
    "over",
    [{"host": "other.example.org"}, {"port": "143"}, {"security": "starttls"}, {"username": "somebody"}],
)
def test_a_changed_server_demands_the_mailbox_password_and_says_why(
    admin: Browser, house: House, over: dict[str, str]
) -> None:
    admin.post(NEW, **form())
    before = stored()
    response = admin.post(edit_url(), **edit_form(**over))
    assert response.status_code == 422
    assert "changed mail server needs its password" in response.text
    assert all(
        getattr(stored(), name) == getattr(before, name) for name in ("host", "port", "security", "username")
    )
    assert admin.post(edit_url(), **edit_form(**over) | {"password": "the new one"}).status_code == 303
    assert opened(house) == "the new one"


def test_after_five_minutes_the_form_asks_for_the_own_password_and_loses_nothing(admin: Browser) -> None:
    admin.post(NEW, **form())
    with db.database.connection_context():
        Session.update(confirmed_at=db.now() - 301).execute()
    other = form(address="other@example.org", host="other.example.org")
    for path in (edit_url(), "/accounts/test", f"{url()}/remove", NEW):
        waits = asked(admin.post(path, on=NEW, **other))
    with db.database.connection_context():
        assert Account.select().count() == 1
    assert confirm(admin, waits, WRONG).status_code == 422
    assert confirm(admin, waits).status_code == 303
    assert stored("other@example.org").host == "other.example.org"


def test_a_form_that_grew_stale_is_refused_and_says_so(admin: Browser, house: House) -> None:
    admin.post(NEW, **form())
    stale = edit_form() | {"password": "mine"}
    assert admin.post(edit_url(), **edit_form() | {"password": "theirs"}).status_code == 303
    response = admin.post(edit_url(), **stale)
    assert (response.status_code, "has been changed since" in response.text) == (409, True)
    assert opened(house) == "theirs"


def test_a_sweep_does_not_make_an_open_form_stale(admin: Browser, house: House) -> None:
    admin.post(NEW, **form())
    opened_before = edit_form() | {"password": "typed meanwhile"}
    with db.database.connection_context():
        house.enable()
    assert admin.post(edit_url(), **opened_before).status_code == 303
    assert opened(house) == "typed meanwhile"


def test_pausing_resuming_and_removing(admin: Browser, house: House) -> None:
    admin.post(NEW, **form())
    uuid = stored().account.uuid
    admin.post(f"/accounts/{uuid}/pause", on="/accounts")
    assert stored().account.paused_at is not None
    shown = admin.get("/accounts").text
    assert "Paused" in shown and "support@example.org was paused." in shown
    assert f'action="/accounts/{uuid}/resume"' in shown.partition('class="toast')[2]  # Undo
    admin.post(f"/accounts/{uuid}/resume", on="/accounts")
    assert stored().account.paused_at is None
    asked = admin.get(f"/accounts/{uuid}/remove").text
    assert "support@example.org" in asked
    assert str(house.settings.mail_spool / uuid) in asked
    assert admin.post(f"/accounts/{uuid}/remove").status_code == 303
    assert (
        admin.get(f"/accounts/{uuid}").status_code == admin.get(f"/accounts/{uuid}/edit").status_code == 404
    )
    with db.database.connection_context():
        named = [a.what for a in Activity.select() if a.subject == "support@example.org"]
    assert named == ["mailbox added", "mailbox paused", "mailbox resumed", "mailbox removed"]


def test_the_list_shows_the_last_success_and_what_is_wrong(admin: Browser) -> None:
    assert "No mailboxes yet" in admin.get("/accounts").text
    admin.post(NEW, **form())
    with db.database.connection_context():
        account = stored().account
        Collection.create(
            account=account, last_success_at=db.now() - 7200, problem="The server says no.", remedy="Ask it nicely.",
            next_due_at=db.now() + 330, failing_since=db.now(), failures=1,
        )  # fmt: skip
        Skipped.create(
            account=account, uidvalidity=1, uid=7, size=99_000_000, reason="It is too large.", at=db.now()
        )
    page = admin.get("/accounts").text
    for words in ("The server says no.", "in 5 minutes", "Not encrypted"):
        assert words in page, words
    own = admin.get(url()).text
    assert "It is too large." in own and "Ask it nicely." in own
    with db.database.connection_context():
        Collection.update(problem=None).execute()
    assert "1 message was skipped" in admin.get("/accounts").text


def test_a_record_that_does_not_open_leaves_its_server_to_be_typed_afresh(
    admin: Browser, house: House
) -> None:
    admin.post(NEW, **form())
    with db.database.connection_context():
        house.enable()
        house.sql("UPDATE endpoint SET host = 'evil.example.org'")
        verification.run_and_note(house.vault)
    page = admin.get(edit_url()).text
    assert "may have been changed" in page
    assert re.search(r'<input[^>]*id="host"[^>]*value=""', page)
    assert not re.search(r'<input[^>]*value="evil', page)
    assert admin.post(edit_url(), **edit_form() | {"password": "typed afresh"}).status_code == 303
    assert opened(house) == "typed afresh"
    assert stored().host == "imap.example.org"


# -- the live test -----------------------------------------------------------------


def steps(text: str) -> list[tuple[str, str]]:
    return re.findall(r'<li class="(good|bad)">.*?<strong>([^<]+)</strong>', text, re.DOTALL)


@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_a_test_shows_its_steps_before_anything_is_saved(
    admin: Browser, dovecot: DovecotServer, security: str
) -> None:
    user = f"trial-{security}@example.org"
    dovecot.add_user(user, " right ")
    dovecot.deliver(user, b"Subject: one\r\n\r\n")
    port = str(dovecot.tls_port if security == "tls" else dovecot.starttls_port)
    typed = form(address=user, host="localhost", port=port, security=security)
    good = admin.post("/accounts/test", on=NEW, **typed | {"password": " right "})
    assert steps(good.text) == [("good", name) for name in ("DNS", "Connect", "TLS", "Sign in", "Folder")]
    assert "holds 1 message" in good.text
    bad = admin.post("/accounts/test", on=NEW, **typed | {"password": "MARKER-wrong"})
    assert steps(bad.text)[-1] == ("bad", "Sign in")
    assert "MARKER" not in bad.text
    with db.database.connection_context():
        assert not Account.select().exists()


def test_htmx_gets_each_step_as_an_event_of_its_own(admin: Browser, dovecot: DovecotServer) -> None:
    authorization_file = "MARKER-of-the-live-test"
    dovecot.add_user("events@example.org", authorization_file)
    token = re.search(r'name="csrf_token" value="([^"]+)"', admin.get(NEW).text)
    assert token is not None
    typed = form(
        address="events@example.org",
        host="localhost",
        port=str(dovecot.tls_port),
        password=authorization_file,
    )
    response = admin.client.post(
        "/accounts/test", data=typed | {"csrf_token": token[1]}, headers={"HX-Request": "true"}
    )
    assert response.mimetype == "text/event-stream"
    events = [event for event in response.text.split("\n\n") if event]
    assert [len(steps(event)) for event in events] == [0, 1, 2, 3, 4, 5, 5]
    assert all(line.startswith("data: ") for event in events for line in event.splitlines())
    assert not [shape for shape in shapes_of(authorization_file) if shape in response.data]


def test_the_stored_password_is_tested_on_the_stored_server_only(
    admin: Browser, dovecot: DovecotServer, app: Flask, house: House
) -> None:
    dovecot.add_user("stored@example.org", "right")
    typed = form(address="stored@example.org", host="localhost", port=str(dovecot.tls_port), password="right")
    admin.post(NEW, **typed)
    uuid = stored("stored@example.org").account.uuid
    with db.database.connection_context():
        house.enable()
    same = admin.post("/accounts/test", on=NEW, **typed | {"password": "", "account": uuid})
    assert len(steps(same.text)) == 5
    others = ({"port": "993"}, {"host": "127.0.0.1"}, {"username": "other"}, {"security": "starttls"})
    for over in others:
        refused = admin.post("/accounts/test", on=NEW, **typed | {"password": "", "account": uuid} | over)
        assert refused.status_code == 422, over
        assert "changed mail server needs its password" in refused.text


def test_tests_are_limited_per_hour(admin: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "PER_HOUR", 2)
    with db.database.connection_context():
        for _ in range(2):
            audit.record(probe.TESTED, "x@example.org")
    response = admin.post("/accounts/test", on=NEW, **form())
    assert (response.status_code, "2 tests within an hour" in response.text) == (429, True)


@pytest.mark.parametrize("role", ["agent", "user"])
def test_agents_and_users_see_no_accounts(app: Flask, role: str) -> None:
    add_person(f"{role}@example.org", role)
    browser = Browser(app)
    browser.sign_in(f"{role}@example.org")
    assert browser.get("/accounts").status_code == 403
    assert browser.get("/accounts/new").status_code == 403
