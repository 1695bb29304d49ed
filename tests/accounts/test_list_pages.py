"""Promises of the list in parts, and of the numbers that are found by index: nothing is missing or told twice."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from flask import Flask

from panel import db
from panel.accounts import overview, totals
from panel.models import Account, Collection, Endpoint
from tests.encryption.conftest import House
from tests.sign_in.browser import Browser, add_person


@pytest.fixture
def house(app: Flask) -> House:
    return House(app.extensions["mailkeep"].settings, app.extensions["mailkeep"].vault)


def test_every_mailbox_stands_on_one_page_by_address(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    with db.database.connection_context():
        for _ in range(123):
            house.add()
        found = [overview.page(house.vault, number) for number in (1, 2, 3, 4)]
        assert [len(each.lines) for each in found] == [50, 50, 23, 0]
        assert [each.more for each in found] == [True, True, False, False]
        assert [line for each in found for line in each.lines] == overview.lines(house.vault)
        assert overview.page(house.vault, -3).number == 1 and overview.page(house.vault, 10**30).lines == []


def test_a_mailbox_without_its_server_hides_no_page(house: House) -> None:
    with db.database.connection_context():
        for _ in range(52):
            house.add()
        Endpoint.delete().where(Endpoint.id == 51).execute()
        found = overview.page(house.vault, 1)
        assert found.more and len(found.lines) in (49, 50)


def test_previous_and_next_lead_from_page_to_page_and_pausing_leads_back(app: Flask, house: House) -> None:
    with db.database.connection_context():
        for _ in range(101):
            house.add()
        uuid = overview.page(house.vault, 2).lines[0].uuid
    add_person()
    browser = Browser(app)
    browser.sign_in()
    first, second = browser.get("/accounts").text, browser.get("/accounts?page=2").text
    assert "?page=2" in first and "Previous" not in first
    assert "?page=1" in second and "?page=3" in second
    assert 'hx-get="/accounts?page=2"' in second  # what replaces itself stays where it is
    assert "Next" not in browser.get("/accounts?page=3").text
    assert browser.get("/accounts?page=nonsense").status_code == 200
    paused = browser.post(f"/accounts/{uuid}/pause", on="/accounts?page=2", page="2")
    assert paused.location == "/accounts?page=2"


STATES = {
    "paused_at": (None, 1),
    "problem": (None, "", "It fails."),
    "success": (None, "now", 1, 2**40),
    "secret": ("sealed", "none"),
}


@pytest.mark.parametrize("on", [False, True], ids=["off", "on"])
def test_the_numbers_are_those_of_the_list(house: House, on: bool) -> None:
    with db.database.connection_context():
        for paused_at, problem, success, secret in itertools.product(*STATES.values()):
            uuid = house.add().account_id
            Account.update(paused_at=paused_at).where(Account.uuid == uuid).execute()
            at = db.now() if success == "now" else success
            Collection.insert(account=uuid, problem=problem, last_success_at=at).execute()
            if secret == "none":
                house.sql("UPDATE endpoint SET clear = NULL, sealed = NULL WHERE account_id = ?", uuid)
        house.add()  # never looked at
        if on:
            house.enable()
        lines = overview.lines(house.vault)
        found = totals.read(house.vault.latest())
        assert found.health == Counter(line.health for line in lines)
        assert found.total == len(lines) == 49 and found.without_server == 0
        running = [line for line in lines if not line.paused]
        assert found.problems == sum(bool(line.problem) for line in running)
        assert found.newest == max(line.last_success_at or 0 for line in running)
        assert found.oldest == min(line.last_success_at or 0 for line in lines if line.health == "ok")
        failing = overview.failing(house.vault.latest(), 3)
        assert len(failing.lines) == 3 and failing.others == found.problems - 3
        assert len(totals.not_ok(house.vault.latest())) == totals.NAMED
