"""Promises of many mailboxes at once: what is named is what is done, to all of it, and it can be undone."""

from __future__ import annotations

import html
import itertools
import re
import threading
import time
from collections.abc import Callable
from subprocess import CompletedProcess
from typing import Any

import pytest
from flask import Flask
from werkzeug.datastructures import MultiDict
from werkzeug.test import TestResponse

from panel import db
from panel.accounts import bulk, job, overview, removal, service
from panel.accounts.bulk import Action, Done, Selection
from panel.audit import Actor
from panel.errors import BadInput
from panel.listing import ListQuery
from panel.models import Account, Activity, Collection, Endpoint, Job
from tests.encryption.conftest import House
from tests.sign_in.browser import Browser, add_person, later

Run = Callable[..., CompletedProcess[str]]


def add(house: House, count: int, **over: Any) -> list[str]:
    with db.database.connection_context():
        return [str(house.add(**over).account_id) for _ in range(count)]


def states() -> list[bool]:
    with db.database.connection_context():
        return [row.paused_at is not None for row in Account.select().join(Endpoint).order_by(Endpoint.id)]


def send(browser: Browser, uuids: list[str], on: str = "/accounts", **fields: str) -> TestResponse:
    """Send the form of the list, as a browser does: with every box that is ticked."""
    token = re.search(r'name="csrf_token" value="([^"]+)"', browser.get(on).text)
    assert token
    data = MultiDict([("uuid", uuid) for uuid in uuids] + list(fields.items()) + [("csrf_token", token[1])])
    return browser.client.post("/accounts/bulk", data=data)


def confirm(
    browser: Browser, asking: TestResponse, before: Callable[[], object] = list, **fields: str
) -> TestResponse:
    """Follow to the page that asks, and send its form."""
    assert asking.status_code == 303, asking.text
    shown = browser.get(asking.location)
    assert shown.status_code == 200
    sent = re.findall(
        r'<input type="hidden" name="([^"]+)" value="([^"]*)"', shown.text.partition("<main")[2]
    )
    before()
    data = MultiDict([(name, html.unescape(value)) for name, value in sent] + list(fields.items()))
    return browser.client.post("/accounts/bulk", data=data)


def test_a_selection_is_paused_at_once_and_undone(house: House, admin: Browser) -> None:
    first, _, third = add(house, 3)
    assert send(admin, [first, third], action="pause", next="/accounts?sort=address").location.endswith(
        "sort=address"
    )
    assert states() == [True, False, True]
    page = admin.get("/accounts").text
    assert "2 mailboxes paused." in page
    undo = re.search(r'action="(/accounts/undo-pause-\d+)"', page)
    assert undo
    assert admin.post(undo[1], on="/profile").status_code == 303
    assert states() == [False, False, False]
    admin.post(undo[1], on="/profile")
    assert "There is nothing left to undo." in admin.get("/accounts").text


