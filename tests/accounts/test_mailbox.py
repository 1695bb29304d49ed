"""Promises of a mailbox's own page: what it is, what it does at once, and what that has brought."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace

import pytest
from flask import Flask

from panel import db, identity
from panel.accounts import asked, service
from panel.accounts.asked import Asked, Phase
from panel.collect.lease import Lease
from panel.collect.round import Collector
from panel.config import Settings
from panel.mail.policy import Policy
from panel.models import Account, Activity, Collection, Skipped
from panel.process import holder
from tests.accounts.conftest import form, stored
from tests.encryption.conftest import House
from tests.servers.dovecot import DovecotServer
from tests.servers.hostile import ScriptedServer
from tests.sign_in.browser import Browser, add_person

Cli = Callable[..., subprocess.CompletedProcess[str]]
NEW = "/accounts/new"
ADDRESS = "support@example.org"
BUTTONS = ("collect", "older", "retry", "test")


def url() -> str:
    return f"/accounts/{stored().account.uuid}"


def press(admin: Browser, button: str) -> str:
    """Where the button leads."""
    answer = admin.post(f"{url()}/{button}", on=url())
    assert answer.status_code == 303, answer.text
    return answer.location


def collect(app: Flask, settings: Settings) -> None:
    """As the worker does it."""
    with db.database.connection_context():
        Collector(settings, app.extensions["mailkeep"].vault).collect(stored().account.uuid)


def at_dovecot(admin: Browser, dovecot: DovecotServer, *messages: bytes, **over: str) -> None:
    """The mailbox on the test's Dovecot; it holds `messages`."""
    dovecot.add_user(over.setdefault("username", f"u{id(over)}"), "right")
    for raw in messages:
        dovecot.deliver(over["username"], raw)
    values = form(**{"host": "localhost", "port": str(dovecot.tls_port), "password": "right", **over})
    assert admin.post(NEW, **values).status_code == 303


# -- what stands there ---------------------------------------------------------------------


def test_the_page_says_in_words_how_the_mailbox_is_set(admin: Browser, settings: Settings) -> None:
    admin.post(NEW, **form(on_server="move", move_to="Done", interval="120", folder="Tickets"))
    page = " ".join(re.sub(r"<[^>]+>", " ", admin.get(url()).text.replace("<wbr>", "")).split())
    for words in (
        "Server imap.example.org", "Port 993, IMAP with TLS", "Stored password Not encrypted", "Folder Tickets",
        "Interval 120 s", "On the server Move to “Done”", "Started with New mail only",
        f"Delivered to {settings.mail_spool / stored().account.uuid}", "Not set up. This mailbox only collects mail.",
        "New Not collected yet Checked every 120 seconds",
    ):  # fmt: skip
        assert words in page, words


def test_the_username_may_break_after_its_at_sign_only(admin: Browser) -> None:
    admin.post(NEW, **form(username="a-very-long-name@a-very-long-domain.example.org"))
    assert "a-very-long-name@<wbr>a-very-long-domain" in admin.get(url()).text


def test_of_pop3_no_folder_is_shown(admin: Browser) -> None:
    admin.post(NEW, **form(protocol="pop3", port=""))
    page = admin.get(url()).text
    assert "POP3 with TLS" in page and "<dt>Folder</dt>" not in page


def test_an_undecryptable_password_leads_to_the_form_that_takes_it_again(
    admin: Browser, house: House
) -> None:
    from panel.vault import verification

    admin.post(NEW, **form())
    with db.database.connection_context():
        house.enable()
        house.sql("UPDATE endpoint SET host = 'evil.example.org'")
        verification.run_and_note(house.vault)
    page = admin.get(url()).text
    assert "The stored password cannot be decrypted." in page
    assert f'<a href="{url()}/edit">Enter the server and its password again</a>' in page


