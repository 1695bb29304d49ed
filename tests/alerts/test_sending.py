"""Which messages are sent, when and how often; and that an alert is resolved."""

from __future__ import annotations

import subprocess
import sys

import pytest

from panel import db
from panel.alerts import alert_log, channels, conditions, service, watch
from panel.audit import Actor
from panel.config import ROOT
from panel.crypto.keyfile import KeyFile
from panel.errors import Refused
from panel.models import Account, Activity, Alert, Endpoint
from tests.alerts.conftest import (
    DAY,
    HOUR,
    MINUTE,
    QUIET_PERIOD,
    TO,
    World,
    add_sending,
    fail,
    recover,
    rows,
    text_of,
)
from tests.running import process_environ

MANY = 3


def test_an_alert_is_sent_at_once_by_mail_with_what_to_do(world: World) -> None:
    world.sender()
    world.send_to(mail=True)
    account = world.fail("The server refused the password.")
    world.next_check()
    [taken] = world.smtp.taken
    assert taken.recipients == [TO]
    text = text_of(taken.data)
    assert world.subjects == [f"Mailkeep on panel.example.org: {rows()[0].message}"]
    assert (
        account.address in text and "The server refused the password." in text and "Enter it again." in text
    )
    assert f"http://panel.example.org/mailkeep/accounts/{account.uuid}" in text
    assert str(world.house.data) not in text and "for sending" not in text


