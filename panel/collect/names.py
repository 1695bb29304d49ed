"""Which of a POP3 mailbox's messages are known by another session already. Nothing here asks or writes.

POP3 names messages by strings, and servers forget, repeat and renumber them.
What counts, in this order: the same name with the same size is the same
message; so is one with the same header and size; where *all* names are gone and
all their sizes are there again, the mailbox was renamed. Who is left is taken to
be new: it is fetched, and the digests of what was delivered decide.

To take a message for new costs a transfer; to take it for a known one can lose
it. So what was delivered is believed to be there again only by its name, or on
the `EVIDENCE` of many sizes, and what is to be deleted on the server by its name
or digest alone.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

EVIDENCE = 8  # different sizes that are all there again: no other mailbox looks like that
KEPT_SECONDS = 30 * 86400  # for which a name that has vanished is remembered,
KEPT_AT_MOST = 10_000  # and so many of them an account


class Stage(Enum):
    """What became of a known message."""

    LEFT = "not to be fetched: it was there before the account, or is too large"
    OPEN = "to be fetched"
    DONE = "fetched"
    OWED = "fetched, and to be deleted on the server"


@dataclass(frozen=True, slots=True)
class Known:
    """A message as the sessions before have seen it. `gone_at`: since when it is not listed."""

    number: int
    name: str
    size: int  # 0: not known
    head: bytes | None = None  # SHA-256 of its header, where it was asked for
    gone_at: int | None = None
    row: int = 0  # where it is stored
    stage: Stage = Stage.DONE

    @property
    def key(self) -> tuple[str, int]:
        """What tells it apart."""
        return self.name, self.size


@dataclass(frozen=True, slots=True)
class Seen:
    """A message as this session lists it. `head` where it was looked at."""

    place: int
    name: str
    size: int
    head: bytes | None = None


Same = dict[int, Known]  # by place


def recognise(known: Sequence[Known], seen: Sequence[Seen]) -> Same:
    """Which known message each one is that is none to be fetched as new, by its place."""
    named = _by_name(known, seen)
    same = {one.place: named[one.place] for one in seen if one.place in named}
    same = _believed(same, {one.place: one for one in seen})
    _add_by_head(same, known, seen)
    if not _any_of_last(named, known):
        _add_renamed(same, known, seen)
    return same


def to_look_at(known: Sequence[Known], seen: Sequence[Seen]) -> list[int]:
    """The places of those whose header tells what else cannot be told: no digest is known of them."""
    named = _by_name(known, seen)
    proven = _proven(one.size for one in named.values() if one.gone_at is not None)
    used = {one.number for one in named.values()}
    heads = [one for one in known if one.head and one.stage is Stage.LEFT and one.number not in used]
    sizes, names = {one.size for one in heads}, {one.name for one in heads}
    places = []
    for one in seen:
        before = named.get(one.place)
        if before is None:
            doubtful = one.size in sizes or one.name in names
        else:
            doubtful = before.gone_at is not None and bool(before.head) and not proven
        if doubtful and one.head is None:
            places.append(one.place)
    return places


def outdated(known: Iterable[Known], now: int) -> list[int]:
    """The rows of vanished names that need be remembered no longer."""
    gone = sorted(((one.gone_at, one.row) for one in known if one.gone_at is not None), reverse=True)
    kept = [row for gone_at, row in gone[:KEPT_AT_MOST] if gone_at >= now - KEPT_SECONDS]
    return [row for _, row in gone[len(kept) :]]


def _by_name(known: Sequence[Known], seen: Sequence[Seen]) -> Same:
    """The same name and size; where one of the sizes is not known, the same name."""
    exactly = {(one.name, one.size): one for one in known}
    by_name: dict[str, Known] = {}
    for one in sorted(known, key=lambda k: (k.gone_at is None, k.number)):
        by_name[one.name] = one  # at last the one that was listed last
    same = {}
    for here in seen:
        found = exactly.get((here.name, here.size))
        if found is None and (other := by_name.get(here.name)) and not (here.size and other.size):
            found = other
        if found is not None:
            same[here.place] = found
    return same


def _believed(named: Mapping[int, Known], seen: Mapping[int, Seen]) -> Same:
    """Of those with a known name, the ones that are still the same.

    A name that was gone may have been used again for another message: if it was
    fetched, its digest tells; else its header, where that is known. A message that
    has had several names is one of those that have one now.
    """
    proven = _proven(one.size for one in named.values() if one.gone_at is not None)
    sure = {Stage.LEFT, Stage.OPEN, Stage.DONE} if proven else {Stage.LEFT, Stage.OPEN}
    same: Same = {}
    used: set[int] = set()
    for place, one in sorted(named.items(), key=lambda pair: (pair[1].gone_at is not None, pair[0])):
        believed = one.gone_at is None or one.stage in sure
        if believed and one.number not in used and not _contradicts(one, seen[place]):
            used.add(one.number)
            same[place] = one
    return same


def _add_by_head(same: Same, known: Sequence[Known], seen: Sequence[Seen]) -> None:
    """One that will never be fetched, and has another name or size now, is known by its header."""
    used = {one.number for one in same.values()}
    left: defaultdict[tuple[bytes, int | str], list[Known]] = defaultdict(list)
    for one in reversed(known):
        if one.head and one.stage is Stage.LEFT and one.number not in used:
            left[one.head, one.size].append(one)
            left[one.head, one.name].append(one)
    for here in seen:
        if here.place in same or here.head is None:
            continue
        fits = left[here.head, here.size] or left[here.head, here.name]
        while fits and here.place not in same:
            if (one := fits.pop()).number not in used:
                used.add(one.number)
                same[here.place] = one


def _any_of_last(named: Same, known: Sequence[Known]) -> bool:
    """Whether any name of the last listing that listed anything is here."""
    last = {one.number for one in _last(known)}
    return any(one.number in last for one in named.values())


def _last(known: Sequence[Known]) -> list[Known]:
    """What was listed when anything was listed last."""
    here = [one for one in known if one.gone_at is None]
    if here or not known:
        return here
    latest = max(one.gone_at or 0 for one in known)
    return [one for one in known if one.gone_at == latest]


def _add_renamed(same: Same, known: Sequence[Known], seen: Sequence[Seen]) -> None:
    """All names are gone at once: the same sizes are the same messages, if all of them are here."""
    last = _last(known)
    before, after = Counter(one.size for one in last), Counter(one.size for one in seen)
    if before[0] or before - after:
        return
    proven = _proven(before)
    used = {one.number for one in same.values()}
    there: defaultdict[int, list[Seen]] = defaultdict(list)
    for here in seen:
        there[here.size].append(here)
    for size, group in _groups(last):
        if before[size] != after[size] or not _tells(group, proven=proven):
            continue
        for one, here in zip(group, there[size], strict=True):
            if here.place not in same and one.number not in used and not _contradicts(one, here):
                used.add(one.number)
                same[here.place] = one


def _tells(group: Sequence[Known], *, proven: bool) -> bool:
    """Whether the size tells who those are that have it.

    It does for what is never fetched. Of what was, a single one is believed if it is
    `proven` by the others' sizes; which of several is which, only digests tell.
    """
    if all(one.stage is Stage.LEFT for one in group):
        return True
    return len(group) == 1 and group[0].stage is Stage.DONE and proven


def _groups(known: Iterable[Known]) -> Iterable[tuple[int, list[Known]]]:
    """By size, each in the order of appearance."""
    groups: defaultdict[int, list[Known]] = defaultdict(list)
    for one in sorted(known, key=lambda k: k.number):
        groups[one.size].append(one)
    return groups.items()


def _contradicts(one: Known, here: Seen) -> bool:
    return bool(one.head and here.head) and one.head != here.head


def _proven(sizes: Iterable[int]) -> bool:
    return len({size for size in sizes if size}) >= EVIDENCE
