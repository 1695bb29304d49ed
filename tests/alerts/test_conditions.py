"""The conditions, each from facts: the key, passwords, mailboxes, the backup, the worker."""

from __future__ import annotations

import os
import time

import pytest

from panel import db
from panel.alerts import conditions
from panel.alerts.conditions import Condition
from panel.crypto.keyfile import KeyFile
from panel.health import heartbeat
from panel.models import Account, Encryption
from panel.vault import verification
from tests.alerts.conftest import DAY, HOUR, World, fail, prove
from tests.sign_in.browser import Browser


def found(world: World) -> dict[str, Condition]:
    return {each.name: each for each in conditions.found(world.house.vault)}


def test_a_fresh_install_has_none(world: World) -> None:
    world.house.add()
    assert found(world) == {}


def test_the_key_missing_unreadable_or_wrong(world: World) -> None:
    world.house.add()
    world.house.enable()
    key = world.house.key_file.read_bytes()
    world.house.key_file.unlink()
    assert "missing" in found(world)["key-missing"].message
    world.house.key_file.write_bytes(key)
    world.house.key_file.chmod(0o644)
    assert "cannot be used" in found(world)["key-unreadable"].message
    world.house.key_file.chmod(0o600)
    world.house.key_file.write_bytes(KeyFile.generate(b"x" * 16).to_bytes())
    assert "another key" in found(world)["key-wrong"].message
    world.house.key_file.write_bytes(key)
    assert found(world) == {}


def test_passwords_that_cannot_be_decrypted_are_named_by_their_mailboxes(world: World) -> None:
    endpoint = world.house.add()
    world.house.enable()
    world.house.sql("UPDATE endpoint SET host = 'evil.example.org'")
    verification.run_and_note(world.house.vault)
    assert endpoint.account.address in found(world)["inconsistent"].message


def test_an_account_counts_once_it_has_failed_for_an_hour(world: World) -> None:
    account = world.house.add().account
    fail(account, "The server says no.", world.clock.at - HOUR + 10)
    assert found(world) == {}
    world.clock.at += 10
    one = found(world)["mailbox-failing"]
    assert account.address in one.message and "The server says no." in one.message
    assert (one.path, one.since) == (f"/accounts/{account.uuid}", world.clock.at - HOUR)


def test_an_account_collected_once_a_day_does_not_count_at_its_first_failure(world: World) -> None:
    account = world.house.add().account
    fail(account, "No.", world.clock.at - DAY, failing_since=world.clock.at - 60)
    assert found(world) == {}


def test_one_that_never_succeeded_counts_an_hour_after_its_first_failure(world: World) -> None:
    account = world.house.add().account
    fail(account, "No.", world.clock.at, last_success_at=None, failing_since=world.clock.at - HOUR)
    assert "Last collected: never." in found(world)["mailbox-failing"].message


def test_one_that_somebody_paused_does_not_count(world: World) -> None:
    account = world.fail()
    Account.update(paused_at=db.now()).where(Account.uuid == account.uuid).execute()
    assert found(world) == {}


def test_a_path_of_the_server_is_not_sent(world: World) -> None:
    world.fail("The mail folder /var/lib/mailkeep/mail/x/new cannot be read.", remedy="Type: chown /var/lib")
    one = found(world)["mailbox-failing"]
    assert "/var" not in one.message + one.remedy
    world.fail("It says: see https://provider.example/help?x=1 (535 5.7.8)")
    assert any(
        "https://provider.example/help" in each.message for each in conditions.found(world.house.vault)
    )