def test_reminders_come_after_an_hour_four_hours_a_day_and_then_daily(world: World) -> None:
    world.send_to(webhook=True)
    world.fail()
    begun = world.clock.at
    at = []
    while world.clock.at < begun + 4 * DAY:
        before = len(world.receiver.taken)
        world.pass_(HOUR, HOUR)
        at += [(world.clock.at - begun) // HOUR - 1] * (len(world.receiver.taken) - before)
    assert at == [0, 1, 5, 29, 53, 77]
    assert [event for event, _ in world.receiver.events] == ["opened"] + ["reminder"] * 5


def test_several_at_one_moment_are_one_mail(world: World) -> None:
    world.sender()
    world.send_to(mail=True)
    accounts = [world.fail(f"Reason {number}.") for number in range(MANY)]
    world.next_check()
    [taken] = world.smtp.taken
    assert world.subjects == ["Mailkeep on panel.example.org: 3 problems need attention"]
    assert all(account.address in text_of(taken.data) for account in accounts)


def test_a_resolution_is_sent_once_after_the_quiet_period(world: World) -> None:
    world.sender()
    world.send_to(mail=True, webhook=True)
    account = world.fail()
    world.next_check()
    recover(account)
    world.pass_(QUIET_PERIOD)
    assert len(world.smtp.taken) == 1
    world.pass_(2 * DAY, HOUR)
    assert world.subjects[1:] == ["Mailkeep on panel.example.org: 1 resolved, none still open"]
    assert world.receiver.events == [("opened", "mailbox-failing"), ("resolved", "mailbox-failing")]
    assert account.address in text_of(world.smtp.taken[1].data)


def test_the_resolution_of_what_was_never_sent_is_not_sent(world: World) -> None:
    account = world.fail()
    world.next_check()  # no recipients are set
    assert world.open == ["mailbox-failing"]
    recover(account)
    world.send_to(webhook=True)
    world.pass_(DAY, MINUTE * 5)
    assert world.open == [] and world.receiver.taken == []


def test_what_is_still_open_is_named_when_a_part_is_resolved(world: World) -> None:
    world.sender()
    world.send_to(mail=True)
    one, other = world.fail(), world.fail("Another reason.")
    world.next_check()
    recover(one)
    world.pass_(QUIET_PERIOD + 2 * MINUTE)
    assert world.subjects[1:] == ["Mailkeep on panel.example.org: 1 resolved, 1 still open"]
    text = text_of(world.smtp.taken[1].data)
    assert other.address in text.partition("Still open:")[2]


@pytest.mark.parametrize("minutes", [2, 7, 20])
def test_what_comes_and_goes_is_no_flood(world: World, minutes: int) -> None:
    """Every two minutes, every seven, every twenty: in four hours two messages and a resolution each, at the most."""
    world.send_to(webhook=True)
    account = world.fail()
    for turn in range(4 * 60 // minutes):
        if turn % 2:
            recover(account)
        else:
            fail(account, "No.", world.clock.at - HOUR)
        world.pass_(minutes * MINUTE)
    events = [event for event, _ in world.receiver.events]
    assert 1 <= len(events) - events.count("resolved") <= 3 and events.count("resolved") <= 3
    assert len(rows()) == 1


def test_a_new_alert_while_another_is_open_is_sent_at_once(world: World) -> None:
    world.send_to(webhook=True)
    world.fail()
    world.next_check()
    world.fail("Another reason.")
    world.next_check()
    assert [event for event, _ in world.receiver.events] == ["opened", "opened"]


# -- one cause, one message ---------------------------------------------------------------------


def test_many_mailboxes_that_fail_alike_are_one_line_of_one_mail_and_one_call(world: World) -> None:
    world.sender()
    world.send_to(mail=True, webhook=True)
    for number in range(12):
        world.fail(f"imap.example.org refused the login. It says: [session {number}] no")
    world.next_check()
    [taken] = world.smtp.taken
    said = "12 mailboxes: imap.example.org refused the login."
    assert world.subjects == [f"Mailkeep on panel.example.org: {said}"]
    text = text_of(taken.data)
    assert text.count("- ") == 1 and "and 7 more" in text and "[session" not in text
    assert "/accounts?state=failing&q=imap.example.org" in text
    [event] = world.receiver.taken
    assert (event["message"], event["mailboxes"], event["severity"]) == (said, 12, "bad")


def test_mailboxes_that_follow_one_by_one_are_a_few_messages_not_one_each(world: World) -> None:
    world.send_to(webhook=True)
    for _ in range(40):
        world.fail()
        world.next_check()
    assert [(each["event"], each["mailboxes"]) for each in world.receiver.taken] == [
        ("opened", 1), ("reminder", 11), ("reminder", 22),
    ]  # fmt: skip


def test_a_cause_that_is_left_by_some_mailboxes_is_not_resolved(world: World) -> None:
    world.send_to(webhook=True)
    accounts = [world.fail() for _ in range(3)]
    world.next_check()
    recover(accounts[0])
    world.pass_(QUIET_PERIOD * 2)
    assert [event for event, _ in world.receiver.events] == ["opened"]
    assert alert_log.open_alerts()[0].mailboxes == 2


def test_a_flood_of_causes_is_bounded_and_none_of_them_is_called_resolved(world: World) -> None:
    world.sender()
    world.send_to(mail=True, webhook=True)
    world.fail("Reason 0.")
    world.next_check()
    for number in range(1, conditions.MOST_CAUSES + 20):
        for _ in range(2):
            world.fail(f"Reason {number}.")
    world.next_check()
    world.pass_(QUIET_PERIOD * 2)
    assert len(world.open) == conditions.MOST_CAUSES + 1
    assert alert_log.open_alerts()[0].message == "39 more mailboxes fail, for 20 other reasons."
    assert len(world.smtp.taken) == 2 and len(text_of(world.smtp.taken[1].data)) < 20_000
    assert not [event for event, _ in world.receiver.events if event == "resolved"]


# -- muting -----------------------------------------------------------------------------------


def muted(world: World) -> None:
    world.send_to(webhook=True)
    world.fail()
    world.next_check()
    alert_log.mute(rows()[0].id, Actor("ada"))
    world.receiver.taken.clear()


def test_a_muted_alert_sends_no_reminder_for_a_day_and_then_again(world: World) -> None:
    muted(world)
    world.pass_(DAY - MINUTE, HOUR)
    assert world.receiver.taken == [] and alert_log.open_alerts()[0].muted_by == "ada"
    world.pass_(HOUR)
    assert [event for event, _ in world.receiver.events] == ["reminder"]
    assert alert_log.open_alerts()[0].muted_until is None


def test_a_muted_alert_that_gets_worse_is_sent_at_once(world: World) -> None:
    muted(world)
    world.fail()
    world.next_check()
    [event] = world.receiver.taken
    assert (event["event"], event["mailboxes"]) == ("reminder", 2)
    alert_log.mute(rows()[0].id, Actor("ada"))
    world.fail()
    world.next_check()
    assert len(world.receiver.taken) == 1, "three are not twice as many as two"


def test_a_muted_key_that_turns_out_another_one_is_sent_at_once(world: World) -> None:
    world.house.add()
    world.house.enable()
    world.send_to(webhook=True)
    world.house.key_file.unlink()
    world.next_check()
    alert_log.mute(rows()[0].id, Actor("ada"))
    world.house.key_file.write_bytes(KeyFile.generate(b"x" * 16).to_bytes())
    world.house.key_file.chmod(0o600)
    world.next_check()
    assert world.receiver.events == [("opened", "key-missing"), ("reminder", "key-wrong")]


def test_a_muting_that_only_sql_can_have_written_counts_for_nothing(world: World) -> None:
    muted(world)
    Alert.update(muted_until=2**40).execute()
    world.pass_(2 * HOUR, HOUR)
    assert [event for event, _ in world.receiver.events] == ["reminder"]


def test_what_is_resolved_cannot_be_muted(world: World) -> None:
    account = world.fail()
    world.next_check()
    recover(account)
    world.pass_(HOUR, 10 * MINUTE)
    with pytest.raises(Refused, match="alert was resolved"):
        alert_log.mute(rows()[0].id, Actor("ada"))


def test_who_received_it_is_recorded(world: World) -> None:
    world.sender()
    world.send_to(mail=True, webhook=True)
    world.fail()
    world.next_check()
    assert rows()[0].notified_to == f"{TO} and the webhook"


def test_a_wrong_clock_does_not_silence_for_ever(world: World) -> None:
    world.send_to(webhook=True)
    world.fail()
    world.clock.at += 400 * DAY
    world.next_check()
    world.clock.at -= 400 * DAY
    world.next_check()
    assert len(world.receiver.taken) == 2


# -- channels that fail ------------------------------------------------------------------------


def test_an_account_that_does_not_take_it_is_followed_by_the_next(world: World) -> None:
    broken = world.house.add().account
    add_sending(world.smtp, broken, "refused")
    good = world.sender()
    world.send_to(mail=True)
    world.fail()
    world.next_check()
    assert [taken.sender for taken in world.smtp.taken] == [good.account.address]
    assert channels.read().mail_use.problem is None


def test_the_chosen_account_comes_first(world: World) -> None:
    world.sender()
    chosen = world.sender()
    service.store((TO,), chosen.account.uuid, "", Actor("ada"))
    world.fail()
    world.next_check()
    assert [taken.sender for taken in world.smtp.taken] == [chosen.account.address]


def test_a_refused_recipient_does_not_keep_it_from_the_others(world: World) -> None:
    world.sender()
    world.smtp.refused.add("gone@example.net")
    service.store(("gone@example.net", TO), "", "", Actor("ada"))
    world.fail()
    world.next_check()
    assert [taken.recipients for taken in world.smtp.taken] == [[TO]]


def test_what_no_channel_accepts_is_tried_again_ever_later_and_shown(world: World) -> None:
    world.receiver.status = 500
    world.send_to(webhook=True)
    world.fail()
    begun = world.clock.at
    at = []
    while world.clock.at < begun + 3 * HOUR:
        before = len(world.receiver.taken)
        world.pass_(MINUTE)
        at += [(world.clock.at - begun - MINUTE) // MINUTE] * (len(world.receiver.taken) - before)
    assert at == [0, 1, 6, 21, 81, 141]
    [row] = rows()
    assert (row.notified_times, row.failures) == (0, 6)
    assert "answered with status 500" in (channels.read().webhook_use.problem or "")
    world.receiver.status = 200
    world.pass_(HOUR)
    assert rows()[0].notified_times == 1 and channels.read().webhook_use.problem is None
    assert world.receiver.events[-1] == ("opened", "mailbox-failing")  # the first that was accepted


def test_one_channel_that_works_is_enough(world: World) -> None:
    world.sender()
    world.receiver.status = 500
    world.send_to(mail=True, webhook=True)
    world.fail()
    world.next_check()
    assert (
        rows()[0].notified_times == 1 and channels.read().webhook_use.problem and len(world.smtp.taken) == 1
    )


def test_a_changed_channel_is_tried_at_once(world: World) -> None:
    world.receiver.status = 500
    world.send_to(webhook=True)
    world.fail()
    world.pass_(30 * MINUTE)
    world.receiver.status = 200
    before = len(world.receiver.taken)
    world.send_to(webhook=True)
    world.next_check()
    assert len(world.receiver.taken) == before + 1 and rows()[0].notified_times == 1


def test_without_the_key_no_mail_goes_out_but_the_webhook_is_called(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.sender()
    world.house.enable()
    world.send_to(mail=True, webhook=True)
    world.house.key_file.unlink()
    world.next_check()
    assert world.smtp.taken == []
    assert world.receiver.events == [("opened", "key-missing")]
    assert "while the encryption key" in (channels.read().mail_use.problem or "")
    assert "The encryption key file is missing." in caplog.text  # and the log has it


def test_without_any_channel_the_log_has_it(world: World, caplog: pytest.LogCaptureFixture) -> None:
    account = world.fail()
    world.next_check()
    assert account.address in caplog.text


# -- several processes ---------------------------------------------------------------------

TURN = """
import sys
from panel import create_app, db
from panel.config import Settings
from panel.alerts import watch
settings = Settings.load()
app = create_app(settings)
sys.stdin.readline()
with db.database.connection_context():
    watch.heartbeat.claim = lambda *_: True  # as if both checked at once
    watch.Watch(settings, app.extensions["mailkeep"].vault).check()
"""


def test_two_processes_that_check_at_once_send_one_mail(world: World, environ: dict[str, str]) -> None:
    world.sender()
    world.send_to(mail=True, webhook=True)
    world.fail()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TURN], cwd=ROOT, env=process_environ(environ), stdin=subprocess.PIPE
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdin
        process.stdin.write(b"\n")
        process.stdin.flush()
    assert [process.wait(60) for process in processes] == [0, 0]
    assert len(world.smtp.taken) == 1 and len(world.receiver.taken) == 1
    assert [(row.condition, row.notified_times) for row in rows()] == [("mailbox-failing", 1)]


def test_checks_of_several_processes_are_one(world: World) -> None:
    world.fail()
    world.next_check()
    Alert.delete().execute()
    watch.Watch(world.house.settings, world.house.vault).check()
    assert rows() == []


def test_a_message_whose_process_died_is_sent_by_another(world: World) -> None:
    world.send_to(webhook=True)
    world.fail()
    world.next_check()
    Alert.update(next_at=0, notified_times=0, notified_at=None).execute()
    claimed = alert_log.claim_due()
    assert len(claimed.opened) == 1  # and then it was killed
    assert not alert_log.claim_due().all
    before = len(world.receiver.taken)
    world.pass_(alert_log.LEASE - MINUTE)
    assert len(world.receiver.taken) == before
    world.pass_(2 * MINUTE)
    assert len(world.receiver.taken) == before + 1


# -- what is kept ---------------------------------------------------------------------------


def test_the_last_ones_are_kept_for_ninety_days(world: World) -> None:
    account = world.fail()
    world.next_check()
    recover(account)
    world.pass_(HOUR, 10 * MINUTE)
    assert alert_log.history().total == 1
    world.pass_(91 * DAY, DAY)
    assert alert_log.history().rows == ()


def test_the_alert_of_a_removed_account_is_resolved(world: World) -> None:
    account = world.fail()
    world.next_check()
    Account.delete().where(Account.uuid == account.uuid).execute()
    world.pass_(HOUR, 10 * MINUTE)
    assert world.open == [] and account.address in alert_log.history().rows[0].message


def test_no_password_is_in_any_table_of_alerts(world: World) -> None:
    world.sender()
    world.send_to(mail=True)
    world.fail()
    world.next_check()
    assert Endpoint.select().exists()
    stored = str(db.database.execute_sql("SELECT * FROM alert, alert_channels").fetchall())
    assert "for sending" not in stored
    assert "in-the-path" not in " ".join(event.detail for event in Activity.select())
