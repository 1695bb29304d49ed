"""Promises of the checks: what is examined, in which words, and how quickly."""

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
from tests.health.conftest import look, problems
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
        spool.store(spool.count(house.settings.mail_spool))


def change(**values: object) -> None:
    with db.database.connection_context():
        Collection.update(**values).execute()


def test_a_healthy_install_has_no_problem_and_every_check_has_a_result(healthy: House) -> None:
    assert problems(healthy) == problems(healthy, deep=True) == {}
    names = {check.check for check in look(healthy)}
    assert names == set(checks.CHECKS) - {"mailboxes"}  # each failing one is a result of its own


# -- the worker ----------------------------------------------------------------------


def test_a_worker_that_stands_still_is_named_also_without_a_mailbox(house: House) -> None:
    assert "has never responded" in problems(house)["worker"].message
    with db.database.connection_context():
        heartbeat.beat()
    assert "worker" not in problems(house)
    with db.database.connection_context():
        Heartbeat.update(beat_at=db.now() - 600).execute()
    assert "10 minutes ago" in problems(house)["worker"].message
    assert problems(house)["worker"].agent_message


def test_an_account_that_no_round_reaches_is_named_although_it_has_no_problem(healthy: House) -> None:
    with db.database.connection_context():
        fine = healthy.add().account
        Collection.insert(account=fine, last_success_at=db.now()).execute()
        Collection.update(last_success_at=db.now() - 2 * 3600).where(
            Collection.account != fine.uuid
        ).execute()
    found = problems(healthy)["collecting"]
    assert "0@example.org" in found.message
    assert "1@example.org" not in found.message


def test_a_long_round_is_not_overdue_while_somebody_is_at_it(healthy: House) -> None:
    change(last_success_at=db.now() - 2 * 3600)
    with db.database.connection_context():
        lease = Lease(uuid_of(healthy))
        assert lease.take()
        assert "collecting" not in problems(healthy)
        lease.release()
    assert "collecting" in problems(healthy)


def test_a_mailbox_added_just_now_is_not_overdue(healthy: House) -> None:
    change(last_success_at=None)
    with db.database.connection_context():
        Account.update(created_at=db.now() - 60).execute()
    assert problems(healthy) == {}


def test_a_long_interval_is_not_silence(healthy: House) -> None:
    change(last_success_at=db.now() - 20 * 3600)
    with db.database.connection_context():
        Account.update(interval=24 * 3600).execute()
    assert problems(healthy) == {}


def test_a_paused_mailbox_is_no_trouble(healthy: House) -> None:
    change(problem="old", last_success_at=5)
    with db.database.connection_context():
        Account.update(paused_at=db.now()).execute()
    assert problems(healthy) == {}


def test_what_support_staff_are_told_names_no_path(healthy: House) -> None:
    change(problem=f"The mail folder {healthy.settings.mail_spool}/x cannot be written: No space left.")
    found = problems(healthy)["mailbox 0@example.org"]
    assert str(healthy.data) in found.message
    assert found.agent_message == (
        "0@example.org: The mailbox cannot be collected. Last collected: just now."
    )


# -- the status of what has no problem ---------------------------------------------------------


def collecting(house: House) -> tuple[str, str]:
    found = next(check for check in look(house) if check.check == "collecting")
    assert found.ok
    return found.status, found.message


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
    ("others", "status", "message"),
    [
        ((), "OK", "1 of 1 mailbox collected, the least recent just now."),
        (("ok", "ok"), "OK", "3 of 3 mailboxes collected, the least recent 2 minutes ago."),
        (
            ("ok", "paused"),
            "OK",
            "2 of 3 mailboxes collected, the least recent 2 minutes ago. 1 is paused.",
        ),
        (
            ("ok", "failing"),
            "Needs attention",
            "2 of 3 mailboxes collected, the least recent 2 minutes ago. 1 is failing.",
        ),
        (
            ("failing", "failing"),
            "Needs attention",
            "1 of 3 mailboxes collected, the least recent just now. 2 are failing.",
        ),
        (
            ("new",),
            "Needs attention",
            "1 of 2 mailboxes collected, the least recent just now. 1 is waiting for its first run.",
        ),
        (
            ("overdue",),
            "Needs attention",
            "1 of 2 mailboxes collected, the least recent just now. 1 is overdue.",
        ),
    ],
)
def test_collecting_is_ok_only_where_every_mailbox_is_collected(
    healthy: House, others: tuple[str, ...], status: str, message: str
) -> None:
    boxes(healthy, *others)
    assert collecting(healthy) == (status, message)


