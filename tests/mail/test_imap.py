"""Reading a folder of a real Dovecot."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from panel.errors import MailError, MessageTooLarge
from panel.mail.imap import ImapSession, probe
from panel.mail.policy import Policy
from panel.mail.server import MailServer
from panel.secret import Secret
from tests.mail.conftest import PASSWORD, at, tried
from tests.servers.certificates import Authority
from tests.servers.dovecot import DovecotServer
from tests.servers.hostile import ScriptedServer, Talk, greet

Session = Callable[..., ImapSession]


def message(number: int, size: int = 1000) -> bytes:
    return b"Subject: Message %d\r\n\r\n" % number + os.urandom(size // 2).hex().encode() + b"\r\n"


def remove(maildir: Path, which: int) -> None:
    """Take one message out of a Maildir, in the order of delivery."""
    files = sorted([*(maildir / "new").iterdir(), *(maildir / "cur").iterdir()], key=lambda path: path.name)
    files[which].unlink()


@pytest.fixture
def three(dovecot: DovecotServer, user: str) -> Iterator[list[bytes]]:
    """Three messages in the INBOX."""
    messages = [message(number) for number in (1, 2, 3)]
    for raw in messages:
        dovecot.deliver(user, raw)
    yield messages


def test_messages_come_byte_for_byte(session: Session, three: list[bytes]) -> None:
    with session() as imap:
        assert [raw for _, raw in imap.fetch(imap.uids(0))] == three


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\r\n",
        b"no header at all",
        b"Subject: \xff\xfe 8 bit\r\n\r\n\x00\x01 NUL\r\n",
        b"Subject: * 1 FETCH (UID 99 BODY[] {5}\r\n\r\na1 OK done\r\n)\r\n",
        b"X: y\r\n\r\n" + b"a" * 3_000_000 + b"\r\n",
    ],
    ids=["empty", "only a line end", "no header", "8 bit and NUL", "looks like IMAP", "one line of 3 MB"],
)
def test_odd_messages_come_too(dovecot: DovecotServer, user: str, session: Session, raw: bytes) -> None:
    dovecot.deliver(user, raw)
    dovecot.deliver(user, message(2))
    with session() as imap:
        got = [body for _, body in imap.fetch(imap.uids(0))]
    assert len(got) == 2
    assert got[0].replace(b"\x80", b"\0") == raw  # Dovecot hands out NUL as 0x80, which IMAP cannot carry


def test_reading_marks_nothing_as_seen(session: Session, three: list[bytes]) -> None:
    for _ in range(2):
        with session() as imap:
            assert len(list(imap.fetch(imap.uids(0)))) == 3
            assert len(imap.unseen()) == 3


def test_the_folder_is_opened_read_only(dovecot: DovecotServer, user: str, session: Session) -> None:
    path = dovecot.deliver(user, message(1))
    with session() as imap:
        list(imap.fetch(imap.uids(0)))
    assert path.exists(), "SELECT would have moved it from new/ to cur/"


def test_only_unread_ones_are_unseen(dovecot: DovecotServer, user: str, session: Session) -> None:
    path = dovecot.deliver(user, message(1))
    dovecot.deliver(user, message(2))
    path.rename(dovecot.maildir(user) / "cur" / f"{path.name}:2,S")
    with session() as imap:
        (unseen,) = imap.unseen()
        assert imap.uids(0) == [1, 2]
        ((_, raw),) = imap.fetch([unseen])
    assert raw.startswith(b"Subject: Message 2")


def test_only_uids_above_the_last_one_are_listed(session: Session, three: list[bytes]) -> None:
    with session() as imap:
        assert [imap.uids(after) for after in (0, 1, 2, 3, 1000)] == [[1, 2, 3], [2, 3], [3], [], []]


def test_what_arrived_since_a_moment_is_told_by_the_servers_clock(
    dovecot: DovecotServer, user: str, session: Session
) -> None:
    old, new = dovecot.deliver(user, message(1)), dovecot.deliver(user, message(2))
    os.utime(old, (1_000_000_000, 1_000_000_000))
    os.utime(new, (1_000_000_100, 1_000_000_100))
    with session() as imap:
        moments = (999_999_999, 1_000_000_000, 1_000_000_001, 1_000_000_100, 1_000_000_101)
        assert [imap.arrived_since(moment) for moment in moments] == [[1, 2], [1, 2], [2], [2], []]


def test_an_empty_folder_is_empty(session: Session) -> None:
    with session() as imap:
        assert (imap.exists, imap.uids(0), imap.unseen(), imap.sizes([]), list(imap.fetch([]))) == (
            0, [], [], {}, [],
        )  # fmt: skip
        assert imap.uidvalidity > 0
        assert imap.uidnext == 1


def test_sizes_are_those_of_the_messages(session: Session, three: list[bytes]) -> None:
    with session() as imap:
        assert imap.sizes([1, 2, 3, 99]) == {uid: len(raw) for uid, raw in enumerate(three, 1)}


def test_many_messages_with_gaps_come_each_once(dovecot: DovecotServer, user: str, session: Session) -> None:
    dovecot.fill(user, 700, 500)
    with session() as imap:
        wanted = [uid for uid in imap.uids(0) if uid % 3]
        assert [uid for uid, _ in imap.fetch(wanted)] == wanted
        assert len(imap.sizes(range(1, 701))) == 700


def test_a_message_that_vanishes_meanwhile_is_left_out(
    dovecot: DovecotServer, user: str, session: Session, three: list[bytes]
) -> None:
    with session() as imap:
        uids = imap.uids(0)
        remove(dovecot.maildir(user), 1)
        got = [raw for _, raw in imap.fetch(uids)]
    assert got == [three[0], three[2]]


def test_the_same_uids_mean_other_messages_after_a_new_uidvalidity(
    dovecot: DovecotServer, user: str, session: Session, three: list[bytes]
) -> None:
    with session() as imap:
        before = imap.uidvalidity
    dovecot.new_uidvalidity(user)
    with session() as imap:
        assert imap.uidvalidity != before
        assert imap.exists == 3


def test_another_folder_can_be_read_whatever_letters_its_name_has(
    dovecot: DovecotServer, user: str, session: Session
) -> None:
    dovecot.deliver(user, b"Subject: found\r\n\r\n", 'Entw&APw-rfe &- "Quotes"')
    with session() as imap:
        assert imap.exists == 0
    with session('Entwürfe & "Quotes"') as imap:
        assert imap.exists == 1


def test_a_message_over_the_limit_is_refused_by_uid_and_size(
    dovecot: DovecotServer, user: str, endpoint: MailServer, policy: Policy
) -> None:
    dovecot.deliver(user, message(1))
    dovecot.deliver(user, message(2, 50_000))
    limited = Policy(policy.ports, ca_file=policy.ca_file, max_message=10_000)
    with ImapSession(endpoint, Secret(PASSWORD), "INBOX", limited) as imap:
        assert imap.sizes([2])[2] > 10_000
        with pytest.raises(MessageTooLarge) as caught:
            list(imap.fetch([1, 2]))
    assert caught.value.uid == 2 and caught.value.size > 50_000


def test_a_session_that_was_stopped_in_a_fetch_says_that_it_has_ended(
    session: Session, three: list[bytes]
) -> None:
    with session() as imap:
        messages = imap.fetch([1, 2, 3])
        next(messages)
        messages.close()  # type: ignore[attr-defined]
        with pytest.raises(MailError, match="has ended"):
            imap.uids(0)


# -- the trial ---------------------------------------------------------------------------


def test_a_trial_goes_through_five_steps_and_counts(
    endpoint: MailServer, policy: Policy, three: list[bytes]
) -> None:
    steps = tried(endpoint, policy)
    assert [step.name for step in steps] == ["name", "connect", "tls", "login", "folder"]
    assert all(step.ok and step.message and not step.remedy for step in steps)
    assert "3 messages, 3 of them unread" in steps[-1].message
    assert "TLSv1.3" in steps[2].message


def test_a_trial_changes_nothing(
    dovecot: DovecotServer, user: str, endpoint: MailServer, policy: Policy
) -> None:
    path = dovecot.deliver(user, message(1))
    tried(endpoint, policy)
    assert path.exists()


def test_a_trial_without_encryption_says_so(dovecot: DovecotServer, user: str, policy: Policy) -> None:
    steps = tried(MailServer("imap", "localhost", dovecot.starttls_port, "none", user), policy)
    assert steps[2].message.startswith("Not encrypted")


def test_a_missing_folder_is_named_and_the_others_are_listed(
    dovecot: DovecotServer, user: str, endpoint: MailServer, policy: Policy, session: Session
) -> None:
    dovecot.deliver(user, message(1), "Support")
    step = tried(endpoint, policy, folder="Suport")[-1]
    assert not step.ok and "“Suport”" in step.message and "INBOX, Support" in step.remedy
    with pytest.raises(MailError) as caught:
        with session("Suport"):
            pass
    assert caught.value.step == "folder" and caught.value.permanent
    assert "Support" not in str(caught.value), "it is stored, and the server makes up the names"


def test_a_trial_shows_each_step_while_the_next_still_runs(
    certificates: Authority, trusting: Callable[..., Policy]
) -> None:
    shown = threading.Event()

    def refuse_later(talk: Talk) -> None:
        greet(talk)
        tag, _ = talk.command()
        assert shown.wait(60)
        talk.send(tag + b" NO [AUTHENTICATIONFAILED] wrong\r\n")
        talk.line()

    with ScriptedServer(refuse_later, certificates.good()) as server:
        steps = probe(at(server), Secret("wrong"), "INBOX", trusting(server))
        assert [next(steps).name for _ in range(3)] == ["name", "connect", "tls"]
        shown.set()
        assert not next(steps).ok
