"""Promises of the list in parts, and of the numbers that are found by index: nothing is missing or told twice."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask

from panel import db
from panel.accounts import listing, names, overview, removal, service, totals
from panel.accounts.overview import Line
from panel.accounts.service import Seen
from panel.audit import Actor
from panel.listing import ListQuery
from panel.models import Account, Collection, Endpoint
from panel.secret import Secret
from tests.encryption.conftest import House
from tests.sign_in.browser import Browser, add_person


def walk(house: House, **query: Any) -> list[Line]:
    """Every row of a list, page after page; each page says which of how many they are."""
    found: list[Line] = []
    part, number = None, 0
    while part is None or number < part.pages:
        number += 1
        part = listing.page(house.vault, ListQuery(**query, page=number))
        found += part.rows
        assert part.last == len(found)
    assert part.total == len(found)
    return found


def test_every_mailbox_stands_on_one_page_whatever_the_order(house: House) -> None:
    with db.database.connection_context():
        for number in range(323):
            house.add(host=f"imap{number % 7}.example.org")
        lines = overview.lines(house.vault)
        for line in lines[::9]:
            service.pause(line.uuid, Actor())
        for line in lines[5::31]:
            removal.remove(line.uuid, Actor())
        lines = overview.lines(house.vault)
        assert len(lines) == 323 - len(range(5, 323, 31))
        by_address = [line.uuid for line in lines]
        by_server = [line.uuid for line in sorted(lines, key=lambda each: (each.host, each.address))]
        worst_first = [each.uuid for each in lines if not each.paused] + [e.uuid for e in lines if e.paused]
        for search in ("", "example"):
            assert [line.uuid for line in walk(house, q=search, sort="address")] == by_address
            assert [line.uuid for line in walk(house, q=search, sort="server")] == by_server
            assert [line.uuid for line in walk(house, q=search)] == worst_first  # those others are new
            paused = [line.uuid for line in lines if line.paused]
            assert [line.uuid for line in walk(house, q=search, state="paused")] == paused
        assert listing.page(house.vault, ListQuery(page=10**9)).page == 7


@pytest.mark.parametrize("ok", [True, False], ids=["most are ok", "most fail"])
def test_no_page_is_missing_among_many_that_are_ok(house: House, ok: bool) -> None:
    with db.database.connection_context():
        for number in range(260):
            uuid = house.add(host=f"imap{number % 3}.example.org").account_id
            problem = None if (number % 11 > 1) == ok else "It fails."
            Collection.insert(
                account=uuid, problem=problem, last_success_at=db.now(), next_due_at=db.now() + 60
            ).execute()
        lines = overview.lines(house.vault)
        good = [line.uuid for line in lines if not line.problem]
        bad = [line.uuid for line in lines if line.problem]
        for search in ("", "example"):
            assert [line.uuid for line in walk(house, q=search)] == bad + good
            assert [line.uuid for line in walk(house, q=search, state="ok")] == good
            by_server = [
                each.uuid for each in sorted(lines, key=lambda e: (e.host, e.address)) if not each.problem
            ]
            assert [line.uuid for line in walk(house, q=search, state="ok", sort="server")] == by_server
        assert listing.counts(house.vault, ListQuery())["ok"] == len(good)


def test_a_search_finds_any_part_of_address_and_server_in_whatever_case(house: House) -> None:
    with db.database.connection_context():
        uuid = house.add(host="mx.jansen-logistik.example").account_id
        Account.update(address="Büro@Spedition.example").where(Account.uuid == uuid).execute()
        house.add()
        for part in ("BÜRO", "büro@sped", "dition", "logistik", "x", "Jansen-L"):
            found = listing.page(house.vault, ListQuery(q=part)).rows
            assert uuid in [line.uuid for line in found], part
        for part in (uuid, uuid[:8], "no such", "%", "_", "\t\n", "'", "🐑", "a" * 200):
            assert listing.page(house.vault, ListQuery(q=part)).total == 0, part


def test_a_search_sees_what_was_added_changed_removed_and_restored_just_now(house: House) -> None:
    def found(part: str) -> int:
        return listing.page(house.vault, ListQuery(q=part)).total

    with db.database.connection_context():
        assert found("example.org") == 0
        endpoint = house.add()
        assert found("example.org") == 1
        box, where = service.mailbox_of(endpoint.account), replace(endpoint.server, host="new.example.net")
        service.edit(house.vault, endpoint.account_id, box, where, Secret("x"), Seen(), Actor())
        assert found("new.example.net") == 1
        removal.remove(endpoint.account_id, Actor())
        assert found("example") == 0
        removal.restore(endpoint.account_id, Actor())
        assert found("example") == 1


def test_a_search_whose_result_another_thread_forgets_is_answered(house: House) -> None:
    class Forgotten(dict[bytes, list[int]]):
        def __setitem__(self, key: bytes, value: list[int]) -> None:
            """As if eight other searches had come in between."""

    with db.database.connection_context():
        house.add()
        known = replace(names.latest(), found=Forgotten())
        assert known.find("0@EXAMPLE") == [0] and known.find("nobody") == []
        known = names.latest()
        for number in range(3 * names.REMEMBERED):
            known.find(str(number))
        assert len(known.found) == names.REMEMBERED


def test_a_mailbox_without_its_server_hides_no_page(house: House) -> None:
    with db.database.connection_context():
        for _ in range(52):
            house.add()
        Endpoint.delete().where(Endpoint.id == 51).execute()
        found = listing.page(house.vault, ListQuery())
        assert found.pages == 2 and len(found.rows) in (49, 50)


def test_pages_lead_to_each_other_and_an_unknown_one_is_the_last(app: Flask, house: House) -> None:
    with db.database.connection_context():
        for _ in range(101):
            house.add()
    add_person()
    browser = Browser(app)
    browser.sign_in()
    first, second = browser.get("/accounts").text, browser.get("/accounts?page=2").text
    assert "?page=2" in first
    assert "?page=1" in second and "?page=3" in second
    for nonsense in (
        "page=nonsense",
        "page=-1",
        "page=99999999999999",
        "state=x&sort=y",
        "q=%00",
        "q=" + 300 * "x",
    ):
        assert browser.get(f"/accounts?{nonsense}").status_code == 200


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


def test_mailboxes_without_a_password_are_found_by_their_own_index(house: House) -> None:
    """And not among all that are stored in clear text, which SQLite prefers where encryption is off."""
    with db.database.connection_context():
        plan = house.sql("EXPLAIN QUERY PLAN " + totals.SILENT, 0, 0, 0, "[]")
    assert any("endpoint_empty" in row[-1] for row in plan), plan
