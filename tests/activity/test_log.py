"""Promises of Activity: every event can be found and exported, and contains no secret."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from collections.abc import Callable

import pytest
from flask import Flask

from panel import db
from panel.activity import log
from panel.audit import record
from tests.sign_in.browser import Browser, add_person


@pytest.fixture
def admin(app: Flask) -> Browser:
    add_person()
    browser = Browser(app)
    browser.sign_in()
    return browser


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
        "just now",
        "UTC",
    ):
        assert words in page


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


def test_older_events_are_on_further_pages(admin: Browser) -> None:
    recorded(*(f"account-{n:03}@example.org" for n in range(log.PAGE + 5)))
    first, second = admin.get("/activity").text, admin.get("/activity?page=2").text
    assert f"account-{log.PAGE + 4:03}" in first
    assert "account-000" not in first
    assert "account-000" in second
    for page in ("0", "-1", "abc", "99999"):
        assert admin.get(f"/activity?page={page}").status_code == 200


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
    assert admin.get("/activity?page=9223372036854775807").status_code == 200


def test_nothing_recorded_can_steer_a_terminal(
    admin: Browser, cli: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    recorded("\x1b[2J\x1b]0;pwned\x07 a\r\nb")
    assert "\x1b" not in cli("activity", "list").stdout
