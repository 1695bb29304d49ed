"""Killed at every step of parking a session and of waking it: nothing lost, nothing twice, nothing waits."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from panel.collect import parked
from tests.collect.conftest import DEADLY, PostOffice, due_uuids, letter

# Collects and parks, wakes and collects again; kills itself at the n-th call of a step, before or after it.
KILL_AT = f"""
import time
from dataclasses import replace
from panel.collect import parked
from panel.collect.lease import Lease
from panel.collect.parking import Parking
from panel.mail.imap import ImapSession
from panel.mail.imap_idle import IdleImap
from panel.mail.maildir import Maildir
step, when, number, uuid = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
owner = next(one for one in (Parking, ImapSession, IdleImap, Lease, Maildir) if step in vars(one))
{DEADLY}
parking = Parking(50, lambda account: None, collector.require_ready)
parking.start()
collector = replace(collector, parking=parking)
collector.collect(uuid, force=True)
print("parked", flush=True)
while not parking.calls(uuid):
    time.sleep(0.01)
collector.collect(uuid)
parking.check()
parking.stop()
os._exit(3)
"""

STEPS = [  # the second time is that of the round that was announced
    ("admits", 1), ("rest", 1), ("idle", 1), ("release", 1), ("park", 1), ("_hear", 1),
    ("_wake", 1), ("_call_due", 1), ("take", 2), ("resume", 1), ("end_idle", 1),
    ("renew", 4), ("sync_tmp", 2), ("publish", 2), ("sync_new", 2), ("rest", 2), ("release", 2), ("park", 2),
    ("check", 1), ("stop", 1),
]  # fmt: skip


@pytest.mark.reliability
@pytest.mark.parametrize("when", [pytest.param("before", marks=pytest.mark.slow), "after"])
@pytest.mark.parametrize(("step", "number"), STEPS)
def test_a_kill_while_parking_or_waking_loses_and_doubles_nothing(
    post: PostOffice, step: str, number: int, when: str, record_property: Callable[[str, object], None]
) -> None:
    account = post.add(letter(1))
    process = post.python(KILL_AT, step, when, str(number), account.uuid)
    assert process.stdout is not None
    said = process.stdout.readline()
    if said == "parked\n":
        post.deliver(account, letter(2))
    output, _ = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, said + output
    post.deliver(account, letter(3))
    assert parked.connected() == 0
    assert due_uuids() == [account.uuid]
    post.collect(account)
    expected = [letter(1), letter(2), letter(3)] if said == "parked\n" else [letter(1), letter(3)]
    assert post.mail(account) == expected
    assert post.row(account).parked_by is None
    which = f"{step.strip('_')}, {number}"
    record_property("reliability", {"table": "parking", "row": which, "column": when, "tried": 1})
