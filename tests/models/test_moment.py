"""No time that lies ahead of now is believed: each column of each table is under a rule, or named here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from peewee import BigIntegerField

from panel import audit, db
from panel.accounts import overview, probe, totals
from panel.accounts.overview import Health
from panel.alerts import alert_log, conditions
from panel.audit import Actor
from panel.collect import cursor, due, lease
from panel.collect.cursor import Cursor
from panel.errors import Throttled
from panel.health import checks, heartbeat
from panel.models import (
    TABLES,
    Account,
    Activity,
    Alert,
    Collection,
    Encryption,
    Heartbeat,
    Skipped,
    SweepReport,
)
from panel.models.collection import LEASE_SECONDS
from panel.models.moment import SLACK, FutureTime, PastTime, UtcTime, furthest, is_ahead
from panel.vault import reports
from tests.collect.conftest import due_uuids
from tests.encryption.conftest import House, house  # noqa: F401

DAY = 24 * 3600
AHEAD = (2 * 3600, 3 * DAY, 10**9, 2**62)  # seconds

# Whole numbers that are no times.
NUMBERS = {
    "collection.uidvalidity", "collection.last_uid", "collection.begin_below", "message.uidvalidity",
    "message.uid", "skipped.uidvalidity", "skipped.uid", "skipped.size", "uidl.number", "uidl.size",
    "endpoint.failed_generation", "submission_password.failed_generation", "oauth_app.failed_generation", "consent.failed_generation",
    "pending.failed_generation", "oauth_app.secret_expires_at",  # which is in the future
    "heartbeat.boot_seconds", "heartbeat.jumped_by",
    "message_log.size", "message_log.uidvalidity", "message_log.uid",
}  # fmt: skip
# Sessions and sign-in tries have rules of their own, in panel.sign_in.
SIGN_IN = ("session", "pending_form", "sign_in_try")
# Read as they stand, each for a reason. What is not among them and not `PastTime` or `FutureTime` fails below.
AS_IT_STANDS = {
    "person.created_at": "shown", "activity.at": "a record: shown, counted by activity.recent",
    "account.created_at": "listing and the check of collecting ask is_ahead",
    "set_up.closed_at": "a mark", "set_up.encryption_later_at": "a mark", "set_up.mailbox_later_at": "a mark",
    "person.last_sign_in_at": "shown", "account.removed_at": "one ahead counts as long ago: removal.purge",
    "job.started_at": "deleted where a day off", "job.beat_at": "compared in both directions", "job.finished_at": "a mark",
    "person.disabled_at": "a mark: nobody is let in by a time", "account.paused_at": "a mark",
    "endpoint.secret_set_at": "a check list, which counts it as changed: rather one too many",
    "skipped.at": "shown", "uidl.gone_at": "kept longer then, up to the cap of names", "heartbeat.beat_at": "compared in both directions", "heartbeat.jumped_at": "the same",
    "heartbeat.forwarded_at": "the same", "heartbeat.counted_at": "heartbeat.claim", "heartbeat.pruned_at": "heartbeat.claim",
    "heartbeat.noticed_at": "heartbeat.claim", "waiting.oldest_at": "from a file's name, counted anew",
    "waiting.counted_at": "shown", "forgotten_secret.forgotten_at": "shown",
    "sweep_report.begun_at": "shown", "sweep_report.finished_at": "a mark: order is by id",
    "alert.since": "the lower of it and what is found", "alert.quiet_since": "set anew by the ledger",
    "alert.resolved_at": "a mark", "alert.notified_at": "the log asks ahead", "alert.resolution_sent_at": "a mark",
    "alert_channels.mail_worked_at": "shown", "alert_channels.mail_failed_at": "shown",
    "alert_channels.webhook_worked_at": "shown", "alert_channels.webhook_failed_at": "shown",
    "this_copy.backup_made_at": "a mark", "encryption.backup_proved_at": "a mark: its tag vouches, not its time",
    "oauth_app.created_at": "shown", "oauth_app.problem_at": "shown", "consent.connected_at": "shown",
    "consent.ended_at": "a mark, with its code", "consent.created_at": "shown",
    "pending.created_at": "one ahead is over: it opens no flow",
    "message_log.at": "shown; order is by id", "round_log.started_at": "shown; order is by id",
    "submission_password.created_at": "shown", "submission_password.sent_at": "shown",
    "submission_answer.at": "one ahead is not believed: Answers.find",
    "round_log.first_at": "shown", "mail_count.at": "charts end now", "mail_total.at": "charts end now",
}  # fmt: skip


def columns() -> dict[str, BigIntegerField]:
    return {
        f"{table._meta.table_name}.{column.name}": column
        for table in TABLES
        for column in table._meta.sorted_fields
        if isinstance(column, BigIntegerField)
    }


def test_each_whole_number_of_the_schema_is_a_time_under_a_rule_or_no_time() -> None:
    left = {
        name
        for name, column in columns().items()
        if not isinstance(column, PastTime | FutureTime) and not name.startswith(SIGN_IN)
    }
    assert left - NUMBERS == set(AS_IT_STANDS)
    assert all(isinstance(columns()[name], UtcTime) for name in AS_IT_STANDS)


@pytest.mark.parametrize(
    "name", [name for name, column in columns().items() if isinstance(column, UtcTime | FutureTime)]
)
def test_one_that_lies_ahead_is_named_by_doctor(house: House, name: str) -> None:
    column = columns()[name]
    table = column.model
    with db.database.connection_context():
        assert furthest(TABLES) == (0, "")
        plant(house, table, column, db.now() + DAY + DAY)
        assert furthest(TABLES)[1] == name
        [found] = [one for one in run_deep(house) if one.check == "clock"]
        assert not found.ok and name in found.message and "timedatectl" in found.remedy
        plant(house, table, column, db.now() + SLACK // 2)
        assert furthest(TABLES) == (0, "")


def run(house: House) -> list[Any]:
    return checks.run(checks.gather(house.settings, house.vault))


def run_deep(house: House) -> list[Any]:
    """As `flask doctor` does; a page asks only for what an index finds."""
    return checks.run(checks.gather(house.settings, house.vault, deep=True))


def plant(house: House, table: Any, column: Any, at: int) -> None:
    """Write a row with that time by SQL, and what else it must hold."""
    heartbeat.beat()
    name = table._meta.table_name
    house.sql("PRAGMA foreign_keys = OFF")
    if not house.sql(f"SELECT 1 FROM {name}"):
        others = [f for f in table._meta.sorted_fields if not f.null and f.name != "id"]
        values = {f.column_name: value_of(f) for f in others} | (
            {"id": 1} if "id" in table._meta.fields else {}
        )
        if "role" in values:
            values["role"] = "'admin'"
        house.sql(f"INSERT INTO {name} ({', '.join(values)}) VALUES ({', '.join(map(str, values.values()))})")
    house.sql(f"UPDATE {name} SET {column.column_name} = {at}")


def value_of(field: Any) -> object:
    return 1 if isinstance(field, BigIntegerField) or "Integer" in type(field).__name__ else "'x'"


# -- what each rule is for ------------------------------------------------------------------


@pytest.fixture
def account(house: House) -> Account:
    with db.database.connection_context():
        endpoint = house.add()
        Collection.insert(account=endpoint.account_id, waits=60).on_conflict_ignore().execute()
        account: Account = Account.get(Account.uuid == endpoint.account_id)
        return account


def note(**values: object) -> Collection:
    Collection.update(**values).execute()
    return Collection.get()


@pytest.mark.parametrize("seconds", AHEAD)
@pytest.mark.parametrize("kind", ["success", "failing", "refused", "throttled", "never ran"])
def test_a_mailbox_that_is_due_in_a_time_that_no_wait_has_is_due(
    house: House,
    account: Account,
    seconds: int,
    kind: str,
) -> None:
    waits = {"success": 60, "failing": 3600, "refused": 6 * 3600, "throttled": DAY, "never ran": None}[kind]
    ahead = db.now() + (waits or 0) + seconds
    with db.database.connection_context():
        row = note(
            next_due_at=min(ahead, 2**62), waits=waits, failures=int(kind not in ("success", "never ran"))
        )
        assert due_uuids() == [account.uuid] and due.find(account.uuid)
        assert due.next_try(row, 60) is None
        row = note(next_due_at=db.now() + (waits or 60) - 5)
        assert due_uuids() == []
        assert due.next_try(row, 60) == row.next_due_at


def test_a_wait_that_sql_made_longer_is_no_longer_than_a_day(house: House, account: Account) -> None:
    with db.database.connection_context():
        note(next_due_at=db.now() + 2 * DAY, waits=2**40)
        assert due.find(account.uuid)


@pytest.mark.parametrize("seconds", AHEAD)
def test_a_lease_longer_than_any_holds_nobody_up(house: House, account: Account, seconds: int) -> None:
    with db.database.connection_context():
        note(leased_by="elsewhere:1:x", leased_until=min(db.now() + LEASE_SECONDS + seconds, 2**62))
        assert due.find(account.uuid)
        Collection.update(last_success_at=1).execute()  # so long ago that only a round under way excuses it
        assert totals.read(house.vault.latest()).health == {Health.OVERDUE: 1}
        assert lease.Lease(account.uuid).take()
        assert totals.read(house.vault.latest()).health == {Health.OK: 1}
        note(leased_by="elsewhere:1:x", leased_until=db.now() + LEASE_SECONDS - 1)
        assert not lease.Lease(account.uuid).take()


@pytest.mark.parametrize("seconds", AHEAD)
def test_a_mailbox_last_collected_tomorrow_is_not_fine(house: House, account: Account, seconds: int) -> None:
    with db.database.connection_context():
        heartbeat.beat()
        Account.update(created_at=db.now() - DAY).execute()
        note(last_success_at=min(db.now() + seconds, 2**62), next_due_at=db.now() + 30, waits=60)
        [line] = overview.lines(house.vault)
        assert line.last_success_at is None
        wrong = {one.check: one.message for one in run(house) if not one.ok}
        assert line.address in wrong["collecting"] and "clock" in wrong
        assert " in " not in wrong["collecting"]


def test_a_new_mailbox_made_tomorrow_is_overdue_today(house: House, account: Account) -> None:
    with db.database.connection_context():
        Account.update(created_at=db.now() + 3 * DAY).execute()
        assert "collecting" in {one.check for one in run(house) if not one.ok}


@pytest.mark.parametrize(
    "since", [{"failing_since": 1}, {"last_success_at": 1}, {"failing_since": 1, "last_success_at": 1}]
)
def test_an_alert_does_not_wait_for_a_day_that_never_was(
    house: House,
    account: Account,
    since: dict[str, int],
) -> None:
    ahead = db.now() + 3 * DAY
    with db.database.connection_context():
        Account.update(created_at=1).execute()
        usual = {"failing_since": db.now() - DAY, "last_success_at": db.now() - DAY}
        note(problem="No.", failures=3, **(usual | dict.fromkeys(since, ahead)))
        assert [one.topic for one in conditions.found(house.vault) if one.topic == "mailboxes"] == [
            "mailboxes"
        ]


@pytest.mark.parametrize(
    ("times", "failures", "longest"), [(0, 0, 3600), (1, 0, 3600), (3, 0, DAY), (0, 2, 3600)]
)
def test_a_reminder_is_due_that_lies_further_ahead_than_any(times: int, failures: int, longest: int) -> None:
    def is_due(at: int) -> bool:
        return alert_log.is_due(at, 1000, times=times, failures=failures)

    assert is_due(1000) and is_due(1000 + longest + 1) and not is_due(1000 + longest)


def test_a_resolution_is_sent_once_whatever_the_time_of_the_last_message(house: House) -> None:
    with db.database.connection_context():
        Alert.create(
            topic="worker", subject="", condition="x", message="x", remedy="x", path="/", since=1, resolved_at=db.now(),
            notified_at=db.now() + 3 * DAY, notified_times=1, next_at=0,
        )  # fmt: skip
        due_now = alert_log.claim_due()
        assert len(due_now.resolved) == 1
        alert_log.record_sent(due_now, {entry.id: "ops" for entry in due_now.resolved})
        Alert.update(next_at=0).execute()
        assert not alert_log.claim_due().all


def test_a_message_is_tried_again_though_its_time_is_days_ahead(house: House, account: Account) -> None:
    class Box:
        def uids(self, after: int) -> list[int]:
            return []

        def sizes(self, uids: Any) -> dict[int, int]:
            return dict.fromkeys(uids, 1)

    with db.database.connection_context():
        for uid, seconds in ((7, 3 * DAY), (8, 600)):
            Skipped.create(
                account=account, uidvalidity=1, uid=uid, size=1, reason="x", at=1, again_at=db.now() + seconds
            )
        Account.update(begin="all").execute()
        found = cursor.wanted_uids(Box(), Account.get(), Cursor(1, 9, 1))  # type: ignore[arg-type]
        assert found == [7]


def test_the_newest_report_of_a_sweep_is_the_one_written_last(house: House) -> None:
    with db.database.connection_context():
        for number, at in enumerate((db.now() + 3 * DAY, db.now())):
            SweepReport.create(
                kind="enable", begun_at=1, finished_at=at, moved=number, opened=0,
                result='{"failed": [], "scan": null}',
            )  # fmt: skip
        newest = reports.last()
        assert newest is not None and newest.moved == 1


def test_what_is_told_of_the_key_has_no_time_ahead(house: House) -> None:
    with db.database.connection_context():
        names = ("key_created_at", "enabled_at", "verified_at", "trouble_since")
        Encryption.update(**dict.fromkeys(names, db.now() + 3 * DAY)).execute()
        found = house.vault.latest()
        assert [getattr(found.times, name) for name in names] == [None] * 4


def test_a_worker_last_heard_of_tomorrow_is_silent(house: House) -> None:
    with db.database.connection_context():
        heartbeat.beat()
        Heartbeat.update(beat_at=db.now() + 3 * DAY).execute()
        wrong = {one.check: one.message for one in run(house) if not one.ok}
        assert wrong["worker"] == "The worker last responded at a time ahead of the clock."


# -- the limit of tests in an hour --------------------------------------------------------------


def record_at(at: int, count: int, what: str = probe.TESTED) -> None:
    for _ in range(count):
        Activity.create(at=at, who="x", what=what, subject="", address="", detail="")


def test_tests_of_tomorrow_count_as_now_and_no_longer_than_an_hour(house: House) -> None:
    with db.database.connection_context():
        record_at(db.now() + 3 * DAY, probe.PER_HOUR)
        with pytest.raises(Throttled):
            next(probe.run([], "INBOX", house.settings, Actor("a"), "x"))
        record_at(db.now() - 3600, 1, "signed in")  # an hour later: something else was written since
        assert audit.recent(probe.TESTED) == 0
        record_at(db.now() - 3599, 2)
        assert audit.recent(probe.TESTED) == 2


def test_the_clock_of_another_machine_may_be_a_little_ahead() -> None:
    assert not is_ahead(db.now() + SLACK) and is_ahead(db.now() + SLACK + 2)
    assert not is_ahead(db.now() + SLACK + 60, 60) and not is_ahead("tomorrow") and not is_ahead(None)
    Check = Callable[[object], object]
    read: Check = PastTime(null=True).python_value
    assert read(db.now() + SLACK) is not None and read(db.now() + 1000) is None
    assert read("x") is None and read(-1) is None and read(None) is None
