"""Which of a POP3 mailbox's messages earlier sessions have seen. Pure: no network, no database.

POP3 names messages by strings (UIDL), and servers forget, repeat and renumber them. In this order: the
same name with the same size is the same message; so is the same header with the same size; where *all*
names are gone and all their sizes are back, the mailbox was renamed. The rest counts as new: it is
fetched, and the digests of delivered messages decide (docs/decisions/0026-pop3-identity.md).

To take a message for new costs a transfer; to take it for a known one can lose it. So a fetched message
is recognised by name only, or on the `EVIDENCE` of many sizes, and one that is to be deleted on the server
by name or digest only.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

EVIDENCE = 8  # different sizes that all reappear: no other mailbox looks like that
REMEMBER_SECONDS = 30 * 86400  # for which a vanished name is remembered,
REMEMBER_AT_MOST = 10_000  # and how many of them per account


class Stage(Enum):
    EXCLUDED = "not to be fetched: older than the account, or too large"
    WANTED = "to be fetched"
    FETCHED = "fetched"
    DELETE_PENDING = "fetched, and to be deleted on the server"


@dataclass(frozen=True, slots=True)
class Known:
    """A message as earlier sessions saw it. `gone_at`: since when it is not listed."""

    number: int
    name: str
    size: int  # 0: not known
    head: bytes | None = None  # SHA-256 of its header, if it was read
    gone_at: int | None = None
    row: int = 0  # of Uidl
    stage: Stage = Stage.FETCHED

    @property
    def key(self) -> tuple[str, int]:
        return self.name, self.size


@dataclass(frozen=True, slots=True)
class ServerListing:
    """A message as this session lists it. `head`: see Known."""

    place: int
    name: str
    size: int
    head: bytes | None = None


Matches = dict[int, Known]  # by place


def match(known: Sequence[Known], listing: Sequence[ServerListing]) -> Matches:
    """The known message that each listed one is, by place; without those that count as new."""
    named = _by_name(known, listing)
    same = {one.place: named[one.place] for one in listing if one.place in named}
    same = _confirmed(same, {one.place: one for one in listing})
    _add_by_head(same, known, listing)
    if not _any_of_last(named, known):
        _add_renamed(same, known, listing)
    return same


def headers_needed(known: Sequence[Known], listing: Sequence[ServerListing]) -> list[int]:
    """The places of messages that only their header can identify, since no digest of them is known."""
    named = _by_name(known, listing)
    proven = _proven(one.size for one in named.values() if one.gone_at is not None)
    used = {one.number for one in named.values()}
    heads = [one for one in known if one.head and one.stage is Stage.EXCLUDED and one.number not in used]
    sizes, names = {one.size for one in heads}, {one.name for one in heads}
    places = []
    for one in listing:
        before = named.get(one.place)
        if before is None:
            doubtful = one.size in sizes or one.name in names
        else:
            doubtful = before.gone_at is not None and bool(before.head) and not proven
        if doubtful and one.head is None:
            places.append(one.place)
    return places


def expired(known: Iterable[Known], now: int) -> list[int]:
    """The rows of vanished names that need not be remembered any longer."""
    gone = sorted(((one.gone_at, one.row) for one in known if one.gone_at is not None), reverse=True)
    recent = [row for gone_at, row in gone[:REMEMBER_AT_MOST] if gone_at >= now - REMEMBER_SECONDS]
    return [row for _, row in gone[len(recent) :]]


def _by_name(known: Sequence[Known], listing: Sequence[ServerListing]) -> Matches:
    """By name and size; where one of the sizes is unknown, by name."""
    exactly = {(one.name, one.size): one for one in known}
    by_name: dict[str, Known] = {}
    for one in sorted(known, key=lambda k: (k.gone_at is None, k.number)):
        by_name[one.name] = one  # the one listed last wins
    same = {}
    for here in listing:
        found = exactly.get((here.name, here.size))
        if found is None and (other := by_name.get(here.name)) and not (here.size and other.size):
            found = other
        if found is not None:
            same[here.place] = found
    return same


def _confirmed(named: Mapping[int, Known], listing: Mapping[int, ServerListing]) -> Matches:
    """Those with a known name that are still the same message.

    A vanished name may have been reused for another message. If the old one was fetched, the digest
    decides; otherwise its header, if known. A message with several names matches once.
    """
    proven = _proven(one.size for one in named.values() if one.gone_at is not None)
    certain = {Stage.EXCLUDED, Stage.WANTED, Stage.FETCHED} if proven else {Stage.EXCLUDED, Stage.WANTED}
    same: Matches = {}
    used: set[int] = set()
    for place, one in sorted(named.items(), key=lambda pair: (pair[1].gone_at is not None, pair[0])):
        accepted = one.gone_at is None or one.stage in certain
        if accepted and one.number not in used and not _contradicts(one, listing[place]):
            used.add(one.number)
            same[place] = one
    return same


def _add_by_head(same: Matches, known: Sequence[Known], listing: Sequence[ServerListing]) -> None:
    """Excluded messages that have another name or size now are matched by header."""
    used = {one.number for one in same.values()}
    left: defaultdict[tuple[bytes, int | str], list[Known]] = defaultdict(list)
    for one in reversed(known):
        if one.head and one.stage is Stage.EXCLUDED and one.number not in used:
            left[one.head, one.size].append(one)
            left[one.head, one.name].append(one)
    for here in listing:
        if here.place in same or here.head is None:
            continue
        fits = left[here.head, here.size] or left[here.head, here.name]
        while fits and here.place not in same:
            if (one := fits.pop()).number not in used:
                used.add(one.number)
                same[here.place] = one


def _any_of_last(named: Matches, known: Sequence[Known]) -> bool:
    """Whether any name of the last listing that was not empty is here."""
    last = {one.number for one in _last(known)}
    return any(one.number in last for one in named.values())


def _last(known: Sequence[Known]) -> list[Known]:
    """The last listing that was not empty."""
    here = [one for one in known if one.gone_at is None]
    if here or not known:
        return here
    latest = max(one.gone_at or 0 for one in known)
    return [one for one in known if one.gone_at == latest]


def _add_renamed(same: Matches, known: Sequence[Known], listing: Sequence[ServerListing]) -> None:
    """Where all names are new and all old sizes are here, equal sizes are the same messages."""
    last = _last(known)
    before, after = Counter(one.size for one in last), Counter(one.size for one in listing)
    if before[0] or before - after:
        return
    proven = _proven(before)
    used = {one.number for one in same.values()}
    there: defaultdict[int, list[ServerListing]] = defaultdict(list)
    for here in listing:
        there[here.size].append(here)
    for size, group in _groups(last):
        if before[size] != after[size] or not _identifies(group, proven=proven):
            continue
        for one, here in zip(group, there[size], strict=True):
            if here.place not in same and one.number not in used and not _contradicts(one, here):
                used.add(one.number)
                same[here.place] = one


def _identifies(group: Sequence[Known], *, proven: bool) -> bool:
    """Whether their common size identifies these messages.

    It does where none is fetched. A single fetched one needs the evidence of the other sizes
    (`proven`); several fetched ones only digests can tell apart.
    """
    if all(one.stage is Stage.EXCLUDED for one in group):
        return True
    return len(group) == 1 and group[0].stage is Stage.FETCHED and proven


def _groups(known: Iterable[Known]) -> Iterable[tuple[int, list[Known]]]:
    """By size, each in order of appearance."""
    groups: defaultdict[int, list[Known]] = defaultdict(list)
    for one in sorted(known, key=lambda k: k.number):
        groups[one.size].append(one)
    return groups.items()


def _contradicts(one: Known, here: ServerListing) -> bool:
    return bool(one.head and here.head) and one.head != here.head


def _proven(sizes: Iterable[int]) -> bool:
    return len({size for size in sizes if size}) >= EVIDENCE