def test_the_backup_counts_a_week_after_the_key_was_made_and_again_after_a_rotation(world: World) -> None:
    world.house.add()
    world.house.enable()
    made = int(world.house.keystore.key_file_modified())
    world.clock.at = made + 7 * DAY - 1
    heartbeat.beat()
    assert found(world) == {}
    world.clock.at += 1
    assert found(world)["backup-unverified"].since == made
    prove(world.house)
    assert found(world) == {}
    world.house.rotate()
    os.utime(world.house.key_file, (world.clock.at, world.clock.at))  # the file has the machine's clock
    world.clock.at += 7 * DAY
    heartbeat.beat()
    assert "backup-unverified" in found(world)
    Encryption.update(key_created_at=2**40, backup_proved_at=world.clock.at).execute()
    assert "backup-unverified" in found(world), "what SQL wrote silences nothing"


def test_a_worker_counts_whose_beat_is_old(world: World) -> None:
    world.clock.at += heartbeat.SILENT_SECONDS
    assert found(world) == {}
    world.clock.at += 1
    one = found(world)["worker-silent"]
    assert "worker" in one.message
    heartbeat.beat()
    assert found(world) == {}


@pytest.mark.parametrize("seconds", [heartbeat.SILENT_SECONDS + 1, 8 * HOUR])
def test_an_old_heartbeat_alone_is_no_alert_before_it_was_watched_standing_still(
    world: World, seconds: int
) -> None:
    """After a start, or when the machine slept, the heartbeat is old and the worker alive."""
    world.clock.at += seconds
    world.watch.check()
    assert world.open == []
    world.next_check()
    assert world.open == []
    world.worker_lives = False
    world.pass_(heartbeat.SILENT_SECONDS + 10, step=10)
    assert world.open == ["worker-silent"]


def test_causes_are_grouped_and_cost_no_more_rows_for_more_mailboxes(world: World) -> None:
    for number in range(7):
        world.fail(f"imap.example.org did not answer in time. It says: {number}")
    for number in range(2):
        world.fail(f"The mail folder /var/lib/mailkeep/mail/{number}/new cannot be written.")
    messages = [each.message for each in conditions.found(world.house.vault)]
    assert messages == [
        "7 mailboxes: imap.example.org did not answer in time.",
        "2 mailboxes: A file of this server cannot be used.",
    ]
    conditions_ = conditions.found(world.house.vault)
    assert "0@example.org, 1@example.org" in conditions_[0].remedy and "and 2 more" in conditions_[0].remedy
    assert "/var" not in str(conditions_)


def test_a_hundred_thousand_failing_mailboxes_are_few_conditions_one_mail_and_a_bounded_page(
    world: World, admin: Browser
) -> None:
    first = world.fail("Reason 0.")
    count = 100_000
    world.house.sql(
        """WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
        INSERT INTO account (uuid, address, folder, "begin", interval, on_server, move_to, created_at)
        SELECT 'u' || i, 'box' || i || '@example.net', folder, "begin", interval, on_server, move_to, created_at
        FROM account, n WHERE uuid = ?""",
        count, first.uuid,
    )  # fmt: skip
    world.house.sql(
        """INSERT INTO collection (account_id, problem, remedy, permanent, failures, next_due_at, leased_until,
          last_uid, begin_below, failing_since, last_success_at)
        SELECT uuid, 'Reason ' || (rowid % 70000) || '.', 'x', 0, 1, 0, 0, 0, 0, 1, 1 FROM account
        WHERE uuid LIKE 'u%'"""
    )
    begun = time.process_time()
    found = conditions.found(world.house.vault)
    assert time.process_time() - begun < 5
    assert len(found) == conditions.MOST_CAUSES + 1
    assert found[-1].message.endswith("other reasons.") and len(str(found)) < 40_000
    world.sender()
    world.send_to(mail=True, webhook=True)
    world.next_check()
    [mail] = world.smtp.taken
    assert len(mail.data) < 40_000 and b"51 problems need attention" in mail.data.replace(b"\r\n ", b" ")
    assert len(world.receiver.taken) == conditions.MOST_CAUSES + 1
    page = admin.get("/server/alerts")
    assert len(page.data) < 100_000 and page.text.count(">Mute for a day") == conditions.MOST_CAUSES + 1