def test_collecting_is_not_ok_where_all_fail_below_their_hour_or_nothing_is_known_yet(healthy: House) -> None:
    change(problem="No.", failing_since=db.now() - 60)
    boxes(healthy, "failing")
    assert collecting(healthy) == ("Failing", "No mailbox is collected: 2 are failing.")
    change(problem=None, last_success_at=None)
    assert collecting(healthy) == (
        "Pending",
        "No mailbox has been collected yet: 2 are waiting for their first run.",
    )
    with db.database.connection_context():
        Account.update(paused_at=1).execute()
    assert collecting(healthy) == ("Paused", "All mailboxes are paused.")
    with db.database.connection_context():
        Account.delete().execute()
    assert collecting(healthy) == ("Off", "No mailboxes yet.")


def test_work_on_the_key_and_passwords_never_tried_are_not_ok(healthy: House) -> None:
    with db.database.connection_context():
        healthy.sql("UPDATE encryption SET verified_at = NULL")
        status = {check.check: check.status for check in look(healthy)}
        assert (status["passwords"], status["encryption"]) == ("Pending", "OK")
        turn_off.turn_off(healthy.vault, Actor(), in_shell=True)
    status = {check.check: check.status for check in look(healthy)}
    assert status["encryption"] == "Pending"


def test_nothing_to_look_at_has_a_sentence_of_its_own(house: House) -> None:
    with db.database.connection_context():
        house.enable()
    found = {check.check: check for check in look(house, deep=True)}
    assert (found["passwords"].message, found["passwords"].status) == ("No passwords are stored yet.", "Off")
    assert found["encryption"].message == "Encryption is on: no passwords yet."


# -- whether alerts can be sent ---------------------------------------------------------------


def alerts(house: House, **values: object) -> tuple[bool, str, str]:
    with db.database.connection_context():
        AlertChannels.insert(id=1).on_conflict_ignore().execute()
        if values:
            AlertChannels.update(**values).execute()
    found = next(check for check in look(house) if check.check == "alerts")
    return found.ok, found.status, found.message


def test_mail_is_not_ok_where_no_mailbox_can_send(healthy: House) -> None:
    to = {"recipients": "ops@example.net", "mail_worked_at": db.now()}
    assert alerts(healthy, **to) == (
        False, "Needs attention", "Alert mail cannot be sent: no mailbox has a server for sending.",
    )  # fmt: skip
    with db.database.connection_context():
        sender = new_endpoint(Account.get(), direction="out", protocol="smtp")
        sender.secret = Secret("for sending")
        sender.save()
    assert alerts(healthy, **to)[:2] == (True, "OK")
    with db.database.connection_context():
        healthy.sql("UPDATE endpoint SET host = 'evil.example.org' WHERE direction = 'out'")
        verification.run_and_note(healthy.vault)
    assert alerts(healthy, **to)[2] == (
        "Alert mail cannot be sent: no stored password for sending can be decrypted."
    )
    healthy.key_file.unlink()
    assert alerts(healthy, **to)[2] == "Alert mail cannot be sent while the encryption key is unavailable."


def test_a_way_that_was_never_tried_is_not_ok_and_one_without_a_watch_neither(healthy: House) -> None:
    assert alerts(healthy)[:2] == (True, "Off")
    to: dict[str, object] = {"webhook": "https://hook.example.org/x"}
    assert alerts(healthy, **to)[:2] == (True, "Pending")
    assert alerts(healthy, **to, webhook_worked_at=db.now() - 60) == (
        True, "OK", "Alerts go to the webhook (last sent 1 minute ago).",
    )  # fmt: skip
    with db.database.connection_context():
        Heartbeat.update(noticed_at=db.now() - 3600).execute()
    assert alerts(healthy, **to)[0] is False


# -- the spool -----------------------------------------------------------------------


def test_mail_that_the_helpdesk_does_not_pick_up_is_named_by_address_and_folder(healthy: House) -> None:
    new = put(healthy, [f"{db.now() - 3 * 86400}.M1P1.host", f"{db.now()}.M1P1.host"])
    count(healthy)
    found = problems(healthy)["mail spool of 0@example.org"]
    assert found.message == (
        f"The helpdesk does not pick up mail for 0@example.org: 2 messages in {new},"
        " the oldest delivered 3 days ago."
    )
    assert "0@example.org" in found.agent_message
    assert str(healthy.settings.mail_spool) not in found.agent_message


def test_too_much_of_it_is_named_however_young(healthy: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "MANY_UNREAD", 1)
    put(healthy, [f"{db.now()}.M{number}P1.host" for number in range(2)])
    assert "2 messages" in problems(healthy, deep=True)["mail spool of 0@example.org"].message


def test_mail_that_is_picked_up_every_minute_is_no_problem(healthy: House) -> None:
    put(healthy, [f"{db.now()}.M1P1.host"])
    count(healthy)
    [found] = [check for check in look(healthy) if check.check == "mail spool"]
    assert found.ok
    assert found.message == "1 message waiting for the helpdesk, counted just now."


@pytest.mark.parametrize("uuid", ["a\0b", "../../etc", "", "x" * 5000])
def test_an_id_that_sql_put_there_leads_to_no_folder_and_stops_no_count(healthy: House, uuid: str) -> None:
    with db.database.connection_context():
        Account.create(uuid=uuid, address="x@example.org", created_at=db.now())
        assert len(spool.count(healthy.settings.mail_spool)) == 1