@pytest.mark.parametrize("role", ["agent", "user"])
def test_nobody_but_administrators_sees_it_or_acts_on_it(app: Flask, admin: Browser, role: str) -> None:
    admin.post(NEW, **form())
    add_person("other@example.org", role)
    other = Browser(app)
    other.sign_in("other@example.org")
    assert other.get(url()).status_code == other.get(f"{url()}/edit").status_code == 403
    for button in BUTTONS:
        assert other.post(f"{url()}/{button}", on="/profile").status_code == 403


def test_pausing_and_resuming_stay_on_the_page(admin: Browser) -> None:
    admin.post(NEW, **form())
    for button in ("pause", "resume"):
        answer = admin.post(f"{url()}/{button}", on=url(), next=url())
        assert answer.location.partition("?")[0] == url()
    for evil in ("//evil.example", "https://evil.example/", "/\\evil.example"):
        assert admin.post(f"{url()}/pause", on=url(), next=evil).location == "/accounts"


# -- the part that changes by itself ---------------------------------------------------------


def poll(admin: Browser, path: str) -> tuple[int, str, str]:
    """What a page that asks `path` by itself gets: status, text, what it asks next."""
    answer = admin.client.get(path, headers={"HX-Request": "true"})
    found = re.search(r'hx-get="([^"]+)"', answer.text)
    return answer.status_code, answer.text, found[1].replace("&amp;", "&") if found else ""


def test_a_page_that_asks_again_gets_only_what_changed(admin: Browser) -> None:
    admin.post(NEW, **form())
    status, text, again = poll(admin, url())
    assert (status, "<html" in text, "csrf" in text) == (200, False, False)
    assert poll(admin, again)[0] == 204
    with db.database.connection_context():
        Collection.create(account=stored().account, last_success_at=db.now(), next_due_at=db.now() + 40)
    status, text, again = poll(admin, again)
    assert (status, "just now" in text or "Last collected" in text) == (200, True)
    assert poll(admin, again)[0] == 204
    assert len(text) < 1500


# -- collect now -------------------------------------------------------------------------------


def test_collect_now_says_what_it_brought(
    admin: Browser, app: Flask, settings: Settings, dovecot: DovecotServer
) -> None:
    at_dovecot(admin, dovecot, begin="all")
    collect(app, settings)
    dovecot.deliver(stored().username, b"Subject: one\r\n\r\n")
    page = press(admin, "collect")
    waiting = admin.get(page)
    assert waiting.status_code == 200 and "Starting" in waiting.text
    assert 'hx-trigger="every 1s"' in waiting.text and "Show the result" in waiting.text
    collect(app, settings)
    done = admin.get(page)
    assert (done.status_code, done.location) == (303, url())
    assert "Collected: 1 new message." in admin.get(url()).text
    page = press(admin, "collect")
    collect(app, settings)
    answer = admin.client.get(page, headers={"HX-Request": "true"})
    assert (answer.status_code, answer.headers["HX-Redirect"]) == (204, url())
    assert "Collected: no new messages." in admin.get(url()).text


def test_collect_now_says_why_nothing_came(
    admin: Browser, app: Flask, settings: Settings, dovecot: DovecotServer
) -> None:
    at_dovecot(admin, dovecot, folder="Missing")
    page = press(admin, "collect")
    with pytest.raises(Exception, match="Missing"):
        collect(app, settings)
    admin.get(page)
    shown = admin.get(url()).text
    assert 'class="toast bad"' in shown and "no folder “Missing”" in shown


def test_the_longest_problem_fits_into_what_a_browser_keeps(admin: Browser) -> None:
    admin.post(NEW, **form())
    page = press(admin, "collect")
    with db.database.connection_context():
        account = stored().account
        Collection.create(
            account=account, problem="x" * 9000, remedy="ü 🐑 " * 3000, next_due_at=db.now() + 900
        )
    answer = admin.get(page)
    assert len(answer.headers.get("Set-Cookie", "")) < 4000
    assert 'class="toast bad"' in admin.get(url()).text


def test_what_is_paused_meanwhile_is_no_longer_waited_for(admin: Browser) -> None:
    admin.post(NEW, **form())
    page = press(admin, "collect")
    with db.database.connection_context():
        service.pause(stored().account.uuid, _actor())
    text = admin.get(page).text
    assert "Starting" not in text and 'hx-trigger="every 10s"' in text


