"""Promises of Activity: every event can be found and exported, and contains no secret."""

from __future__ import annotations

import csv
import html
import io
import json
import re
import sqlite3
import subprocess
from collections.abc import Callable

import pytest
from flask import Flask

from panel import db
from panel.activity import log
from panel.audit import record
from panel.models import Activity
from tests.sign_in.browser import Browser, add_person


def recorded(*subjects: str, what: str = "mailbox added") -> None:
    with db.database.connection_context():
        for subject in subjects:
            record(what, subject, "New: host.", who="ada@example.org", address="192.0.2.7")


def test_the_page_shows_who_did_what_when_and_from_where(admin: Browser) -> None:
    recorded("support@example.org")
    page = admin.get("/activity").text
    for words in (
        "Mailbox added",
        "support@example.org",
        "ada@example.org",
        "192.0.2.7",
        "New: host.",
        "Today, ",
        "UTC",
    ):
        assert words in page


def test_an_event_begins_with_a_capital_and_keeps_its_names(admin: Browser) -> None:
    with db.database.connection_context():
        record("OAuth2 app added", "Contoso", who="ada@example.org")
    assert "<strong>OAuth2 app added</strong>" in admin.get("/activity").text


def test_what_was_recorded_is_escaped(admin: Browser) -> None:
    recorded("<script>alert(1)</script>")
    assert "<script>alert" not in admin.get("/activity").text


def test_filters_by_kind_and_by_text(admin: Browser) -> None:
    recorded("one@example.org")
    recorded("two@example.org", what="mailbox removed")
    assert "one@example.org" not in admin.get("/activity?what=mailbox+removed").text
    assert "two@example.org" in admin.get("/activity?what=mailbox+removed").text
    found = admin.get("/activity?text=one%40").text
    assert "one@example.org" in found
    assert "two@example.org" not in found
    assert "No matching events." in admin.get("/activity?text=%25").text


def link(page: str, rel: str) -> str | None:
    found = re.search(rf'rel="{rel}" href="([^"]+)"', page)
    return html.unescape(found[1]) if found else None


def test_older_events_are_on_further_pages_and_back(admin: Browser) -> None:
    recorded(*(f"account-{n:03}@example.org" for n in range(2 * log.PAGE + 5)))
    first = admin.get("/activity").text
    assert f"account-{2 * log.PAGE + 4:03}" in first and f"account-{log.PAGE + 4:03}@" not in first
    second = admin.get(link(first, "next") or "").text
    assert f"account-{log.PAGE + 4:03}@" in second and "account-000" not in second
    third = admin.get(link(second, "next") or "").text
    assert "account-000" in third and link(third, "next") is None
    assert events_of(admin.get(link(third, "prev") or "").text) == events_of(second)
    assert link(first, "prev") is None
    for odd in (
        "before=0",
        "before=-1",
        "before=abc",
        f"before={2**80}",
        f"after={2**80}",
        "after=-5",
        "after=x",
    ):
        assert admin.get(f"/activity?{odd}").status_code == 200


def events_of(page: str) -> list[str]:
    return re.findall(r"account-\d+", page)


def test_every_event_is_met_once_by_going_back_through_a_filter(admin: Browser) -> None:
    with db.database.connection_context():
        for number in range(3 * log.PAGE):
            record("mailbox added" if number % 2 else "mailbox removed", f"account-{number:03}", who="ada")
    seen, url = [], "/activity?what=mailbox+added&who=ada&days=1"
    while url:
        page = admin.get(url).text
        seen += events_of(page)
        url = link(page, "next") or ""
    assert seen == [f"account-{number:03}" for number in range(3 * log.PAGE) if number % 2][::-1]


def test_an_exact_name_is_found_in_all_events_and_a_part_of_one_among_the_newest(
    admin: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "SCANNED", 20)
    recorded("needle@example.org")
    recorded(*(f"hay-{n}@example.org" for n in range(60)))
    assert "needle@example.org</td>" in re.sub(
        r"<span.*?</span>", "", admin.get("/activity?text=needle@example.org").text
    )
    page = admin.get("/activity?text=eedle").text
    assert "No matching events so far." in page and "Searched back to" in page
    turns = 0
    while "needle@example.org" not in page:
        page = admin.get(link(page, "next") or "").text
        turns += 1
    assert turns == 3 and "Searched back to" not in page
    assert [event.subject for event in shell_events(text="eedle")] == ["needle@example.org"]


def shell_events(**chosen: str) -> list[log.Event]:
    with db.database.connection_context():
        return log.newest(log.Filter(**chosen), 10)  # type: ignore[arg-type]


