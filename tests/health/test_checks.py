"""Promises of the one set of checks: what is looked at, in which words, and how quickly."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from panel import db
from panel.audit import Actor, record
from panel.collect.lease import Lease
from panel.errors import SpoolError
from panel.health import checks, heartbeat, mail, maintenance, server, spool
from panel.models import Account, AlertChannels, Collection, Heartbeat, SpoolCount
from panel.secret import Secret
from panel.vault import turn_off, verification
from tests.encryption.conftest import House, new_endpoint
from tests.health.conftest import look, wrong
from tests.sign_in.browser import later


def uuid_of(house: House) -> str:
    with db.database.connection_context():
        return str(Account.get().uuid)


def put(house: House, names: list[str]) -> Path:
    """Messages of these names in new/ of the one account."""
    new = house.settings.mail_spool / uuid_of(house) / "new"
    new.mkdir(parents=True, exist_ok=True)
    for name in names:
        (new / name).touch()
    return new


def count(house: House) -> None:
    """As the worker does it."""
    with db.database.connection_context():
        spool.note(spool.count(house.settings.mail_spool))


def change(**values: object) -> None:
    with db.database.connection_context():
        Collection.update(**values).execute()


def test_a_well_install_has_nothing_wrong_and_every_check_speaks(well: House) -> None:
    assert wrong(well) == wrong(well, deep=True) == {}
    names = {check.check for check in look(well)}
    assert names == set(checks.CHECKS) - {"accounts"}  # each failing one is a check of its own


# -- the worker ----------------------------------------------------------------------


def test_a_worker_that_stands_still_is_named_also_without_a_mailbox(house: House) -> None:
    assert "never heard of" in wrong(house)["worker"].message
    with db.database.connection_context():
        heartbeat.beat()
    assert "worker" not in wrong(house)
    with db.database.connection_context():
        Heartbeat.update(beat_at=db.now() - 600).execute()
    assert "10 minutes ago" in wrong(house)["worker"].message
    assert wrong(house)["worker"].told


def test_an_account_that_no_round_reaches_is_named_although_it_has_no_problem(well: House) -> None:
    with db.database.connection_context():
        fine = well.add().account
        Collection.insert(account=fine, last_success_at=db.now()).execute()
        Collection.update(last_success_at=db.now() - 2 * 3600).where(
            Collection.account != fine.uuid
        ).execute()
    found = wrong(well)["collecting"]
    assert "0@example.org" in found.message
    assert "1@example.org" not in found.message


def test_a_long_round_is_not_overdue_while_somebody_is_at_it(well: House) -> None:
    change(last_success_at=db.now() - 2 * 3600)
    with db.database.connection_context():
        lease = Lease(uuid_of(well))
        assert lease.take()
        assert "collecting" not in wrong(well)
        lease.release()
    assert "collecting" in wrong(well)


def test_a_mailbox_added_just_now_is_not_overdue(well: House) -> None:
    change(last_success_at=None)
    with db.database.connection_context():
        Account.update(created_at=db.now() - 60).execute()
    assert wrong(well) == {}


def test_a_long_interval_is_not_silence(well: House) -> None:
    change(last_success_at=db.now() - 20 * 3600)
    with db.database.connection_context():
        Account.update(interval=24 * 3600).execute()
    assert wrong(well) == {}


def test_a_paused_mailbox_is_no_trouble(well: House) -> None:
    change(problem="old", last_success_at=5)
    with db.database.connection_context():
        Account.update(paused_at=db.now()).execute()
    assert wrong(well) == {}


def test_what_support_staff_are_told_names_no_path(well: House) -> None:
    change(problem=f"The mail folder {well.settings.mail_spool}/x cannot be written: No space left.")
    found = wrong(well)["account 0@example.org"]
    assert str(well.data) in found.message
    assert found.told == ("0@example.org: Its mail cannot be stored on this server. Last collected just now.")


# -- what stands where OK would ---------------------------------------------------------


def collecting(house: House) -> tuple[bool, str, str]:
    found = next(check for check in look(house) if check.check == "collecting")
    return found.is_green, found.instead, found.message


def boxes(house: House, *states: str) -> None:
    """Mailboxes beside the one that is there: collected, failing, new, overdue or paused."""
    with db.database.connection_context():
        for state in states:
            account = house.add().account
            since = {"ok": 120, "failing": 300, "overdue": 1500, "paused": 300}.get(state)
            values: dict[str, object] = {"last_success_at": db.now() - since} if since else {}
            if state == "failing":
                values |= {"problem": "No.", "failing_since": db.now() - 60}
            Collection.insert(account=account, **values).execute()
            if state == "paused":
                Account.update(paused_at=1).where(Account.uuid == account.uuid).execute()


@pytest.mark.parametrize(
    ("others", "instead", "message"),
    [
        ((), "", "1 of 1 mailboxes is collected, the longest ago just now."),
        (("ok", "ok"), "", "3 of 3 mailboxes are collected, the longest ago 2 minutes ago."),
        (
            ("ok", "paused"),
            "",
            "2 of 3 mailboxes are collected, the longest ago 2 minutes ago. 1 is paused.",
        ),
        (
            ("ok", "failing"),
            "In part",
            "2 of 3 mailboxes are collected, the longest ago 2 minutes ago. 1 fails.",
        ),
        (
            ("failing", "failing"),
            "In part",
            "1 of 3 mailboxes is collected, the longest ago just now. 2 fail.",
        ),
        (
            ("new",),
            "In part",
            "1 of 2 mailboxes is collected, the longest ago just now. 1 waits for its first round.",
        ),
        (("overdue",), "In part", "1 of 2 mailboxes is collected, the longest ago just now. 1 is overdue."),
    ],
)
def test_collecting_is_ok_only_where_every_mailbox_is_collected(
    well: House, others: tuple[str, ...], instead: str, message: str
) -> None:
    boxes(well, *others)
    assert collecting(well) == (instead == "", instead, message)


def test_collecting_is_not_ok_where_all_fail_below_their_hour_or_nothing_is_known_yet(well: House) -> None:
    change(problem="No.", failing_since=db.now() - 60)
    boxes(well, "failing")
    assert collecting(well) == (False, "Failing", "No mailbox is collected: 2 fail.")
    change(problem=None, last_success_at=None)
    assert collecting(well)[:2] == (False, "Not known yet")
    with db.database.connection_context():
        Account.update(paused_at=1).execute()
    assert collecting(well) == (False, "Paused", "Every mailbox is paused.")
    with db.database.connection_context():
        Account.delete().execute()
    assert collecting(well) == (False, "No mailbox", "There is no mailbox yet.")


def test_work_on_the_key_and_passwords_never_tried_are_not_ok(well: House) -> None:
    with db.database.connection_context():
        well.sql("UPDATE encryption SET verified_at = NULL")
        green = {check.check: check.is_green for check in look(well)}
        assert not green["records"] and green["encryption"]
        turn_off.turn_off(well.vault, Actor(), in_shell=True)
    green = {check.check: check.is_green for check in look(well)}
    assert not green["encryption"]


def test_nothing_to_look_at_has_a_sentence_of_its_own(house: House) -> None:
    with db.database.connection_context():
        house.enable()
    found = {check.check: check for check in look(house, deep=True)}
    assert found["records"].message == "No password is stored yet." and not found["records"].is_green
    assert found["encryption"].message == "It is on. No password is stored yet."


# -- whether trouble is told ---------------------------------------------------------------


def told(house: House, **values: object) -> tuple[bool, str, str]:
    with db.database.connection_context():
        AlertChannels.insert(id=1).on_conflict_ignore().execute()
        if values:
            AlertChannels.update(**values).execute()
    found = next(check for check in look(house) if check.check == "alerts")
    return found.ok, found.instead, found.message


def test_mail_is_not_ok_where_no_mailbox_can_send(well: House) -> None:
    to = {"recipients": "ops@example.net", "mail_worked_at": db.now()}
    assert told(well, **to) == (False, "", "No mail can go out: no mailbox has a server for sending.")
    with db.database.connection_context():
        sender = new_endpoint(Account.get(), direction="out", protocol="smtp")
        sender.password = Secret("for sending")
        sender.save()
    assert told(well, **to)[:2] == (True, "")
    with db.database.connection_context():
        well.sql("UPDATE endpoint SET host = 'evil.example.org' WHERE direction = 'out'")
        verification.run_and_note(well.vault)
    assert told(well, **to)[2] == "No mail can go out: no stored password for sending opens."
    well.key_file.unlink()
    assert told(well, **to)[2] == "No mail can go out while the encryption key is not in order."


def test_a_way_that_was_never_tried_is_not_ok_and_one_without_a_watch_neither(well: House) -> None:
    assert told(well)[:2] == (True, "Off")
    to: dict[str, object] = {"webhook": "https://hook.example.org/x"}
    assert told(well, **to)[:2] == (True, "Not tried yet")
    assert told(well, **to, webhook_worked_at=db.now() - 60) == (
        True, "", "Trouble is told by webhook (last 1 minute ago).",
    )  # fmt: skip
    with db.database.connection_context():
        Heartbeat.update(noticed_at=db.now() - 3600).execute()
    assert told(well, **to)[0] is False


# -- the spool -----------------------------------------------------------------------


def test_mail_that_nobody_takes_away_is_named_by_address_and_folder(well: House) -> None:
    new = put(well, [f"{db.now() - 3 * 86400}.M1P1.host", f"{db.now()}.M1P1.host"])
    count(well)
    found = wrong(well)["mail spool of 0@example.org"]
    assert found.message.startswith(
        f"2 messages for 0@example.org lie in {new}, the oldest delivered 3 days ago"
    )
    assert "0@example.org" in found.told
    assert str(well.settings.mail_spool) not in found.told


def test_too_much_of_it_is_named_however_young(well: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "MANY_UNREAD", 1)
    put(well, [f"{db.now()}.M{number}P1.host" for number in range(2)])
    assert "2 messages" in wrong(well, deep=True)["mail spool of 0@example.org"].message


def test_mail_that_is_taken_every_minute_is_well(well: House) -> None:
    put(well, [f"{db.now()}.M1P1.host"])
    count(well)
    [found] = [check for check in look(well) if check.check == "mail spool"]
    assert found.ok
    assert found.message == "1 messages wait to be taken away, as counted just now."


@pytest.mark.parametrize("name", ["no-number", "٣٤٥.x", "99999999999999999999.x", ".hidden", "ü"])
def test_a_strange_name_in_the_spool_counts_and_harms_nothing(well: House, name: str) -> None:
    put(well, [name])
    with db.database.connection_context():
        [found] = spool.count(well.settings.mail_spool)
    assert (found.unread, found.oldest_at) == (1, None)


def test_pages_never_count_the_spool_themselves(well: House, monkeypatch: pytest.MonkeyPatch) -> None:
    put(well, ["1.M1P1.host"])
    monkeypatch.setattr(os, "scandir", lambda _: pytest.fail("a page counts a spool"))
    look(well)


def test_a_folder_that_cannot_be_read_is_a_finding_and_the_other_checks_go_on(
    well: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    with db.database.connection_context(), monkeypatch.context() as patched:
        patched.setattr(os, "scandir", refuse)
        with pytest.raises(SpoolError, match="permission denied"):
            spool.count(well.settings.mail_spool)
        found = wrong(well, deep=True)
    assert set(found) == {"mail spool"}


def test_a_group_that_cannot_get_at_the_spool_is_named(well: House) -> None:
    grouped = replace(well, settings=replace(well.settings, mail_group="helpdesk"))
    assert "PANEL_MAIL_SPOOL" in wrong(grouped)["mail spool"].remedy


def test_a_spool_open_to_all_is_named(well: House) -> None:
    well.settings.mail_spool.mkdir(exist_ok=True)
    well.settings.mail_spool.chmod(0o755)
    assert "chmod go=" in wrong(well)["file modes"].remedy


def test_the_counts_of_a_removed_account_go_with_it(well: House) -> None:
    put(well, ["1.M1P1.host"])
    count(well)
    with db.database.connection_context():
        Account.delete().execute()
        assert not SpoolCount.select().exists()


# -- the machine ---------------------------------------------------------------------


def test_a_disk_that_is_nearly_full_is_named(well: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LEAST_DISK", 2**60)
    assert set(wrong(well)) == {"disk"}


def test_a_disk_that_can_hold_no_more_files_is_named(well: House, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.statvfs(well.data)
    full = os.statvfs_result((*real[:5], 10_000_000, 12, 12, *real[8:10]))
    monkeypatch.setattr(os, "statvfs", lambda _: full)
    assert "only 12 more files" in wrong(well)["disk"].message


def test_the_spool_on_a_disk_of_its_own_is_looked_at_too(well: House) -> None:
    here = well.data.stat().st_dev
    other = next(
        path for path in (Path("/dev/shm"), Path("/var"), Path("/proc")) if path.stat().st_dev != here
    )
    moved = replace(well, settings=replace(well.settings, mail_spool=other))
    message = " ".join(check.message for check in look(moved) if check.check == "disk")
    assert "the mail spool" in message
    assert "the data directory" in message


def test_a_clock_before_what_was_written_is_named(well: House, monkeypatch: pytest.MonkeyPatch) -> None:
    with db.database.connection_context():
        record("account added", "x@example.org")
    later(monkeypatch, -3600)
    found = wrong(well)["clock"]
    assert "something was written at" in found.message
    assert "timedatectl" in found.remedy


@pytest.mark.parametrize(("seconds", "way"), [(7200, "forward by 720"), (-7200, "back by 7")])
def test_a_clock_that_jumps_between_two_beats_is_named(
    house: House, monkeypatch: pytest.MonkeyPatch, seconds: int, way: str
) -> None:
    with db.database.connection_context():
        heartbeat.beat()
        later(monkeypatch, seconds)
        heartbeat.beat()
    assert way in wrong(house)["clock"].message


def test_time_that_really_passes_and_a_reboot_are_no_jump(
    well: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    with db.database.connection_context():
        later(monkeypatch, 7200)
        now = heartbeat.boot_seconds() + 7200
        monkeypatch.setattr(heartbeat, "boot_seconds", lambda: now)
        heartbeat.beat()
        assert Heartbeat.get().jumped_at is None
        monkeypatch.setattr(heartbeat, "boot_seconds", lambda: 3)
        monkeypatch.setattr(heartbeat, "boot_id", lambda: "another boot")
        heartbeat.beat()
        assert Heartbeat.get().jumped_at is None


# -- quickly -------------------------------------------------------------------------


def test_with_five_hundred_mailboxes_the_checks_of_a_page_take_no_second(well: House) -> None:
    with db.database.connection_context():
        for _ in range(499):
            well.add()
    began = time.monotonic()
    look(well)
    assert time.monotonic() - began < 1


# -- what the worker does ------------------------------------------------------------


def test_the_worker_counts_every_few_minutes_and_two_at_once_count_once(
    well: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[Path] = []
    monkeypatch.setattr(spool, "count", lambda path: counted.append(path) or [])
    with db.database.connection_context():
        assert maintenance.is_due()
        maintenance.run(well.settings)
        maintenance.run(well.settings)
        assert not maintenance.is_due()
        later(monkeypatch, maintenance.COUNT_SECONDS)
        maintenance.run(well.settings)
    assert len(counted) == 2
