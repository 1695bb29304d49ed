"""POP3 servers that forget, repeat and renumber the names of their messages: nothing is lost, nothing twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest

from panel import db
from panel.collect import pop3_headers, pop3_identity
from panel.errors import MailError
from panel.models import Account, Uidl
from tests.collect.conftest import PostOffice, letter
from tests.servers.certificates import Authority
from tests.servers.hostile import ScriptedServer
from tests.servers.pop3 import CAPABILITIES, PopMailbox

NO_TOP = tuple(one for one in CAPABILITIES if one != b"TOP")
FEW = [(f"n{number}", letter(number, b"x" * number + b"\r\n")) for number in range(3)]
MANY = [(f"n{number}", letter(number, b"x" * number + b"\r\n")) for number in range(20)]
OLD = b"Received: by a; Mon, 2 Nov 2018 10:00:00 +0000\r\n"


@dataclass
class Collected:
    """One account, collected from a mailbox that the test changes between the rounds."""

    post: PostOffice
    account: Account
    box: PopMailbox

    def round(self, *mail: tuple[str, bytes]) -> list[bytes]:
        """One round with this in the mailbox; what it delivered."""
        self.box.mail = list(mail)
        before = self.post.mail(self.account) if self.post.spool(self.account).exists() else []
        self.post.collect(self.account)
        after = self.post.mail(self.account)
        for raw in before:
            after.remove(raw)
        return after


@pytest.fixture
def collected(post: PostOffice, certificates: Authority) -> Iterator[Callable[..., Collected]]:
    servers = []

    def make(begin: str = "all", on_server: str = "keep", **odd: object) -> Collected:
        box = PopMailbox(**odd)  # type: ignore[arg-type]
        server = ScriptedServer(box, certificates.good())
        servers.append(server)
        settings = replace(
            post.settings, mail_ports=frozenset({server.port}), mail_ca_file=certificates.ca_file
        )
        here = replace(post, settings=settings)
        account = here.add(port=server.port, protocol="pop3", begin=begin)
        Account.update(on_server=on_server).where(Account.uuid == account.uuid).execute()
        return Collected(here, account, box)

    yield make
    for server in servers:
        server.stop()


def renamed(mail: list[tuple[str, bytes]], to: str = "other") -> list[tuple[str, bytes]]:
    return [(f"{to}{number}", raw) for number, (_, raw) in enumerate(mail)]


def raws(mail: list[tuple[str, bytes]]) -> list[bytes]:
    return sorted(raw for _, raw in mail)


BOTH = pytest.mark.parametrize("begin", ["all", "now"])
SHOWS = pytest.mark.parametrize(
    ("begin", "offers"),
    [("all", CAPABILITIES), ("now", CAPABILITIES), ("now", NO_TOP)],
    ids=["all", "now", "now without TOP"],
)


@SHOWS
@pytest.mark.parametrize(
    "between",
    [
        lambda mail: [],
        lambda mail: mail[1:],
        lambda mail: mail[:-1],
        lambda mail: renamed(mail),
        lambda mail: renamed(mail[::-1]),
    ],
    ids=["nothing", "without the first", "without the last", "renamed", "renamed and turned round"],
)
def test_what_one_session_does_not_list_or_names_anew_comes_no_second_time(
    collected: Callable[..., Collected],
    begin: str,
    offers: list[bytes],
    between: Callable[[list[tuple[str, bytes]]], list[tuple[str, bytes]]],
) -> None:
    mail = MANY[:12]
    one = collected(begin, capabilities=offers)
    new = [(f"new{number}", letter(100 + number)) for number in range(3)]
    assert one.round(*mail) == (raws(mail) if begin == "all" else [])
    assert one.round(*between(mail)) == []
    assert one.round(*mail) == []
    assert one.round(*between(mail), new[0]) == raws(new[:1])
    assert one.round(*mail, *new[:2]) == raws(new[1:2])
    assert one.round(*renamed([*mail, *new[:2]], "third"), new[2]) == raws(new[2:])


@SHOWS
def test_a_message_of_old_that_is_moved_in_is_collected(
    collected: Callable[..., Collected], begin: str, offers: list[bytes]
) -> None:
    one = collected(begin, capabilities=offers)
    one.round(*FEW)
    old = ("moved", OLD + letter(50))
    assert one.round(*FEW, old) == [old[1]]
    assert one.round(("again", OLD + letter(51))) == [OLD + letter(51)]  # and all others are gone
    assert one.round() == []
    assert one.round(("third", OLD + letter(52))) == [OLD + letter(52)]


@BOTH
def test_a_mailbox_that_others_emptied_and_that_fills_with_mail_of_the_same_size(
    collected: Callable[..., Collected], begin: str
) -> None:
    one = collected(begin)
    one.round(("a", letter(1)), ("b", letter(2)))
    assert one.round(("c", letter(3)), ("d", letter(4))) == [letter(3), letter(4)]
    assert one.round() == []
    assert one.round(("c", letter(5)), ("e", letter(6))) == [letter(5), letter(6)]


@BOTH
def test_a_name_that_was_used_again_is_new_mail(collected: Callable[..., Collected], begin: str) -> None:
    one = collected(begin)
    one.round(*FEW, ("n", letter(10)))
    assert one.round(*FEW, ("n", letter(11, b"another size"))) == [letter(11, b"another size\r\n")]
    assert one.round(*FEW) == []
    assert one.round(*FEW, ("n", letter(12))) == [letter(12)]  # the same name and size, but it was gone


NAMELESS = {
    "no UIDL": None,
    "empty": lambda mail: [("", raw) for _, raw in mail],
    "all equal": lambda mail: [("same", raw) for _, raw in mail],
    "counted anew in each session": lambda mail: [(str(n), raw) for n, (_, raw) in enumerate(mail, 1)],
}


@SHOWS
@pytest.mark.parametrize("unnamed", NAMELESS.values(), ids=NAMELESS)
def test_names_that_tell_nothing(
    collected: Callable[..., Collected],
    begin: str,
    offers: list[bytes],
    unnamed: Callable[[list[tuple[str, bytes]]], list[tuple[str, bytes]]] | None,
) -> None:
    if unnamed is None:
        unnamed = list
        one = collected(begin, capabilities=set(offers) - {b"UIDL"}, refuses={b"UIDL"})
    else:
        one = collected(begin, capabilities=offers)
    mail = [(str(number), letter(number)) for number in range(10, 15)]  # all of one size
    assert one.round(*unnamed(mail)) == (raws(mail) if begin == "all" else [])
    new = ("20", letter(20))
    assert one.round(*unnamed([*mail[1:], new])) == [letter(20)]  # as many as before, of the same sizes
    assert one.round(*unnamed([new, *mail[3:]])) == []
    assert one.round(*unnamed([*mail, new])) == []
    assert one.round() == []
    assert one.round(*unnamed([new, ("21", letter(21)), *mail[:1]])) == [letter(21)]


@pytest.mark.parametrize(
    "name",
    [
        "x" * 71,
        "x" * 400,
        "two words",
        " leading",
        "tab\there",
        "\x01\x7f",
        "nul\0nul",
        "\xe4\xf6",
        "'; --",
        "1 2 3",
    ],
    ids=ascii,
)
def test_a_name_that_is_none_by_the_rfc_is_a_name(collected: Callable[..., Collected], name: str) -> None:
    one = collected()
    mail = [(name, letter(1)), ("a", letter(2)), (name + "y", letter(3))]
    assert one.round(*mail) == raws(mail)
    assert one.round(*mail[1:], ("new", letter(4))) == [letter(4)]
    assert one.round(*mail, ("new", letter(4))) == []


def test_two_copies_under_one_name_both_come_once(collected: Callable[..., Collected]) -> None:
    one = collected()
    copies = [("a", letter(1)), ("a", letter(1)), ("b", letter(2))]
    assert one.round(*copies) == raws(copies)
    assert one.round(*copies) == one.round(copies[0], copies[2]) == one.round(*copies) == []


def test_a_counter_that_names_another_message_in_each_session_fetches_each_once(
    collected: Callable[..., Collected],
) -> None:
    one = collected()
    for number in range(6):
        mail = [(f"s{number}-{place}", raw) for place, (_, raw) in enumerate(MANY[: 12 + number])]
        assert one.round(*mail) == raws(MANY[:12] if not number else MANY[11 + number : 12 + number])
    fetched = [line for line in one.box.commands if line.startswith(b"RETR")]
    assert len(fetched) == 17  # so many different sizes are believed to be the same messages


ODD_LISTS = {
    "UIDL names more than LIST": {b"LIST": b"+OK\r\n1 60\r\n.\r\n"},
    "LIST knows more than UIDL": {b"UIDL": b"+OK\r\n2 n1\r\n.\r\n"},
    "STAT says 0": {b"STAT": b"+OK 0 0\r\n", b"LIST": b"+OK\r\n.\r\n"},
    "only STAT tells": {b"UIDL": b"+OK\r\n.\r\n", b"LIST": b"+OK\r\n.\r\n"},
    "no order, odd blanks, more fields": {
        b"UIDL": b"+ok\t3\r\n3 n2 \r\n 1\tn0\r\n02  n1\r\n.\r\n",
        b"LIST": b"+OK  3  1234\r\n2\t60 (x)\r\n1  60   y z\r\n3 60\r\n.\r\n",
    },
    "lines that are none": {
        b"UIDL": b"+OK\r\n1 n0\r\n\r\nthree messages:\r\n2 n1\r\n3 n2\r\n.\r\n",
        b"LIST": b"+OK\r\ntotal 3\r\n1 60\r\n2 large\r\n3 60\r\n.\r\n",
    },
    "no LIST": {b"LIST": b"-ERR unknown\r\n"},
    "odd CAPA": {b"CAPA": b"+OK\r\n\r\nuidl\r\n  sasl\tLOGIN  plain\r\nTop\r\n.\r\n"},
    "no CAPA": {b"CAPA": b"-ERR\r\n"},
    "lines that answer nothing": {
        b"UIDL": b"hello\r\n\r\n* still here\r\n+OK\r\n1 n0\r\n2 n1\r\n3 n2\r\n.\r\n"
    },
}


@pytest.mark.parametrize("says", ODD_LISTS.values(), ids=ODD_LISTS)
def test_an_odd_listing_loses_nothing_and_repeats_nothing(
    collected: Callable[..., Collected], says: dict[bytes, bytes]
) -> None:
    one = collected(says=says)
    assert one.round(*FEW) == raws(FEW)
    assert one.round(*FEW) == []
    one.box.says = {}
    assert one.round(*FEW) == []
    one.box.says = says
    assert one.round(*FEW) == []


@pytest.mark.parametrize(
    ("offers", "refuses"), [(CAPABILITIES, {b"TOP", b"RETR"}), (NO_TOP, {b"RETR"})], ids=["TOP", "no TOP"]
)
def test_messages_that_are_only_counted_and_not_handed_out_are_no_empty_mailbox(
    collected: Callable[..., Collected], offers: list[bytes], refuses: set[bytes]
) -> None:
    none = {b"UIDL": b"+OK\r\n.\r\n", b"LIST": b"+OK\r\n.\r\n"}
    one = collected(says=none, capabilities=offers, refuses=refuses)
    with pytest.raises(MailError, match="neither names nor sends"):
        one.round(*FEW)
    one.box.refuses = set()
    assert one.round(*FEW) == raws(FEW)


def test_more_messages_without_a_name_than_can_be_looked_at_are_not_passed_over_silently(
    collected: Callable[..., Collected], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pop3_headers, "AT_MOST", 2)
    one = collected(capabilities=[b"TOP", b"SASL PLAIN"], refuses={b"UIDL"})
    with pytest.raises(MailError, match="without unique-ids"):
        one.round(*FEW)
    assert one.round(*FEW[:2]) == raws(FEW[:2])


def test_a_server_that_hangs_up_when_it_is_asked_for_a_header_stops_no_mail(
    collected: Callable[..., Collected],
) -> None:
    one = collected("now")

    def hang_up(line: bytes) -> None:
        if line.startswith(b"TOP"):
            raise EOFError

    one.box.before = hang_up
    assert one.round(*FEW) == []
    assert one.round(*FEW, ("new", letter(50))) == [letter(50)]
    assert one.round(*FEW, ("new", letter(50))) == []
    assert one.post.row(one.account).problem is None


def test_a_message_without_an_end_stops_no_other(
    collected: Callable[..., Collected], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "panel.mail.policy.Policy.of",
        classmethod(lambda cls, s: cls(s.mail_ports, (), s.mail_ca_file, max_message=10_000)),
    )
    one = collected(says={b"RETR 1": b"+OK\r\n" + b"x" * 30_000})
    assert one.round(*FEW) == raws(FEW[1:])
    [skipped] = one.post.skipped(one.account)
    assert "is larger than" in skipped.reason


@pytest.mark.parametrize(
    "raw",
    [
        b"Subject: x\r\n\r\n" + b"a" * 100_000 + b"\r\n",
        b"Subject: x\r\n\r\n" + b"a" * 10_000_000 + b"\r\n",
        b"To: " + b"a@example.org, " * 7000 + b"\r\n\r\nx\r\n",
        b"Subject: x\r\n\r\none\ntwo\rthree\0\n.\n..\r\n.\r\n",
    ],
    ids=["a line of 100 kB", "a line of 10 MB", "a header line of 100 kB", "no lines"],
)
def test_a_message_comes_byte_for_byte_whatever_its_lines_are(
    collected: Callable[..., Collected], raw: bytes
) -> None:
    one = collected()
    assert one.round(("a", raw), FEW[0]) == sorted([raw, FEW[0][1]])
    one = collected("now")
    assert one.round(("a", raw)) == []  # its header is looked at
    assert one.round(("b", raw), FEW[0]) == [FEW[0][1]]


def test_a_message_removed_between_listing_and_fetching_loses_no_other(
    collected: Callable[..., Collected],
) -> None:
    one = collected(says={b"RETR 2": b"-ERR gone\r\n"})
    assert one.round(*FEW) == raws([FEW[0], FEW[2]])
    one.box.says = {}
    assert one.round(FEW[0], FEW[2]) == []
    one.post.sql("UPDATE skipped SET again_at = 1")
    assert one.round(*FEW) == [FEW[1][1]]  # it was a lie


def test_one_message_that_is_refused_for_now_stops_no_other(collected: Callable[..., Collected]) -> None:
    one = collected(
        says={b"RETR 1": b"-ERR [SYS/TEMP] not now\r\n", b"RETR 3": b"-ERR [SYS/PERM] broken\r\n"}
    )
    assert one.round(*FEW) == [FEW[1][1]]
    assert len(one.post.skipped(one.account)) == 2


@pytest.mark.parametrize(
    "date",
    [b"M\xf6, 2 Nov", b"", b"Mon, 99 Foo 99999 99:99", b"(" * 5000, b"\0", b"Mon, 1 Jan 0001 00:00:00 +0000"],
    ids=ascii,
)
def test_a_date_that_cannot_be_read_ends_no_round(collected: Callable[..., Collected], date: bytes) -> None:
    one = collected("now")
    mail = ("a", b"Received: by \xe4; " + date + b"\r\n" + letter(1))
    assert one.round(mail) == []
    endpoint = one.post.endpoint(one.account)
    one.post.sql("UPDATE collection SET endpoint_mark = x'00'")  # as if it were another mailbox now
    assert endpoint.protocol == "pop3"
    assert one.round(mail, ("b", letter(2))) in ([letter(2)], sorted([mail[1], letter(2)]))


# -- deleting on the server ------------------------------------------------------------


def test_only_what_was_delivered_is_deleted(collected: Callable[..., Collected]) -> None:
    one = collected(on_server="delete")
    assert one.round(*FEW) == raws(FEW)
    assert one.box.mail == []
    assert one.round(*MANY[2:]) == raws(MANY[3:])
    assert one.box.mail == MANY[2:3]  # it was deleted and came back: that is not ours to undo


@pytest.mark.parametrize(
    "other",
    [
        {b"UIDL": b"+OK\r\n1 n1\r\n2 n2\r\n3 n0\r\n.\r\n"},
        {b"UIDL": b"+OK\r\n1 x\r\n2 y\r\n3 z\r\n.\r\n"},
        {b"UIDL": b"+OK\r\n1 n0\r\n2 n0\r\n3 n0\r\n.\r\n"},
    ],
    ids=["turned", "renamed", "all equal"],
)
def test_a_message_that_has_another_name_when_it_is_to_be_deleted_stays(
    collected: Callable[..., Collected], other: dict[bytes, bytes]
) -> None:
    one = collected(on_server="delete")

    def rename(line: bytes) -> None:
        if line.startswith(b"RETR"):
            one.box.says = other

    one.box.before = rename
    assert one.round(*FEW) == raws(FEW)
    assert one.box.mail == FEW
    assert not [line for line in one.box.commands if line.startswith(b"DELE")]


def test_a_name_used_again_while_deleting_failed_deletes_no_mail_that_was_not_delivered(
    collected: Callable[..., Collected],
) -> None:
    one = collected(on_server="delete", says={b"QUIT": b"-ERR [SYS/TEMP] not now\r\n"})
    with pytest.raises(MailError, match="cannot be deleted"):
        one.round(("a", letter(1)))
    one.box.says = {}
    assert one.round() == []
    assert one.round(("a", letter(2))) == [letter(2)]  # the same name and size
    assert one.box.mail == []


def test_a_renamed_mailbox_deletes_only_what_it_owes(collected: Callable[..., Collected]) -> None:
    one = collected(on_server="delete", says={b"QUIT": b"-ERR [SYS/TEMP] not now\r\n"})
    with pytest.raises(MailError, match="cannot be deleted"):
        one.round(*MANY)
    one.box.says = {}
    others = [(f"m{number}", letter(500 + number, b"x" * number + b"\r\n")) for number in range(20)]
    same_sizes = [(name, raw.replace(b"50", b"")) for name, raw in others]
    assert one.round(*renamed(MANY), *same_sizes) == raws(same_sizes)
    assert one.box.mail == []


def test_deleting_that_is_refused_is_said(collected: Callable[..., Collected]) -> None:
    one = collected(on_server="delete", refuses={b"DELE"})
    with pytest.raises(MailError, match="cannot be deleted"):
        one.round(*FEW)
    assert one.post.mail(one.account) == raws(FEW)


# -- what is remembered ------------------------------------------------------------------


def test_names_are_remembered_for_thirty_days_and_not_without_end(
    collected: Callable[..., Collected], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pop3_identity, "REMEMBER_AT_MOST", 4)
    one = collected()
    one.round(*MANY)
    one.round(*MANY[:10])
    gone = Uidl.select().where(Uidl.gone_at.is_null(False))
    assert gone.count() == 4 and Uidl.select().count() == 14
    assert one.round(*MANY) == []  # the digests know them all the same
    one.round(*MANY[1:])
    one.post.sql("UPDATE uidl SET gone_at = ? WHERE gone_at IS NOT NULL", db.now() - 31 * 86400)
    one.round(*MANY[2:])
    assert gone.count() == 1
    assert one.round(*MANY) == []