def test_by_whom_and_from_when(admin: Browser) -> None:
    recorded("today@example.org")
    with db.database.connection_context():
        record("mailbox added", "bob@example.org", who="bob@example.org")
        Activity.insert(
            at=db.now() - 40 * 86400,
            who="old@example.org",
            what="signed in",
            subject="s",
            address="",
            detail="",
        ).execute()
    page = admin.get("/activity?who=bob@example.org").text
    assert "bob@example.org" in page and "today@example.org" not in page
    assert "<option selected>bob@example.org</option>" in page
    page = admin.get("/activity?days=30").text
    assert ">old@example.org</a>" not in page and "today@example.org" in page
    assert ">old@example.org</a>" in admin.get("/activity?days=90").text
    for odd in (
        "days=5",
        "days=x",
        "days=-1",
        f"days={2**70}",
        "who=" + "x" * 1024,
        "what=%00",
        "text=%3Cb%3E",
    ):
        assert admin.get(f"/activity?{odd}").status_code == 200
    assert "<b>" not in admin.get("/activity?text=%3Cb%3E&who=%3Cb%3E").text


def test_csv_respects_the_filter_and_comes_in_parts(admin: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "EXPORTED", 10)
    monkeypatch.setattr(log, "SCANNED", 7)
    recorded(*(f"account-{n:03}" for n in range(45)))
    recorded("other", what="mailbox removed")
    for query, count in (
        ("what=mailbox+added", 45),
        ("text=account-04", 5),
        ("what=mailbox+added&text=account", 45),
    ):
        rows = list(csv.DictReader(io.StringIO(admin.get(f"/activity/activity.csv?{query}").text)))
        assert len(rows) == count == len({row["subject"] for row in rows})
    page = admin.get("/activity?what=mailbox+added&days=7").text
    assert 'href="/activity/activity.csv?what=mailbox+added&amp;days=7"' in page


def test_many_events_do_not_make_the_page_dearer(admin: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in steps of SQLite: going through all of these would take twice what is allowed."""
    with db.database.connection_context():
        db.database.execute_sql(
            """WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000)
            INSERT INTO activity (at, who, what, subject, address, detail)
            SELECT 1700000000 + i, 'p' || (i % 40) || '@example.org', 'kind ' || (i % 60),
              'box' || (i % 5000) || '@example.net', '192.0.2.' || (i % 250), 'New: host.' FROM n"""
        )
    thousands: list[None] = []
    database, real = db.database.obj, db.database.obj._add_conn_hooks

    def counted(connection: sqlite3.Connection) -> None:
        real(connection)
        connection.set_progress_handler(lambda: thousands.append(None), 1000)

    monkeypatch.setattr(database, "_add_conn_hooks", counted)
    for query in (
        "", "before=100000", "what=kind+7", "who=p3@example.org&what=kind+7", "text=box42@example.net",
        "text=nowhere", "text=nowhere&before=180000", "days=30", "who=nobody", "days=30&text=x&what=kind+1",
    ):  # fmt: skip
        thousands.clear()
        assert admin.get(f"/activity?{query}").status_code == 200
        assert len(thousands) < 1200, query


def test_csv_has_every_event_and_nothing_that_a_spreadsheet_would_compute(admin: Browser) -> None:
    recorded('=HYPERLINK("x")', 'quote " and, comma', "+1", "-2", "@x")
    response = admin.get("/activity/activity.csv")
    assert response.mimetype == "text/csv"
    rows = list(csv.DictReader(io.StringIO(response.text)))
    subjects = [row["subject"] for row in rows]
    assert 'quote " and, comma' in subjects
    assert not any(cell[:1] in "=+-@" for row in rows for cell in row.values() if cell)


def test_the_shell_lists_the_same(
    cli: Callable[..., subprocess.CompletedProcess[str]], admin: Browser
) -> None:
    recorded("one@example.org", "two@example.org")
    events = json.loads(cli("activity", "list", "--json", "--what", "mailbox added", "--count", "1").stdout)
    assert [(e["subject"], e["who"], e["address"]) for e in events] == [
        ("two@example.org", "ada@example.org", "192.0.2.7")
    ]
    assert (
        "mailbox added: one@example.org by ada@example.org from 192.0.2.7" in cli("activity", "list").stdout
    )


@pytest.mark.parametrize("role", ["agent", "user"])
def test_agents_and_users_do_not_see_it(app: Flask, role: str) -> None:
    add_person(f"{role}@example.org", role)
    browser = Browser(app)
    browser.sign_in(f"{role}@example.org")
    assert browser.get("/activity").status_code == 403
    assert browser.get("/activity/activity.csv").status_code == 403


def test_a_page_far_beyond_the_last_is_empty(admin: Browser) -> None:
    assert admin.get("/activity?before=9223372036854775807").status_code == 200


def test_nothing_recorded_can_steer_a_terminal(
    admin: Browser, cli: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    recorded("\x1b[2J\x1b]0;pwned\x07 a\r\nb")
    assert "\x1b" not in cli("activity", "list").stdout