@pytest.mark.parametrize("name", ["no-number", "٣٤٥.x", "99999999999999999999.x", ".hidden", "ü"])
def test_a_strange_name_in_the_spool_counts_and_harms_nothing(healthy: House, name: str) -> None:
    put(healthy, [name])
    with db.database.connection_context():
        [found] = spool.count(healthy.settings.mail_spool)
    assert (found.unread, found.oldest_at) == (1, None)


def test_pages_never_count_the_spool_themselves(healthy: House, monkeypatch: pytest.MonkeyPatch) -> None:
    put(healthy, ["1.M1P1.host"])
    monkeypatch.setattr(os, "scandir", lambda _: pytest.fail("a page counts a spool"))
    look(healthy)


def test_a_folder_that_cannot_be_read_is_a_finding_and_the_other_checks_go_on(
    healthy: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    with db.database.connection_context(), monkeypatch.context() as patched:
        patched.setattr(os, "scandir", refuse)
        with pytest.raises(SpoolError, match="permission denied"):
            spool.count(healthy.settings.mail_spool)
        found = problems(healthy, deep=True)
    assert set(found) == {"mail spool"}


def test_a_group_that_cannot_get_at_the_spool_is_named(healthy: House) -> None:
    grouped = replace(healthy, settings=replace(healthy.settings, mail_group="helpdesk"))
    assert "PANEL_MAIL_SPOOL" in problems(grouped)["mail spool"].remedy


def test_a_spool_open_to_all_is_named(healthy: House) -> None:
    healthy.settings.mail_spool.mkdir(exist_ok=True)
    healthy.settings.mail_spool.chmod(0o755)
    assert "chmod go=" in problems(healthy)["file modes"].remedy


def test_the_counts_of_a_removed_account_go_with_it(healthy: House) -> None:
    put(healthy, ["1.M1P1.host"])
    count(healthy)
    with db.database.connection_context():
        Account.delete().execute()
        assert not SpoolCount.select().exists()


# -- the machine ---------------------------------------------------------------------


def test_a_disk_that_is_nearly_full_is_named(healthy: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LEAST_DISK", 2**60)
    assert set(problems(healthy)) == {"disk"}


def test_a_disk_that_can_hold_no_more_files_is_named(healthy: House, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.statvfs(healthy.data)
    full = os.statvfs_result((*real[:5], 10_000_000, 12, 12, *real[8:10]))
    monkeypatch.setattr(os, "statvfs", lambda _: full)
    assert "only 12 more files" in problems(healthy)["disk"].message


def test_the_spool_on_a_disk_of_its_own_is_looked_at_too(healthy: House) -> None:
    here = healthy.data.stat().st_dev
    other = next(
        path for path in (Path("/dev/shm"), Path("/var"), Path("/proc")) if path.stat().st_dev != here
    )
    moved = replace(healthy, settings=replace(healthy.settings, mail_spool=other))
    message = " ".join(check.message for check in look(moved) if check.check == "disk")
    assert "the mail spool" in message
    assert "the data directory" in message


def test_a_clock_before_what_was_written_is_named(healthy: House, monkeypatch: pytest.MonkeyPatch) -> None:
    with db.database.connection_context():
        record("mailbox added", "x@example.org")
    later(monkeypatch, -3600)
    found = problems(healthy)["clock"]
    assert "a stored time is later" in found.message
    assert "timedatectl" in found.remedy


@pytest.mark.parametrize(("seconds", "way"), [(7200, "forward by 7,20"), (-7200, "back by 7")])
def test_a_clock_that_jumps_between_two_beats_is_named(
    house: House, monkeypatch: pytest.MonkeyPatch, seconds: int, way: str
) -> None:
    with db.database.connection_context():
        heartbeat.beat()
        later(monkeypatch, seconds)
        heartbeat.beat()
    assert way in problems(house)["clock"].message


def test_time_that_really_passes_and_a_reboot_are_no_jump(
    healthy: House, monkeypatch: pytest.MonkeyPatch
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


def test_with_five_hundred_mailboxes_the_checks_of_a_page_take_no_second(healthy: House) -> None:
    with db.database.connection_context():
        for _ in range(499):
            healthy.add()
    began = time.process_time()
    look(healthy)
    assert time.process_time() - began < 1


# -- what the worker does ------------------------------------------------------------


def test_the_worker_counts_every_few_minutes_and_two_at_once_count_once(
    healthy: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[Path] = []
    monkeypatch.setattr(spool, "count", lambda path: counted.append(path) or [])
    with db.database.connection_context():
        assert maintenance.is_due()
        maintenance.run(healthy.settings)
        maintenance.run(healthy.settings)
        assert not maintenance.is_due()
        later(monkeypatch, maintenance.COUNT_SECONDS)
        maintenance.run(healthy.settings)
    assert len(counted) == 2
