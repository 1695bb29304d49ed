"""Who is told what, when and how often; and that it is over."""

from __future__ import annotations

import subprocess
import sys

import pytest

from panel import db
from panel.alerts import alert_log, channels, schedule, service, watch
from panel.audit import Actor
from panel.config import ROOT
from panel.models import Account, Activity, Alert, Endpoint
from tests.alerts.conftest import CALM, DAY, HOUR, MINUTE, TO, World, add_sending, fail, remedy, rows, text_of
from tests.running import process_environ

MANY = 3


def test_trouble_is_told_at_once_by_mail_with_what_to_do(world: World) -> None:
    world.sender()
    world.tell(mail=True)
    account = world.fail("The server refused the password.")
    world.look()
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
    world.tell(webhook=True)
    world.fail()
    begun = world.clock.at
    at = []
    while world.clock.at < begun + 4 * DAY:
        before = len(world.receiver.taken)
        world.pass_(HOUR, HOUR)
        at += [(world.clock.at - begun) // HOUR - 1] * (len(world.receiver.taken) - before)
    assert at == [0, 1, 5, 29, 53, 77]
    assert [event for event, _ in world.receiver.events] == ["trouble"] + ["reminder"] * 5


def test_several_at_one_moment_are_one_mail(world: World) -> None:
    world.sender()
    world.tell(mail=True)
    accounts = [world.fail() for _ in range(MANY)]
    world.look()
    [taken] = world.smtp.taken
    assert world.subjects == ["Mailkeep on panel.example.org: 3 things need you"]
    assert all(account.address in text_of(taken.data) for account in accounts)


def test_the_end_is_told_once_when_it_has_lasted(world: World) -> None:
    world.sender()
    world.tell(mail=True, webhook=True)
    account = world.fail()
    world.look()
    remedy(account)
    world.pass_(CALM)
    assert len(world.smtp.taken) == 1
    world.pass_(2 * DAY, HOUR)
    assert world.subjects[1:] == ["Mailkeep on panel.example.org: no other notice is open"]
    assert world.receiver.events == [("trouble", "account-failing"), ("well", "account-failing")]
    assert account.address in text_of(world.smtp.taken[1].data)


def test_the_end_of_what_was_never_told_is_not_told(world: World) -> None:
    account = world.fail()
    world.look()  # nobody is to be told
    assert world.open == ["account-failing"]
    remedy(account)
    world.tell(webhook=True)
    world.pass_(DAY, MINUTE * 5)
    assert world.open == [] and world.receiver.taken == []


def test_what_is_left_is_named_when_a_part_is_over(world: World) -> None:
    world.sender()
    world.tell(mail=True)
    one, other = world.fail(), world.fail()
    world.look()
    remedy(one)
    world.pass_(CALM + 2 * MINUTE)
    assert world.subjects[1:] == ["Mailkeep on panel.example.org: 1 over, 1 not"]
    text = text_of(world.smtp.taken[1].data)
    assert "This is still so:" in text and other.address in text.partition("still so")[2]


@pytest.mark.parametrize("minutes", [2, 7, 20])
def test_what_comes_and_goes_is_no_flood(world: World, minutes: int) -> None:
    """Every two minutes, every seven, every twenty: in four hours two words and an end each, at the most."""
    world.tell(webhook=True)
    account = world.fail()
    for turn in range(4 * 60 // minutes):
        if turn % 2:
            remedy(account)
        else:
            fail(account, "No.", world.clock.at - HOUR)
        world.pass_(minutes * MINUTE)
    events = [event for event, _ in world.receiver.events]
    assert 1 <= len(events) - events.count("well") <= 3 and events.count("well") <= 3
    assert len(rows()) == 1


def test_a_new_trouble_while_another_lasts_is_told_at_once(world: World) -> None:
    world.tell(webhook=True)
    world.fail()
    world.look()
    world.fail()
    world.look()
    assert [event for event, _ in world.receiver.events] == ["trouble", "trouble"]


def test_a_wrong_clock_does_not_silence_for_ever(world: World) -> None:
    world.tell(webhook=True)
    world.fail()
    world.clock.at += 400 * DAY
    world.look()
    world.clock.at -= 400 * DAY
    world.look()
    assert len(world.receiver.taken) == 2


# -- ways that fail ------------------------------------------------------------------------


def test_an_account_that_does_not_take_it_is_followed_by_the_next(world: World) -> None:
    broken = world.house.add().account
    add_sending(world.smtp, broken, "refused")
    good = world.sender()
    world.tell(mail=True)
    world.fail()
    world.look()
    assert [taken.sender for taken in world.smtp.taken] == [good.account.address]
    assert channels.read().mail.problem is None


def test_the_chosen_account_comes_first(world: World) -> None:
    world.sender()
    chosen = world.sender()
    service.store((TO,), chosen.account.uuid, "", Actor("ada"))
    world.fail()
    world.look()
    assert [taken.sender for taken in world.smtp.taken] == [chosen.account.address]


def test_a_refused_recipient_does_not_keep_it_from_the_others(world: World) -> None:
    world.sender()
    world.smtp.refused.add("gone@example.net")
    service.store(("gone@example.net", TO), "", "", Actor("ada"))
    world.fail()
    world.look()
    assert [taken.recipients for taken in world.smtp.taken] == [[TO]]


def test_what_no_way_takes_is_tried_again_ever_later_and_shown(world: World) -> None:
    world.receiver.status = 500
    world.tell(webhook=True)
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
    assert "answered with status 500" in (channels.read().call.problem or "")
    world.receiver.status = 200
    world.pass_(HOUR)
    assert rows()[0].notified_times == 1 and channels.read().call.problem is None
    assert world.receiver.events[-1] == ("trouble", "account-failing")  # the first that was taken


def test_one_way_that_works_is_enough(world: World) -> None:
    world.sender()
    world.receiver.status = 500
    world.tell(mail=True, webhook=True)
    world.fail()
    world.look()
    assert rows()[0].notified_times == 1 and channels.read().call.problem and len(world.smtp.taken) == 1


def test_a_changed_way_is_tried_at_once(world: World) -> None:
    world.receiver.status = 500
    world.tell(webhook=True)
    world.fail()
    world.pass_(30 * MINUTE)
    world.receiver.status = 200
    before = len(world.receiver.taken)
    world.tell(webhook=True)
    world.look()
    assert len(world.receiver.taken) == before + 1 and rows()[0].notified_times == 1


def test_without_the_key_no_mail_goes_out_but_the_webhook_is_called(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.sender()
    world.house.enable()
    world.tell(mail=True, webhook=True)
    world.house.key_file.unlink()
    world.look()
    assert world.smtp.taken == []
    assert world.receiver.events == [("trouble", "key-missing")]
    assert "while the key is not in order" in (channels.read().mail.problem or "")
    assert "The encryption key file is missing." in caplog.text  # and the log has it


def test_without_any_way_the_log_has_it(world: World, caplog: pytest.LogCaptureFixture) -> None:
    account = world.fail()
    world.look()
    assert account.address in caplog.text


# -- several processes ---------------------------------------------------------------------

TURN = """
import sys
from panel import create_app, db
from panel.config import Settings
from panel.models import Vitals
from panel.alerts import watch
settings = Settings.load()
app = create_app(settings)
sys.stdin.readline()
with db.database.connection_context():
    watch.vitals.claim = lambda *_: True  # as if their looks fell together
    watch.Watch(settings, app.extensions["mailkeep"].vault).turn()
"""


def test_two_processes_that_look_at_once_send_one_mail(world: World, environ: dict[str, str]) -> None:
    world.sender()
    world.tell(mail=True, webhook=True)
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
    assert [process.wait(30) for process in processes] == [0, 0]
    assert len(world.smtp.taken) == 1 and len(world.receiver.taken) == 1
    assert [(row.condition, row.notified_times) for row in rows()] == [("account-failing", 1)]


def test_looks_of_several_processes_are_one(world: World) -> None:
    world.fail()
    world.look()
    Alert.delete().execute()
    watch.Watch(world.house.settings, world.house.vault).turn()
    assert rows() == []


def test_a_word_whose_process_died_is_brought_out_by_another(world: World) -> None:
    world.tell(webhook=True)
    world.fail()
    world.look()
    Alert.update(next_at=0, notified_times=0, notified_at=None).execute()
    taken_on = alert_log.take_due(told_somewhere=True)
    assert len(taken_on.troubles) == 1  # and then it was killed
    assert not alert_log.take_due(told_somewhere=True)
    before = len(world.receiver.taken)
    world.pass_(schedule.LEASE - MINUTE)
    assert len(world.receiver.taken) == before
    world.pass_(2 * MINUTE)
    assert len(world.receiver.taken) == before + 1


# -- what is kept ---------------------------------------------------------------------------


def test_the_last_ones_are_kept_for_ninety_days(world: World) -> None:
    account = world.fail()
    world.look()
    remedy(account)
    world.pass_(HOUR, 10 * MINUTE)
    assert len(alert_log.lately_over(9)) == 1
    world.pass_(91 * DAY, DAY)
    assert alert_log.lately_over(9) == []


def test_a_removed_account_is_over_too(world: World) -> None:
    account = world.fail()
    world.look()
    Account.delete().where(Account.uuid == account.uuid).execute()
    world.pass_(HOUR, 10 * MINUTE)
    assert world.open == [] and account.address in alert_log.lately_over(1)[0].message


def test_no_password_is_in_any_table_of_notices(world: World) -> None:
    world.sender()
    world.tell(mail=True)
    world.fail()
    world.look()
    assert Endpoint.select().exists()
    told = str(db.database.execute_sql("SELECT * FROM alert, alert_channels").fetchall())
    assert "for sending" not in told
    assert "in-the-path" not in " ".join(event.detail for event in Activity.select())