def test_a_round_under_way_and_a_worker_that_does_not_come_are_told_apart(
    admin: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin.post(NEW, **form())
    with db.database.connection_context():
        account = stored().account
        Collection.create(account=account)
        begun = Asked.now()
        lease = Lease(account.uuid)
        assert lease.take()
        assert asked.progress(begun, account, Collection.get()).phase is Phase.RUNNING
        lease.release()
        assert asked.progress(begun, account, Collection.get()).phase is Phase.PENDING
        earlier = replace(begun, at=begun.at - asked.LATE_SECONDS - 1)
        assert asked.progress(earlier, account, Collection.get()).phase is Phase.LATE
    page = admin.get(f"{url()}?collecting={earlier}").text
    assert "No worker has begun the run." in page


@pytest.mark.parametrize(
    "text", ["", "1", "x-1", "1-", "-1-1", "1-1-1", "9" * 30 + "-1", "1" * 1024, "<b>", "1-1"]
)
def test_an_address_that_nobody_was_given_is_the_page_itself(admin: Browser, text: str) -> None:
    admin.post(NEW, **form())
    answer = admin.client.get(url(), query_string={"collecting": text, "have": text})
    assert answer.status_code == 200 and "<b>" not in answer.text
    assert "Starting" not in answer.text


def test_what_cannot_be_collected_says_so_at_once(admin: Browser, house: House, settings: Settings) -> None:
    admin.post(NEW, **form())
    with db.database.connection_context():
        service.pause(stored().account.uuid, _actor())
    for button in ("collect", "older", "retry"):
        answer = admin.post(f"{url()}/{button}", on=url())
        assert (answer.status_code, "is paused" in answer.text) == (409, True), button
    with db.database.connection_context():
        service.resume(stored().account.uuid, _actor())
        house.enable()
    house.key_file.rename(house.data / "away.bin")
    answer = admin.post(f"{url()}/collect", on=url())
    assert answer.status_code == 503 and "key" in answer.text


def _actor():  # type: ignore[no-untyped-def]
    from panel.audit import Actor

    return Actor()


def test_a_restored_copy_collects_nothing_by_a_button_either(
    admin: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin.post(NEW, **form())

    def refuse(_data_dir: object) -> None:
        from panel.errors import RestoredCopy

        raise RestoredCopy("This is a restored copy.", "Confirm it first.")

    monkeypatch.setattr(identity, "require_ours", refuse)
    answer = admin.post(f"{url()}/collect", on=url())
    assert (answer.status_code, "restored copy" in answer.text) == (409, True)


# -- older mail, skipped mail --------------------------------------------------------------------


def test_older_mail_is_counted_offered_and_collected(
    admin: Browser, app: Flask, settings: Settings, dovecot: DovecotServer
) -> None:
    at_dovecot(admin, dovecot, b"Subject: one\r\n\r\n", b"Subject: two\r\n\r\n")
    assert "older message" not in admin.get(url()).text, "nothing is known before the first round"
    collect(app, settings)
    assert "Collect the 2 older messages" in admin.get(url()).text
    page = press(admin, "older")
    collect(app, settings)
    admin.get(page)
    shown = admin.get(url()).text
    assert "Collected: 2 new messages." in shown and "older message" not in shown
    with db.database.connection_context():
        assert Account.get().begin == "all"
        last = Activity.select().order_by(Activity.id.desc()).get()
    assert (last.what, last.subject, last.detail) == ("mailbox changed", ADDRESS, "New: begin.")


def test_the_shell_asks_for_older_mail_too(
    admin: Browser, app: Flask, settings: Settings, dovecot: DovecotServer, cli: Cli
) -> None:
    at_dovecot(admin, dovecot, b"Subject: one\r\n\r\n")
    early = cli("accounts", "collect-older", ADDRESS)
    assert (early.returncode, "not collected yet" in early.stderr) == (3, True)
    collect(app, settings)
    assert cli("accounts", "collect-older", ADDRESS).returncode == 0
    again = cli("accounts", "collect-older", ADDRESS)
    assert (again.returncode, "already" in again.stderr) == (3, True)
    assert cli("collect", "--once", "--account", ADDRESS).returncode == 0
    assert len(list((settings.mail_spool / stored().account.uuid / "new").iterdir())) == 1


def test_an_empty_mailbox_offers_no_older_mail(
    admin: Browser, app: Flask, settings: Settings, dovecot: DovecotServer
) -> None:
    at_dovecot(admin, dovecot)
    collect(app, settings)
    assert "older message" not in admin.get(url()).text


def test_a_skipped_message_is_listed_and_tried_again(
    admin: Browser, app: Flask, settings: Settings, dovecot: DovecotServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_dovecot(admin, dovecot, b"Subject: large\r\n\r\n" + b"x" * 5000, begin="all")
    real = Policy.of
    monkeypatch.setattr(Policy, "of", lambda settings: replace(real(settings), max_message=1000))
    collect(app, settings)
    assert "Skipped messages" in admin.get(url()).text
    page = press(admin, "retry")
    collect(app, settings)
    admin.get(page)
    assert "1 message was skipped." in admin.get(url()).text, "it is still too large"
    monkeypatch.setattr(Policy, "of", real)
    page = press(admin, "retry")
    collect(app, settings)
    admin.get(page)
    shown = admin.get(url()).text
    assert "Collected: 1 new message." in shown and "Skipped messages" not in shown
    with db.database.connection_context():
        assert not Skipped.select().exists()


# -- the test of what is stored --------------------------------------------------------------------


def test_the_stored_password_is_tested_from_the_page(admin: Browser, dovecot: DovecotServer) -> None:
    at_dovecot(admin, dovecot, b"Subject: one\r\n\r\n")
    page = admin.post(f"{url()}/test", on=url()).text
    assert "holds 1 message" in page and "Test passed" in page
    token = re.search(r'name="csrf_token" value="([^"]+)"', admin.get(url()).text)
    assert token
    answer = admin.client.post(f"{url()}/test", data={"csrf_token": token[1]}, headers={"HX-Request": "true"})
    assert answer.mimetype == "text/event-stream" and "Test passed" in answer.text
    assert "Save anyway" not in answer.text and "data-go" not in answer.text


def test_a_server_that_sql_put_there_gets_no_login(admin: Browser, house: House, settings: Settings) -> None:
    admin.post(NEW, **form())
    with ScriptedServer(lambda talk: talk.send(b"* OK\r\n")) as rogue:
        object.__setattr__(settings, "mail_ports", frozenset({rogue.port}))
        with db.database.connection_context():
            house.enable()
            house.sql(f"UPDATE endpoint SET host = '127.0.0.1', port = {rogue.port}, security = 'none'")
        answer = admin.post(f"{url()}/test", on=url())
        assert answer.status_code >= 400
        answer = admin.client.post(
            f"{url()}/test",
            data={"csrf_token": re.findall(r'csrf_token" value="([^"]+)', admin.get(url()).text)[0]},
            headers={"HX-Request": "true"},
        )
        assert answer.status_code == 422 and "problem" in answer.text
        assert rogue.connections == 0


def test_the_page_says_how_mail_comes_in_and_believes_no_process_that_is_dead(admin: Browser) -> None:
    admin.post(NEW, **form())
    assert "Checked every 60 seconds" in admin.get(url()).text
    account = stored().account
    Collection.insert(account=account, parked_by=holder(), last_success_at=db.now()).execute()
    page = admin.get(url()).text
    assert "Connected, new mail arrives at once" in page and "Checked every" not in page
    with subprocess.Popen(["sleep", "60"]) as process:
        Collection.update(parked_by=holder().replace(str(os.getpid()), str(process.pid))).execute()
        assert "Connected, new mail" in admin.get(url()).text
        process.kill()
    assert "Checked every 60 seconds" in admin.get(url()).text
