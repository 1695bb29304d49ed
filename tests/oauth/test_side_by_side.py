"""Processes that refresh one consent at once, and processes that are killed while they do."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from panel import db
from panel.audit import Actor
from panel.errors import ConsentNeeded, TokenUnavailable
from panel.models import Account
from panel.oauth import consents, refreshing
from panel.oauth.consents import LEASE_SECONDS
from panel.vault import rotation, unfinished
from tests.oauth.conftest import Office

ROUNDS = """
import json
consent, account, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
lost, got = [], set()
for _ in range(rounds):
    vault.memory.clear()  # as a process that has just started: each round refreshes
    try:
        got.add(request(consent, account).token().secret.reveal())
    except Exception as error:
        lost.append(f"{type(error).__name__}: {error}")
print(json.dumps([lost, len(got)]))
"""


def figure(row: str, tried: int) -> dict[str, object]:
    return {"table": "tokens", "row": row, "column": "tried", "tried": tried}


def race(office: Office, account: Account, processes: int, rounds: int) -> list[tuple[list[str], int]]:
    """`processes` that refresh the consent of `account` `rounds` times each; what each met and how much it got."""
    ids = (office.consent(account).uid, account.uuid, str(rounds))
    running = [office.python(ROUNDS, *ids) for _ in range(processes)]
    for process in running:
        assert process.stdout and process.stdout.readline() == "ready\n"
    for process in running:
        assert process.stdin
        print("go", file=process.stdin, flush=True)
    return [tuple(json.loads(process.communicate(timeout=110)[0])) for process in running]


def test_two_processes_refresh_a_strict_consent_a_hundred_times_and_lose_none(office: Office) -> None:
    account = office.connected()
    results = race(office, account, 2, 50)
    assert results == [([], 50), ([], 50)]
    assert office.refreshes() == 100
    assert office.consent(account).ended_at is None
    sent = [entry["form"]["refresh_token"] for entry in office.issuer.log()]
    assert len(set(sent)) == len(sent)  # none was used twice
    assert office.token(account)


@pytest.mark.slow
@pytest.mark.reliability
def test_four_processes_refresh_a_strict_consent_a_thousand_times_and_lose_none(
    office: Office, record_property: Callable[[str, object], None]
) -> None:
    account = office.connected()
    assert race(office, account, 4, 250) == [([], 250)] * 4
    sent = [entry["form"]["refresh_token"] for entry in office.issuer.log()]
    assert len(set(sent)) == len(sent) == 1000
    record_property("reliability", figure("refreshed by four processes at once, strict provider", 1000))


def test_a_consent_that_is_refreshed_while_the_key_changes_is_not_lost(office: Office) -> None:
    account = office.connected()
    process = office.python(ROUNDS, office.consent(account).uid, account.uuid, "30")
    assert process.stdin and process.stdout
    assert process.stdout.readline() == "ready\n"
    print("go", file=process.stdin, flush=True)
    for _ in range(3):
        rotation.rotate(office.vault, Actor("admin@example.org"))
        unfinished.resume(office.vault)
    lost, got = json.loads(process.communicate(timeout=120)[0])
    assert (lost, got) == ([], 30)
    assert office.token(account)


DYING = """
from panel.oauth import client
consent, account, last, after = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "after"
steps = []
def wrap(name, real):
    def step(*args, **kwargs):
        steps.append(name)
        dies = len(steps) == last
        if dies and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*args, **kwargs)
        if dies:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return step
db.GuardedSqlite.commit = wrap("commit", db.GuardedSqlite.commit)
client.refresh = wrap("call", client.refresh)
request(consent, account).token()
print(",".join(steps))
"""


def die(office: Office, account: Account, step: int, when: str) -> str:
    """Refresh in a process that is killed at its `step`-th step; the steps of one that was not."""
    ids = (office.consent(account).uid, account.uuid, str(step), when)
    printed, _ = office.python(DYING, *ids).communicate(timeout=120)
    return printed.strip()


@pytest.mark.reliability
def test_a_refresh_that_is_killed_loses_nothing_at_a_lenient_provider(
    office: Office, record_property: Callable[[str, object], None]
) -> None:
    office.issuer.set(strict=False)
    account = office.connected()
    steps = die(office, account, 0, "before").split(",")
    assert steps.count("call") == 1
    assert len(steps) >= 3  # lease, call, commit
    for number in range(1, len(steps) + 1):
        for when in ("before", "after"):
            assert die(office, account, number, when) == ""
            assert office.in_new_process().token(account), f"killed {when} step {number} of {steps}"
    record_property(
        "reliability", figure("killed before and after each step, lenient provider", 2 * len(steps))
    )


def test_a_refresh_that_is_killed_loses_at_a_strict_provider_only_what_came_and_was_not_stored(
    office: Office,
) -> None:
    account = office.connected()
    steps = die(office, account, 0, "before").split(",")
    call = steps.index("call") + 1
    lost = set()
    for number in range(1, len(steps) + 1):
        for when in ("before", "after"):
            assert die(office, account, number, when) == ""
            try:
                office.in_new_process().token(account)
            except ConsentNeeded:
                lost.add((number - call, when))
                office.connect(account)
    assert lost == {
        (0, "after"),
        (1, "before"),
    }  # from the answer to its commit: one gap, named in the manual


def test_a_lease_of_a_process_that_was_killed_holds_nobody_up(office: Office) -> None:
    office.issuer.set(strict=False)
    account = office.connected()
    die(office, account, 2, "before")
    assert office.consent(account).lease_owner
    began = time.monotonic()
    assert office.token(account)
    assert time.monotonic() - began < LEASE_SECONDS


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_jumps_ends_no_lease_of_a_living_process(
    office: Office, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    account = office.connected()
    monkeypatch.setattr(refreshing, "WAITING_SECONDS", 0.5)
    held = consents.take(office.consent(account).uid, account.uuid, office.vault)
    assert held
    now = db.now
    monkeypatch.setattr(db, "now", lambda: now() + hours * 3600)
    other = office.in_new_process()
    with pytest.raises(TokenUnavailable, match="Another process"):
        other.token(account, interactive=True)
    assert office.asked() == 0
    long_ago = held.owner, time.monotonic() - consents.LEASE_SECONDS - 1
    other.vault.memory["leases"][held.uid] = long_ago  # it does end
    assert other.token(account, interactive=True)


def test_a_lease_of_another_machine_is_waited_for(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    account = office.connected()
    monkeypatch.setattr(refreshing, "WAITING_SECONDS", 0.5)
    office.sql("UPDATE consent SET lease_owner = 'elsewhere:1:ab', lease_until = ?", db.now() + 60)
    with pytest.raises(TokenUnavailable, match="Another process"):
        office.token(account, interactive=True)
    assert office.asked() == 0
    office.sql("UPDATE consent SET lease_until = ?", db.now() - 1)
    assert office.token(account)
