"""Promises of removing: it can be undone for ten minutes, and then nothing is left."""

from __future__ import annotations

from collections.abc import Callable
from subprocess import CompletedProcess

import pytest
from flask import Flask

from panel import db
from panel.accounts import listing, overview, removal, service, totals
from panel.alerts import conditions
from panel.audit import Actor
from panel.collect import due
from panel.collect.lease import Lease, LeaseLost
from panel.collect.round import Collector
from panel.errors import NotFound, Refused
from panel.health import checks, spool
from panel.listing import ListQuery
from panel.models import Account, Collection, Endpoint, Message, SpoolCount
from panel.sending import outbox
from panel.vault import verification
from tests.encryption.conftest import House
from tests.sign_in.browser import Browser, add_person, later

Run = Callable[..., CompletedProcess[str]]


def collected(house: House, **over: object) -> str:
    """A mailbox with a cursor, some mail and a problem."""
    uuid = house.add().account_id
    values = {"last_uid": 7, "problem": "It fails.", "failing_since": 1, "last_success_at": 1} | over
    Collection.insert(account=uuid, **values).execute()
    Message.insert(account=uuid, uidvalidity=1, uid=7, name="x", digest=b"x").execute()
    return uuid


def test_a_removed_mailbox_is_in_no_list_count_or_alert_and_is_not_collected(house: House) -> None:
    with db.database.connection_context():

        def left() -> list[tuple[str, spool.Count]]:
            return checks.gather(house.settings, house.vault).waiting.left

        uuid = collected(house)
        SpoolCount.insert(account=uuid, unread=99_999, oldest_at=1, counted_at=1).execute()
        house.sql(
            "INSERT INTO endpoint (account_id, direction, protocol, host, port, security, username, auth_method,"
            " token_url, address, kind, rev) VALUES (?, 'out', 'smtp', 'h', 465, 'tls', 'u', 'plain', '', 'a', 'password', 1)",
            uuid,
        )
        assert due.find(uuid) and outbox.senders() and left()
        assert len(conditions.found(house.vault)) == 1
        removal.remove(uuid, Actor())
        assert overview.lines(house.vault) == [] and overview.line(house.vault, uuid) is None
        assert listing.page(house.vault, ListQuery()).total == 0
        assert totals.read(house.vault.latest()).total == 0
        assert totals.read(house.vault.latest()).without_server == 0
        assert due.accounts() == [] and due.find(uuid) is None
        assert outbox.senders() == [] and left() == []
        assert overview.failing(house.vault.latest(), 9).lines == [] and conditions.found(house.vault) == []
        with pytest.raises(NotFound):
            service.find(uuid)
        with pytest.raises(NotFound):
            service.find_account("0@example.org")


def test_a_round_that_is_under_way_ends_when_its_mailbox_is_removed(house: House) -> None:
    with db.database.connection_context():
        uuid = collected(house)
        lease = Lease(uuid)
        assert lease.take()
        removal.remove(uuid, Actor())
        with pytest.raises(LeaseLost):
            lease.renew()