def test_what_was_paused_before_stays_paused_after_undo(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    uuids = add(house, 3)
    with db.database.connection_context():
        service.pause(uuids[0], Actor())
        later(monkeypatch, 5)
        [done] = bulk.run(uuids, Action("pause"), db.now(), Actor())
        assert (done.done, done.changed) == (3, 2)
        bulk.undo("pause", db.now(), Actor())
    assert states() == [True, False, False]


def test_all_that_match_are_named_and_counted_before_they_are_paused(house: House, admin: Browser) -> None:
    add(house, 60, host="imap.one.example")
    add(house, 5, host="imap.two.example")
    asking = send(admin, [], all="1", q="imap.one", state="", action="pause", on="/accounts?q=imap.one")
    page = admin.get(asking.location).text
    assert "Pause 60 mailboxes?" in page and "All that match “imap.one”" in page
    assert "0@example.org" in page and "and 50 more" in page
    assert sum(states()) == 0
    assert confirm(admin, asking).status_code == 303
    assert states() == [True] * 60 + [False] * 5
    with db.database.connection_context():
        each = Activity.select().where(Activity.what == "mailbox paused").count()
        one = Activity.get(Activity.what == "mailboxes paused")
        assert each == 60 and one.subject == "60 mailboxes"


def test_nothing_is_done_where_others_match_by_now(house: House, admin: Browser) -> None:
    add(house, 3)
    asking = send(admin, [], all="1", q="example", action="remove")
    again = confirm(admin, asking, before=lambda: add(house, 1))
    assert again.status_code == 409 and "Meanwhile 4 mailboxes are affected, not 3." in again.text
    assert "Remove 4 mailboxes?" in again.text
    with db.database.connection_context():
        assert len(overview.lines(house.vault)) == 4


def test_nothing_is_removed_where_as_many_others_match_by_now(house: House, admin: Browser) -> None:
    first, second, _ = add(house, 3)

    def other_fails() -> None:
        with db.database.connection_context():
            Collection.delete().execute()
            Collection.insert(account=second, problem="It fails.").execute()

    with db.database.connection_context():
        Collection.insert(account=first, problem="It fails.").execute()
    asking = send(admin, [], all="1", state="failing", action="remove")
    again = confirm(admin, asking, before=other_fails)
    assert again.status_code == 409 and "other mailboxes are affected, as many as before" in again.text
    assert "1@example.org" in again.text and "0@example.org" not in again.text
    with db.database.connection_context():
        assert len(overview.lines(house.vault)) == 3
    assert confirm(admin, send(admin, [], all="1", state="failing", action="remove")).status_code == 303
    with db.database.connection_context():
        assert len(overview.lines(house.vault)) == 2


def test_removing_asks_for_the_password_and_is_then_done(
    house: House, admin: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    uuids = add(house, 3)
    later(monkeypatch, 3000)
    with db.database.connection_context():
        db.database.execute_sql("UPDATE session SET seen_at = ?", (db.now(),))
    answer = confirm(admin, send(admin, uuids[:2], action="remove"))
    while answer.status_code == 303:
        answer = admin.get(answer.location)
    assert "password" in answer.text
    with db.database.connection_context():
        assert len(overview.lines(house.vault)) == 3


def test_removed_ones_come_back_but_for_those_that_were_added_again(house: House, admin: Browser) -> None:
    uuids = add(house, 3)
    assert confirm(admin, send(admin, uuids, action="remove")).status_code == 303
    with db.database.connection_context():
        assert overview.lines(house.vault) == []
        again = house.add().account_id
        Account.update(address="1@example.org").where(Account.uuid == again).execute()
        removed_at = Account.select(Account.removed_at).where(Account.uuid == uuids[0]).scalar()
    admin.post(f"/accounts/undo-remove-{removed_at}", on="/profile")
    assert (
        "2 mailboxes restored. Not possible: 1@example.org: it has been added again"
        in admin.get("/accounts").text
    )


def test_the_interval_is_changed_or_nothing_is(house: House, admin: Browser) -> None:
    uuids = add(house, 2)
    asking = send(admin, uuids, action="interval")
    for wrong in ("5", "x", "", "-60", "99999999999999999999"):
        assert confirm(admin, asking, interval=wrong).status_code == 422
    assert confirm(admin, asking, interval="900").status_code == 303
    with db.database.connection_context():
        assert {row.interval for row in Account.select()} == {900}


def test_after_collecting_is_changed_where_the_protocol_can_do_it(house: House, admin: Browser) -> None:
    uuids = add(house, 2)
    pop = add(house, 1, protocol="pop3", port=995)
    asking = send(admin, uuids + pop, action="after")
    assert confirm(admin, asking, on_server="move", move_to="").status_code == 422
    assert confirm(admin, asking, on_server="nonsense").status_code == 422
    assert confirm(admin, asking, on_server="move", move_to="INBOX").status_code == 303
    assert "No mailbox changed. Not possible:" in admin.get("/accounts").text
    assert confirm(admin, asking, on_server="move", move_to="Done 🐑").status_code == 303
    assert "2 mailboxes changed. Not possible: 2@example.org: POP3 can only" in admin.get("/accounts").text
    with db.database.connection_context():
        assert [row.move_to for row in Account.select().order_by(Account.address)] == [
            "Done 🐑",
            "Done 🐑",
            "",
        ]


def test_collect_now_and_resume_make_them_due(house: House, admin: Browser) -> None:
    uuids = add(house, 2)
    with db.database.connection_context():
        for uuid in uuids:
            Collection.insert(account=uuid, next_due_at=db.now() + 999).execute()
        service.pause(uuids[1], Actor())
    send(admin, uuids, action="collect")
    with db.database.connection_context():
        due = [Collection.get(Collection.account == uuid).next_due_at for uuid in uuids]
        assert due[0] <= db.now() < due[1]
    send(admin, uuids, action="resume")
    with db.database.connection_context():
        assert Collection.get(Collection.account == uuids[1]).next_due_at <= db.now()


def test_nonsense_and_the_wrong_role_change_nothing(app: Flask, house: House, admin: Browser) -> None:
    uuids = add(house, 2)
    assert send(admin, uuids, action="explode").status_code in (400, 422)
    assert send(admin, ["x", "' OR 1=1 --", "🐑"], action="pause").status_code == 303
    assert send(admin, [], action="pause").status_code == 303
    assert admin.get("/accounts/bulk?action=remove").status_code in (400, 422)
    assert admin.client.post("/accounts/bulk", data={"uuid": uuids[0], "action": "pause"}).status_code == 400
    assert admin.get("/accounts/jobs/7").status_code == 404
    for role in ("agent", "user"):
        add_person(f"{role}@example.org", role)
        other = Browser(app)
        other.sign_in(f"{role}@example.org")
        for path in (
            "/accounts",
            "/accounts/bulk?action=pause",
            "/accounts/import",
            "/accounts/export.csv",
            "/accounts/jobs/1",
        ):
            assert other.get(path).status_code == 403
        assert send(other, uuids, on="/profile", action="pause").status_code == 403
    assert states() == [False, False]


def finished(number: int) -> Job:
    for _ in range(300):
        with db.database.connection_context():
            row = job.find(number)
        if row.finished_at is not None:
            return row
        time.sleep(0.05)
    raise AssertionError("the job did not finish")


def test_many_are_a_job_that_shows_how_far_it_is(
    house: House, admin: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    from panel.accounts import bulk_routes

    monkeypatch.setattr(bulk_routes, "AT_ONCE", 3)
    monkeypatch.setattr(bulk, "BATCH", 2)
    add(house, 7)
    ticks = itertools.count(db.now())  # a second passes with each look at the clock
    answer = confirm(
        admin,
        send(admin, [], all="1", action="pause"),
        lambda: monkeypatch.setattr(db, "now", lambda: next(ticks)),
    )
    assert answer.location == "/accounts/jobs/1"
    row = finished(1)
    assert (row.total, row.done, row.changed) == (7, 7, 7)
    page = admin.get("/accounts/jobs/1").text
    assert "7 of 7" in page and "7 mailboxes" in page
    undo = re.search(r'action="(/accounts/undo-pause-\d+)"', page)
    assert undo and admin.post(undo[1], on="/accounts/jobs/1").status_code == 303
    assert sum(states()) == 0


def test_a_job_whose_process_ended_says_so(
    house: House, admin: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def work() -> object:
        yield Done(1, 1)
        begun.set()
        go_on.wait(60)

    with db.database.connection_context():
        number = job.start("pause", 5, Actor("ada"), work)  # type: ignore[arg-type]
    assert begun.wait(60)
    shown = admin.get(f"/accounts/jobs/{number}")
    assert "1 of 5" in shown.text and "Stopped" not in shown.text and "Undo" not in shown.text
    headers = {"HX-Request": "true"}
    assert admin.client.get(f"/accounts/jobs/{number}?done=1", headers=headers).status_code == 204
    assert admin.client.get(f"/accounts/jobs/{number}?done=0", headers=headers).status_code == 200
    later(monkeypatch, job.SILENT_SECONDS + 1)
    stopped = admin.get(f"/accounts/jobs/{number}").text
    assert "Stopped" in stopped and re.search(r'action="/accounts/undo-pause-\d+"', stopped)
    go_on.set()
    finished(number)


def test_a_batch_that_fails_leaves_those_before_it_done(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "BATCH", 2)
    uuids = add(house, 5)
    with db.database.connection_context():
        work = bulk.run(uuids, Action("pause"), db.now(), Actor())
        next(work)
        work.close()  # type: ignore[attr-defined]
        assert Activity.get(Activity.what == "mailboxes paused").subject == "2 mailboxes"
        assert Selection(query=ListQuery(state="paused")).resolve(house.vault) == uuids[:2]
        with pytest.raises(BadInput):
            list(bulk.run(uuids, Action("interval", 1), 0, Actor()))
        removal.remove(uuids[0], Actor())
        assert Selection(tuple(uuids[:2])).resolve(house.vault) == uuids[1:2]


def test_the_list_answers_with_the_rows_that_changed(house: House, admin: Browser) -> None:
    uuids = add(house, 3)
    page = admin.get("/accounts").text
    poll = re.search(r'id="poll" hx-get="([^"]+)"', page)
    assert poll
    address, headers = html.unescape(poll[1]), {"HX-Request": "true"}
    assert admin.client.get(address, headers=headers).status_code == 204
    with db.database.connection_context():
        service.pause(uuids[1], Actor())
        removal.remove(uuids[2], Actor())
    changed = admin.client.get(address, headers=headers)
    assert changed.status_code == 200
    assert re.findall(r'hx-target="#(\w+)"', changed.text) == ["chips", "m2", "m3"]
    assert "Paused" in changed.text and "0@example.org" not in changed.text
    for nonsense in ("rows=", "rows=%00", "rows=AAAA", "rows=" + "A" * 4000, "rows=🐑"):
        assert admin.client.get(f"/accounts?{nonsense}", headers=headers).status_code == 200


def test_a_full_page_of_failing_mailboxes_is_small(house: House, admin: Browser) -> None:
    for uuid in add(house, 60, username="x" * 100):
        with db.database.connection_context():
            problem = "The mail server refused the password: AUTHENTICATIONFAILED. " * 2
            Collection.insert(
                account=uuid, problem=problem, remedy="Enter it again.", next_due_at=db.now() + 99
            ).execute()
    assert len(admin.get("/accounts").data) < 100_000


@pytest.mark.parametrize("what", ["pause", "resume"])
def test_the_shell_pauses_and_resumes_many(house: House, cli: Run, what: str) -> None:
    add(house, 3, host="imap.one.example")
    add(house, 1, host="imap.two.example")
    before, after = (False, True) if what == "pause" else (True, False)
    if what == "resume":
        cli("accounts", "pause", "--search", "example")
    assert cli("accounts", what, "0@example.org", "1@example.org").returncode == 0
    assert states() == [after, after, before, before]
    many = cli("accounts", what, "--search", "imap.ONE")
    assert many.returncode == 0 and "1 of 3 mailboxes" in many.stdout
    assert states() == [after, after, after, before]
    assert cli("accounts", what).returncode == 2
    assert cli("accounts", what, "0@example.org", "--search", "x").returncode == 2
    assert cli("accounts", what, "--search", "no such").returncode == 3
    assert cli("accounts", what, "0@example.org", "no@example.org").returncode == 3


def test_the_shell_removes_many(house: House, cli: Run) -> None:
    add(house, 4)
    assert cli("accounts", "remove", "--search", "example").returncode == 3  # nobody there to ask
    removed = cli("accounts", "remove", "--search", "example", "--yes")
    assert removed.returncode == 0 and "4 mailboxes were removed" in removed.stdout
    assert cli("accounts", "restore", "0@example.org").returncode == 0
    assert cli("accounts", "remove", "0@example.org", "--yes", "--now").returncode == 0
    with db.database.connection_context():
        assert Account.select().count() == 3
