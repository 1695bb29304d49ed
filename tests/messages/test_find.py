"""Promises of the message list: one field finds the customer's mail, whatever was written into the log."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from flask import Flask

from panel import db
from panel.config import Settings
from panel.listing import Listing, ListQuery
from panel.messages import search, service
from panel.messages.rows import MessageLine
from panel.messages.search import Scope
from panel.models import Account, LoggedMessage, MailCount, MailTotal, Message
from tests.sign_in.browser import Browser, add_person

BERLIN = ZoneInfo("Europe/Berlin")
NOON = int(datetime(2026, 11, 25, 12, tzinfo=BERLIN).timestamp())


@dataclass
class Log:
    """A log that a test writes."""

    settings: Settings

    def mailbox(self, address: str) -> Account:
        return Account.create(address=address, created_at=db.now())

    def add(
        self, account: Account, subject: str = "", *, at: int | None = None, waiting: bool = True, **over: Any
    ) -> LoggedMessage:
        at = db.now() if at is None else at
        name = f"{at}.M1P1Q{secrets.token_hex(4)}.host,S=9"
        fetched = Message.create(
            account=account, uidvalidity=1, uid=secrets.randbelow(10**9), name=name, digest=b"x", ready=False
        )
        new = self.settings.mail_spool / account.uuid / "new"
        new.mkdir(parents=True, exist_ok=True)
        if waiting:
            (new / name).write_bytes(b"")
        return LoggedMessage.create(
            **{
                "account": account,
                "at": at,
                "size": 9,
                "subject": subject,
                "fetched": fetched,
                "waiting": waiting,
                **over,
            }
        )

    def skip(self, account: Account, reason: str) -> LoggedMessage:
        return LoggedMessage.create(
            account=account, at=db.now(), size=9, waiting=False, reason=reason, uidvalidity=1, uid=1
        )

    def find(self, q: str = "", state: str = "", page: int = 1, **scope: Any) -> Listing[MessageLine]:
        return search.find(ListQuery(q, state, "", page), BERLIN, self.settings.mail_spool, Scope(**scope))

    def subjects(self, q: str, **scope: Any) -> list[str | None]:
        return [row.subject for row in self.find(q, **scope).rows]


@pytest.fixture
def log(app: Flask, settings: Settings) -> Iterator[Log]:
    db.database.connect()
    yield Log(settings)
    db.database.close()  # which a browser may have done before


@pytest.fixture
def some(log: Log) -> Log:
    orders, service_ = log.mailbox("orders@northwind.example"), log.mailbox("service@lumen.example")
    log.add(orders, "Delivery 40-2281", sender="petra@example.com", sender_name="Petra Hollmann", at=NOON)
    log.add(
        service_, "Zählerstand Oktober", sender="stadtwerke@example.org", sender_name="ÄMTER", at=NOON + 86400
    )
    log.add(orders, "100% off_now!", sender="petra@example.com", at=NOON + 2 * 86400)
    return log


@pytest.mark.parametrize(
    "q, expected",
    [
        ("petra@example.com", ["100% off_now!", "Delivery 40-2281"]),
        ("HOLLMANN", ["Delivery 40-2281"]),
        ("petra orders delivery", ["Delivery 40-2281"]),
        ("petra lumen", []),
        ("lumen", ["Zählerstand Oktober"]),
        ("zählerstand", ["Zählerstand Oktober"]),
        ("ZÄHLERSTAND", ["Zählerstand Oktober"]),
        ("ämter", ["Zählerstand Oktober"]),
        ("Za\u0308hler", ["Zählerstand Oktober"]),
        ("2026-11-25", ["Delivery 40-2281"]),
        ("25.11.2026 petra", ["Delivery 40-2281"]),
        ("26.11.2026 petra", []),
        ("2026-13-45", []),
        ("100%", ["100% off_now!"]),
        ("off_n", ["100% off_now!"]),
        ("off%n", []),
        ("now!", ["100% off_now!"]),
        ("' OR 1=1 --", []),
        ("\x00\ud7ff", []),
    ],
)
def test_one_field_finds_sender_subject_mailbox_and_date(some: Log, q: str, expected: list[str]) -> None:
    assert some.subjects(q) == expected


def test_whoever_may_not_read_subjects_does_not_search_them(some: Log) -> None:
    assert some.subjects("petra", subjects=False) == [None, None]
    assert some.subjects("Delivery", subjects=False) == []
    assert some.subjects("zählerstand", subjects=False) == []


def test_where_each_message_is_now_is_looked_up_and_counted(log: Log) -> None:
    box = log.mailbox("a@example.org")
    waiting, taken = log.add(box, "one"), log.add(box, "two", waiting=False)
    gone = log.add(box, "three")  # the worker has not looked since it was taken
    (
        log.settings.mail_spool / box.uuid / "new" / gone.fetched.name  # type: ignore[union-attr]
    ).rename(log.settings.mail_spool / box.uuid / "new-elsewhere")
    log.skip(box, "Larger than 50 MiB.")
    found = log.find()
    assert [(row.subject, row.place) for row in found.rows] == [
        ("", "skipped"), ("three", "taken"), ("two", "taken"), ("one", "waiting"),
    ]  # fmt: skip
    assert dict(found.counts) == {"": 4, "waiting": 2, "taken": 1, "skipped": 1}
    assert [row.subject for row in log.find(state="taken").rows] == ["two"]
    assert log.find(state="skipped").rows[0].reason == "Larger than 50 MiB."
    assert log.find("one", state="skipped").total == 0 and log.find("one").counts["waiting"] == 1
    assert waiting.waiting and not taken.waiting


def test_what_cannot_be_seen_is_not_called_taken(log: Log) -> None:
    box = log.mailbox("a@example.org")
    log.add(box, "unmounted")
    log.settings.mail_spool.rename(log.settings.mail_spool.with_name("elsewhere"))
    assert log.find().rows[0].place == "waiting"


def test_lists_have_fifty_to_a_page_newest_first(log: Log) -> None:
    box = log.mailbox("a@example.org")
    for number in range(120):
        log.add(box, str(number))
    found = log.find(page=3)
    assert ([row.subject for row in found.rows], found.total, found.pages) == (
        [str(n) for n in range(19, -1, -1)],
        120,
        3,
    )
    beyond = log.find(page=10**9)
    assert (list(beyond.rows), beyond.total) == ([], 120)


ODD = [
    "x'ff00'",
    "1.5",
    "-9223372036854775808",
    "9223372036854775807",
    "9e999",
    "''",
    "'<script>'",
    "char(0)",
    "'../../etc/passwd'",
]


@pytest.mark.parametrize("value", ODD)
def test_no_value_that_sql_wrote_breaks_a_page_or_the_command(
    app: Flask, some: Log, value: str, cli: Any
) -> None:
    with db.database.atomic():
        box = Account.get(Account.address == "orders@northwind.example")
        MailCount.create(account=box, at=db.now(), delivered=1)
        MailTotal.create(at=db.now(), delivered=1)
        for column in ("at", "size", "sender", "sender_name", "subject", "message_id", "waiting", "reason"):
            db.database.execute_sql(f"UPDATE message_log SET {column} = {value} WHERE id = 1")
            some.find("petra"), some.find("2026-11-25")
        db.database.execute_sql(
            f"UPDATE OR IGNORE mail_total SET at = {value}" if value[0] in "-123456789" else "SELECT 1"
        )
        for statement in (
            "mail_total SET delivered",
            "mail_count SET delivered",
            "message SET name",
            "message SET ready",
        ):
            db.database.execute_sql(f"UPDATE {statement} = {value}")
        service.summary(BERLIN, some.settings.mail_spool, "90d")
        service.mailbox_activity(box.uuid, BERLIN, some.settings.mail_spool)
        service.today_for([box.uuid, "gone"], BERLIN)
    add_person()
    browser = Browser(app)
    browser.sign_in()
    for path in ("/messages", "/messages?q=petra", "/messages?state=skipped&page=99999999999"):
        assert browser.get(path).status_code == 200, path
    assert cli("messages", "list").returncode == 0
    json.loads(cli("messages", "list", "--json").stdout)


# -- page and command ------------------------------------------------------------------------


def test_a_subject_is_shown_as_text_only(app: Flask, log: Log) -> None:
    box = log.mailbox("a@example.org")
    log.add(box, "<script>alert(1)</script> {{ 7*7 }}", sender='"><img src=x>', sender_name="<b>bold</b>")
    add_person()
    browser = Browser(app)
    browser.sign_in()
    page = browser.get("/messages").get_data(as_text=True)
    assert "&lt;script&gt;alert(1)&lt;/script&gt; {{ 7*7 }}" in page and "&lt;b&gt;bold&lt;/b&gt;" in page
    assert "<img src=x" not in page and "<b>" not in page


def test_agents_see_time_mailbox_sender_and_size_but_no_subject(app: Flask, some: Log) -> None:
    add_person("agent@example.org", role="agent")
    browser = Browser(app)
    browser.sign_in("agent@example.org")
    page = browser.get("/messages").get_data(as_text=True)
    assert "Petra Hollmann" in page and "orders@" in page and "9 B" in page
    assert "Delivery" not in page and "Subject" not in page and "/accounts" not in page
    assert "No matching messages" in browser.get("/messages?q=Delivery").get_data(as_text=True)


def test_the_command_lists_what_the_page_shows(some: Log, cli: Any) -> None:
    found = json.loads(cli("messages", "list", "--from", "PETRA", "--json").stdout)
    assert [each["subject"] for each in found] == ["100% off_now!", "Delivery 40-2281"]
    assert set(found[0]) == {
        "at", "mailbox", "account", "sender", "sender_name", "subject", "message_id", "size", "state", "reason", "file",
        "went_at", "attempts", "answer",
    }  # fmt: skip
    assert found[0]["state"] == "waiting" and found[0]["at"].startswith("2026-11-27T")
    one = cli("messages", "list", "--account", "service@lumen.example", "--since", "2026-11-26").stdout
    assert "ÄMTER <stadtwerke@example.org>: Zählerstand Oktober" in one and one.count("\n") == 1
    assert cli("messages", "list", "--since", "2026-11-27", "--text", "zählerstand").stdout.startswith(
        "No matching"
    )
    assert cli("messages", "list", "zählerstand", "ämter").stdout == one
    old = some.mailbox("service2@lumen.example")
    some.add(old, "Of the removed one")
    Account.update(removed_at=db.now()).where(Account.uuid == old.uuid).execute()
    some.add(some.mailbox("service2@lumen.example"), "Of the one added again")
    listed = cli("messages", "list", "--account", "service2@lumen.example").stdout
    assert "added again" in listed and "removed" not in listed
    for arguments in (["--account", "x@example.org"], ["--account", ""]):
        assert cli("messages", "list", *arguments).returncode == 3