def test_a_round_that_is_just_beginning_does_not_collect_what_is_removed_now(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def removed_first(lease: Lease) -> bool:
        removal.remove(lease.account, Actor())
        return taken(lease)

    taken = Lease.take
    with db.database.connection_context():
        uuid = collected(house, problem=None)
        monkeypatch.setattr(Lease, "take", removed_first)
        assert Collector(house.settings, house.vault).collect(uuid, force=True) is None
        row = Collection.get(Collection.account == uuid)
        assert (row.problem, row.leased_by) == (None, None)
    assert not (house.settings.mail_spool / uuid).exists()


@pytest.mark.parametrize("paused", [False, True])
def test_undo_brings_back_cursor_password_and_pause(house: House, paused: bool) -> None:
    with db.database.connection_context():
        house.enable()
        uuid = collected(house)
        if paused:
            service.pause(uuid, Actor())
        before = overview.lines(house.vault)
        removal.remove(uuid, Actor())
        assert removal.restore(uuid, Actor()) == before[0].address
        assert overview.lines(house.vault) == before
        assert Collection.get().last_uid == 7 and Message.select().count() == 1
        assert house.opened(Endpoint.get()) == "hunter2hunter2"


def test_its_record_is_rotated_and_verified_as_long_as_it_is_kept(house: House) -> None:
    with db.database.connection_context():
        uuid = collected(house)
        removal.remove(uuid, Actor())
        house.enable()
        _, sealed, _ = house.row(Endpoint.get())
        assert sealed and house.times_stored("hunter2hunter2") == 0
        house.rotate()
        assert verification.run(house.vault).opened == 1 and house.row(Endpoint.get())[1] != sealed
        removal.restore(uuid, Actor())
        assert house.opened(Endpoint.get()) == "hunter2hunter2"
        house.disable()
        removal.remove(uuid, Actor())
        assert house.row(Endpoint.get())[0] == "hunter2hunter2"


def test_after_ten_minutes_nothing_of_it_is_left(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    with db.database.connection_context():
        uuid = collected(house)
        removal.remove(uuid, Actor())
        later(monkeypatch, removal.UNDO_SECONDS - 1)
        assert not removal.is_due() and removal.purge() == 0
        later(monkeypatch, 1)
        assert removal.is_due()
        with pytest.raises(NotFound):
            removal.restore(uuid, Actor())
        assert removal.purge() == 1 and not removal.is_due()
        assert [table.select().count() for table in (Account, Endpoint, Collection, Message)] == [0, 0, 0, 0]
        db.database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        assert house.times_stored("hunter2hunter2") == 0


@pytest.mark.parametrize("at", [2**40, -5, 0])
def test_a_time_that_cannot_be_does_not_keep_it(house: House, at: int) -> None:
    with db.database.connection_context():
        removal.remove(collected(house), Actor())
        house.sql("UPDATE account SET removed_at = ?", at)
        assert removal.is_due() and removal.purge() == 1


def test_its_address_can_be_added_again_and_undo_then_says_why_not(house: House) -> None:
    with db.database.connection_context():
        uuid = collected(house)
        removal.remove(uuid, Actor())
        again = house.add().account_id
        Account.update(address="0@Example.org").where(Account.uuid == again).execute()
        with pytest.raises(Refused, match="added again"):
            removal.restore(uuid, Actor())
        removal.remove(again, Actor())
        assert removal.restore(uuid, Actor()) == "0@example.org"
        with pytest.raises(Refused, match="added again"):
            removal.restore(again, Actor())


def test_the_shell_removes_restores_and_removes_for_good(house: House, cli: Run) -> None:
    with db.database.connection_context():
        uuid = collected(house)
    removed = cli("accounts", "remove", "0@example.org", "--yes")
    assert removed.returncode == 0 and f"flask accounts restore {uuid}" in removed.stdout
    assert cli("accounts", "show", "0@example.org").returncode == 3
    assert cli("accounts", "restore", uuid).stdout == "0@example.org was restored.\n"
    assert cli("accounts", "restore", uuid).returncode == 3
    assert cli("accounts", "remove", "0@example.org", "--yes").returncode == 0
    assert cli("accounts", "restore", "0@example.org").returncode == 0
    assert cli("accounts", "remove", uuid, "--yes", "--now").returncode == 0
    assert cli("accounts", "restore", uuid).returncode == 3
    with db.database.connection_context():
        assert Account.select().count() == 0


def test_what_was_removed_can_be_deleted_at_once_where_its_password_keeps_the_key_from_changing(
    house: House, cli: Run
) -> None:
    with db.database.connection_context():
        house.enable()
        house.prove()
        broken, kept = house.add(), house.add()
        house.sql("UPDATE endpoint SET sealed = x'0102' || substr(sealed, 3) WHERE id = ?", broken.id)
        removal.remove(broken.account_id, Actor())
        with pytest.raises(Refused, match="flask accounts remove --now ACCOUNT"):
            house.rotate()
        with pytest.raises(Refused, match="flask accounts remove --now ACCOUNT"):
            house.disable()
    done = cli("accounts", "remove", "--now", "0@example.org", "--yes")
    assert done.returncode == 0 and "was removed for good" in done.stdout, done.stderr
    with db.database.connection_context():
        assert removal.find("1@example.org") is None and removal.find(kept.account_id) is None
        house.rotate()


def test_the_page_offers_undo(app: Flask, house: House) -> None:
    with db.database.connection_context():
        uuid = collected(house)
    add_person()
    browser = Browser(app)
    browser.sign_in()
    browser.post(f"/accounts/{uuid}/remove")
    listed = browser.get("/accounts").text
    assert "0@example.org was removed" in listed and f"/accounts/{uuid}/restore" in listed
    assert browser.get(f"/accounts/{uuid}").status_code == 404
    assert browser.post(f"/accounts/{uuid}/restore", on="/profile").status_code == 303
    assert "0@example.org was restored." in browser.get("/accounts").text
    browser.post(f"/accounts/{uuid}/restore", on="/profile")
    assert "There is no removed mailbox" in browser.get("/accounts").text
