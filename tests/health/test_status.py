"""Promises of /status: support staff see whether mail is collected and passwords are encrypted, no secrets and no paths."""

from __future__ import annotations

import pytest
from flask import Flask

from panel import db
from panel.health import heartbeat
from panel.models import Account, Collection, Heartbeat, LoggedMessage
from tests.encryption.conftest import House
from tests.health.test_overview import state_of_mail
from tests.running import Environ
from tests.sign_in.browser import Browser, add_person


@pytest.fixture
def environ(environ: Environ) -> Environ:
    return environ | {"PANEL_CONTACT": "Dana, extension 17"}


@pytest.fixture
def agent(app: Flask) -> Browser:
    add_person(role="agent")
    browser = Browser(app)
    browser.sign_in()
    return browser


def collected(**over: object) -> None:
    heartbeat.beat()
    for account in Account.select():
        Collection.insert(account=account, last_success_at=db.now() - 60, **over).execute()


def test_an_agent_lands_there_and_sees_that_mail_comes_in(agent: Browser, house: House) -> None:
    with db.database.connection_context():
        house.add()
        collected()
        house.enable()
    assert agent.get("/").location == "/status"
    page = agent.get("/status").text
    for words in ("Collecting mail", "1 min ago", "Encrypted", "Dana, extension 17"):
        assert words in page
    assert str(house.data) not in page


def test_each_problem_is_named(agent: Browser, house: House) -> None:
    with db.database.connection_context():
        house.add()
        collected(problem="The server refused the password.", remedy="An internal hint.")
    page = agent.get("/status").text
    for words in (
        "Not collecting mail",
        "0@example.org",
        "The server refused the password.",
        "Not encrypted",
    ):
        assert words in page


def test_a_mailbox_that_is_paused_on_purpose_is_no_trouble(agent: Browser, house: House) -> None:
    with db.database.connection_context():
        house.add()
        collected(problem="old")
        Account.update(paused_at=db.now()).execute()
    page = agent.get("/status").text
    assert "1 paused" in page
    assert "Needs attention" not in page


def test_with_the_key_away_it_says_that_nothing_is_lost(agent: Browser, house: House) -> None:
    with db.database.connection_context():
        house.add()
        collected()
        house.enable()
    house.key_file.unlink()
    page = agent.get("/status").text
    assert "No mail is collected" in page
    assert "Nothing is lost" in page
    assert str(house.data) not in page


def test_with_no_mailbox_it_does_not_claim_that_mail_comes_in(agent: Browser) -> None:
    page = agent.get("/status").text
    assert state_of_mail(page) == "No mailboxes yet"


def test_a_worker_that_does_not_run_is_said_without_naming_a_path(agent: Browser, house: House) -> None:
    with db.database.connection_context():
        house.add()
        collected()
        Heartbeat.update(beat_at=db.now() - 600).execute()
    page = agent.get("/status").text
    assert "The program that collects mail is not running." in page
    assert state_of_mail(page) == "Not collecting mail"
    assert "script/server" not in page


def test_what_only_administrators_can_use_is_not_shown(agent: Browser, house: House) -> None:
    with db.database.connection_context():
        house.add()
        collected()
    (house.data / "secret-key").chmod(0o644)
    page = agent.get("/status").text
    assert "secret-key" not in page
    assert "flask" not in page


def test_one_field_leads_an_agent_to_the_customers_mail(agent: Browser, house: House) -> None:
    with db.database.connection_context():
        account = house.add().account
        LoggedMessage.create(
            account=account, at=db.now(), size=1, subject="Secret plan", sender_name="Petra H"
        )
    page = agent.get("/status").text
    assert 'action="/messages"' in page and 'name="q"' in page
    assert "Secret plan" not in page and "Petra" not in page
    found = agent.get("/messages?q=petra").text
    assert "Petra H" in found and "Secret plan" not in found
