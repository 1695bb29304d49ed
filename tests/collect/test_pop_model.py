"""Sequences of POP3 sessions as real servers have shown them, at random: each message once, whatever they are named.

The mailbox is a list of messages that people add and remove; what a session sees of it is distorted: names
anew, names that count places, names used again, nothing listed, one message hidden, another order, no UIDL,
a round that ends in the middle. In the end two sessions are honest. Then each message that is there must
have been delivered, and none twice; with 'begin: now' none that was there before; and what was deleted on
the server must have been delivered before.
"""

from __future__ import annotations

import random
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from panel.collect.control import RoundControl
from panel.collect.cursor import open_cursor
from panel.collect.delivery import Delivery
from panel.collect.lease import Lease
from panel.collect.pop3 import Pop3Mailbox
from panel.collect.transfer import Transfer
from panel.errors import MailError
from panel.mail.maildir import Maildir
from panel.mail.policy import Policy
from panel.mail.pop3 import Listed
from panel.models import Account, Collection, Skipped, Uidl
from tests.collect.conftest import PostOffice

POLICY = Policy(frozenset())
DISTORTIONS = (
    "honest", "renamed", "counted", "counted from 0", "all equal", "empty", "no UIDL", "new names", "two backends",
    "nothing", "hides", "hides many", "shuffled", "no sizes", "ends", "refuses", "quits badly",
)  # fmt: skip


@dataclass(frozen=True)
class Letter:
    """One message, and the name that a server which knows what it does has for it."""

    number: int
    size: int
    name: str

    @property
    def head(self) -> bytes:
        return b"Subject: %d" % self.number

    @property
    def raw(self) -> bytes:
        return (self.head + b"\r\n\r\n").ljust(self.size, b"x") + b"\r\n"


@dataclass
class Session:
    """What `Pop3Mailbox` needs of a `Pop3Session`."""

    letters: list[Letter]
    names: list[str]
    shows_heads: bool
    sizes: bool
    named: bool
    ends_after: int
    refuses: bool
    quits: bool
    box: list[Letter]
    deleted: list[Letter] = field(default_factory=list)
    ended: bool = False
    endless: int | None = None
    host: str = "pop.example.org"

    @property
    def listed(self) -> list[Listed]:
        count: Counter[str] = Counter()
        listed = []
        for place, (letter, name) in enumerate(zip(self.letters, self.names, strict=True), 1):
            count[name] += 1
            shared = self.names.count(name) > 1
            uidl = f"{name} {count[name]}" if name and count[name] > 1 else name
            size = len(letter.raw) if self.sizes else 0
            listed.append(Listed(place, uidl, size, self.named and bool(name) and not shared))
        return listed

    def heads(self, places: Iterable[int], doing: str = "") -> Iterator[tuple[int, bytes]]:
        for place in places:
            yield place, self.letters[place - 1].head + b"\r\n\r\n"

    def fetch(self, places: Iterable[int]) -> Iterator[tuple[int, bytes, int]]:
        for count, place in enumerate(places):
            if count >= self.ends_after:
                raise MailError("fetch", "The server hung up.")
            if self.refuses and count == 0:
                continue
            raw = self.letters[place - 1].raw
            yield place, raw, len(raw)

    def delete(self, places: Iterable[int]) -> None:
        self.ended = True
        if not self.quits:
            raise MailError("after", "QUIT was refused.")
        self.deleted += [self.letters[place - 1] for place in places]
        self.box[:] = [letter for letter in self.box if letter not in self.deleted]

    def seconds_left(self) -> float:
        return 900.0


