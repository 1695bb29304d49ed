"""Each message once, byte for byte, whatever is killed when."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from peewee import fn

from panel.mail import envelope
from panel.models import Account, LoggedMessage, MailCount, MailTotal
from tests.collect.conftest import DEADLY, PostOffice, letter

KILLS = 10
MESSAGES = 2000

# Kills its own process at the n-th call of a step, before or after it.
KILL_AT = f"""
from pathlib import Path
from panel.collect import delivery, pop3, transfer
from panel.collect.cursor import Cursor
from panel.mail.imap import ImapSession
from panel.mail.maildir import Maildir
transfer.BATCH = 5
step, when, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
from panel.messages import record
owners = dict(
    save=Cursor, rename=Path, delivered=record, _run=record, _insert=delivery.Delivery,
    _clear_ready=delivery.Delivery, move=ImapSession, _number=pop3,
)
owner = owners.get(step, Maildir)
{DEADLY}
collector.collect(sys.argv[4], force=True)
"""

STEPS = [
    ("write", "before", 3),
    ("write", "after", 3),
    ("sync_tmp", "before", 2),
    ("sync_tmp", "after", 2),  # nothing committed
    ("_insert", "after", 1),  # inside the transaction
    ("delivered", "before", 2),
    ("_run", "after", 2),  # some of a batch logged
    ("delivered", "after", 2),
    ("save", "after", 2),
    ("publish", "before", 1),  # committed, nothing renamed
    ("rename", "before", 1),
    ("rename", "after", 3),  # some renamed
    ("sync_new", "before", 1),  # all renamed
    ("sync_new", "after", 1),
    ("publish", "before", 2),
    ("_clear_ready", "after", 3),
    ("_clear_ready", "before", 4),  # the very end: all delivered, not yet noted
]


@pytest.fixture
def killed(post: PostOffice) -> Account:
    return post.add(*[letter(number) for number in range(12)])


def kill_at(post: PostOffice, account: Account, step: str, when: str, number: int) -> None:
    process = post.python(KILL_AT, step, when, str(number), account.uuid)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, output


@pytest.mark.parametrize(("step", "when", "number"), STEPS)
def test_a_kill_between_two_steps_loses_and_doubles_nothing(
    post: PostOffice, killed: Account, step: str, when: str, number: int
) -> None:
    kill_at(post, killed, step, when, number)
    post.collect(killed)
    assert post.mail(killed) == sorted(letter(n) for n in range(12))
    assert not list((post.spool(killed) / "tmp").iterdir())
    assert not [row for row in post.fetched(killed) if row.ready]
    assert_logged(killed, [str(n) for n in range(12)])


def assert_logged(account: Account, subjects: list[str]) -> None:
    """What came is logged and counted, each once."""
    rows = LoggedMessage.select(LoggedMessage.subject).where(LoggedMessage.account == account)
    assert sorted(row.subject for row in rows) == sorted(subjects)
    counts = MailCount.select(fn.sum(MailCount.delivered)).where(MailCount.account == account)
    assert counts.scalar() == MailTotal.select(fn.sum(MailTotal.delivered)).scalar() == len(subjects)


def test_a_kill_after_the_commit_is_finished_even_when_the_server_is_gone(
    post: PostOffice, killed: Account
) -> None:
    kill_at(post, killed, "publish", "before", 1)
    post.dovecot.add_user(post.user(killed), "changed")
    with pytest.raises(Exception, match="refused"):
        post.collect(killed)
    assert len(post.mail(killed)) == 5


def test_mail_that_was_taken_before_the_round_could_note_it_never_returns(
    post: PostOffice, killed: Account
) -> None:
    kill_at(post, killed, "sync_new", "after", 1)
    taken = list((post.spool(killed) / "new").iterdir())
    assert len(taken) == 5
    for path in taken:
        path.unlink()
    post.collect(killed)
    assert len(post.mail(killed)) == 12 - 5
    post.collect(killed)
    assert len(post.mail(killed)) == 12 - 5


def test_two_thousand_messages_arrive_byte_for_byte_while_the_collector_is_killed_ten_times(
    post: PostOffice,
) -> None:
    chance = random.Random(20261124)
    sent = [strange_letter(number, chance) for number in range(MESSAGES)]
    account = post.add(*sent)
    for _ in range(KILLS):
        process = post.process("--once", "--account", account.address)
        wait_for_more(post.spool(account), chance.randint(1, 120), process)
        time.sleep(chance.random() * 0.03)
        assert process.poll() is None, process.communicate()
        process.kill()
        process.communicate()
    process = post.process("--once", "--account", account.address)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert post.mail(account) == sorted(as_sent(raw) for raw in sent)
    assert not list((post.spool(account) / "tmp").iterdir())
    assert_logged(account, [envelope.read(as_sent(raw)).subject for raw in sent])


def wait_for_more(spool: Path, more: int, process: subprocess.Popen[str]) -> None:
    """Wait until that many messages were written that were not there when the collector had recovered."""
    began = count(spool)
    while count(spool) < began + more:
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
        began = min(began, count(spool))


def count(spool: Path) -> int:
    return sum(1 for name in ("new", "tmp") if (spool / name).exists() for _ in (spool / name).iterdir())


def strange_letter(number: int, chance: random.Random) -> bytes:
    """Small, large, 8-bit, with NUL, with long lines, with dots and IMAP's own words, without an end."""
    bodies = [
        b"",
        b"Hello.\r\n" * chance.randint(1, 50),
        bytes(chance.choice(range(0x80, 0x100)) for _ in range(300)) + b"\r\n",
        b"x" * chance.randint(2_000, 100_000) + b"\r\n",
        b"a\0b\0\0c\r\n",
        b".\r\n..\r\n)\r\n* 1 FETCH (UID 1 BODY[] {3}\r\n",
        "Grüße aus Köln 🚀\r\n".encode() * 20,
        chance.randbytes(chance.randint(1, 20_000)).replace(b"\r", b"r").replace(b"\n", b"\r\n"),
        b"no end of line",
    ]
    return letter(number, bodies[number % len(bodies)])


def as_sent(raw: bytes) -> bytes:
    """What Dovecot sends for a file: IMAP has no NUL, so it puts 0x80 in its place."""
    return raw.replace(b"\0", b"\x80")