class World:
    """The mailbox, the account, and what came of it."""

    def __init__(
        self, post: PostOffice, begin: str, on_server: str, sizes: int, tops: bool, seed: int
    ) -> None:
        self.account = Account.create(
            uuid=str(uuid.uuid4()), address=f"{uuid.uuid4().hex}@example.org", begin=begin,
            on_server=on_server, created_at=1,
        )  # fmt: skip
        Collection.create(account=self.account)
        self.maildir = Maildir(post.settings.mail_spool / self.account.uuid, None)
        self.maildir.create()
        self.random = random.Random(seed)
        self.sizes, self.tops = sizes, tops
        self.count = self.rounds = 0
        self.box: list[Letter] = []
        self.free: set[tuple[str, int]] = set()  # names that a session has seen to be gone, with their sizes
        self.seen: set[tuple[str, int]] = set()
        self.add(4)
        self.old = list(self.box)

    def add(self, count: int, reuse: bool = False) -> None:
        for _ in range(count):
            self.count += 1
            size = 60 + self.count % self.sizes
            names = sorted(name for name, of in self.free if of == size) if reuse else []
            self.free -= {(name, size) for name in names[:1]}
            self.box.append(Letter(self.count, size, names[0] if names else f"n{self.count}"))

    def remove(self, count: int) -> None:
        for _ in range(min(count, len(self.box))):
            self.box.pop(self.random.randrange(len(self.box)))

    def delivered(self) -> Counter[int]:
        found: Counter[int] = Counter()
        for path in (self.maildir.path / "new").iterdir():
            found[int(path.read_bytes().split()[1])] += 1
        return found

    def round(self, how: str) -> None:
        self.rounds += 1
        session = self.session(how)
        Skipped.update(again_at=1).where(Skipped.account == self.account).execute()
        lease = Lease(self.account.uuid)
        assert lease.take()
        try:
            Delivery(self.maildir, lease).recover()
            box = Pop3Mailbox(session, lease, b"mark", POLICY.max_message)  # type: ignore[arg-type]
            cursor = open_cursor(lease, str(self.account.begin), b"mark", box)
            limit, control = POLICY.max_message, RoundControl()
            Transfer(self.account, box, self.maildir, lease, limit, control).run(cursor, measure=False)
            if self.account.begin == "now":
                box.store_headers()
        except MailError:
            event("a round that failed")
        finally:
            lease.release()
        here = self.delivered()
        self.free |= {(letter.name, letter.size) for letter in session.deleted}
        assert not [letter for letter in session.deleted if not here[letter.number]], (
            "deleted, but not delivered"
        )

    def session(self, how: str) -> Session:
        letters = list(self.box)
        if how == "nothing":
            letters = []
        elif how == "hides" and letters:
            letters.pop(self.random.randrange(len(letters)))
        elif how == "hides many":
            letters = letters[len(letters) // 2 :]
        elif how == "shuffled":
            self.random.shuffle(letters)
        if how == "renamed":
            self.box[:] = letters = [replace(one, name=f"r{self.rounds}-{one.name}") for one in letters]
        names = {
            "counted": [str(place) for place in range(1, len(letters) + 1)],
            "counted from 0": [str(place) for place in range(len(letters))],
            "all equal": ["same"] * len(letters),
            "empty": [""] * len(letters),
            "no UIDL": [""] * len(letters),
            "new names": [f"s{self.rounds}-{place}" for place in range(len(letters))],
            "two backends": [f"other {one.name}" for one in letters],
        }.get(how, [one.name for one in letters])
        if names == [one.name for one in letters]:
            here = {(one.name, one.size) for one in letters}
            self.free = (self.free | (self.seen - here)) - here
            self.seen |= here
        return Session(
            letters, names, self.tops, how != "no sizes", not how.startswith("counted"),
            1 if how == "ends" else 10**6, how == "refuses", how != "quits badly", self.box,
        )  # fmt: skip


STEP = st.tuples(
    st.sampled_from(DISTORTIONS),
    st.integers(0, 2),  # so many are removed by others before the session,
    st.integers(0, 2),  # and so many arrive,
    st.booleans(),  # under names that were free
)


@settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    derandomize=True,
)
@given(
    begin=st.sampled_from(["all", "now"]),
    on_server=st.sampled_from(["keep", "keep", "delete"]),
    sizes=st.sampled_from([1, 3, 10**6]),
    tops=st.booleans(),
    steps=st.lists(STEP, max_size=7),
    seed=st.integers(0, 9),
)
@example("now", "keep", 3, True, [("nothing", 0, 0, False), ("renamed", 1, 1, False)], 0)
@example("all", "delete", 1, False, [("quits badly", 0, 1, False), ("renamed", 1, 2, True)], 0)
def test_each_message_comes_once_whatever_its_server_says(
    post: PostOffice,
    begin: str,
    on_server: str,
    sizes: int,
    tops: bool,
    steps: list[tuple[str, int, int, bool]],
    seed: int,
) -> None:
    world = World(post, begin, on_server, sizes, tops, seed)
    world.round("honest")
    for how, removed, arrived, reuse in steps:
        world.remove(removed)
        world.add(arrived, reuse)
        world.round(how)
    world.add(1)
    before = list(world.box)
    world.round("honest")
    world.round("honest")
    delivered = world.delivered()
    assert max(delivered.values(), default=0) <= 1, "twice"
    old = {letter.number for letter in world.old} if begin == "now" else set()
    if begin == "all" or tops:  # else nothing is known of what was there before but names and sizes
        assert not old & set(delivered), "from before the account"
        assert {letter.number for letter in before} - old <= set(delivered), "lost"


def test_a_message_of_which_nothing_but_a_name_and_a_size_is_known_is_rather_collected_than_lost(
    post: PostOffice,
) -> None:
    world = World(post, "now", "keep", 10**6, False, 0)
    world.round("honest")
    world.remove(1)
    world.round("renamed")
    assert len(world.delivered()) == 3


def test_a_large_mailbox_that_is_renamed_is_matched_at_once(post: PostOffice) -> None:
    world = World(post, "now", "keep", 10**6, True, 0)
    world.add(3000)
    world.round("honest")
    world.add(1)
    world.round("renamed")
    assert list(world.delivered().values()) == [1]
    assert Uidl.select().where(Uidl.account == world.account, Uidl.gone_at.is_null()).count() == 3005


pytestmark = pytest.mark.filterwarnings("error")
