"""What the headers of a POP3 mailbox's messages tell, each asked for once a session."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from panel.collect.lease import Lease
from panel.errors import MailError
from panel.mail.pop3 import Listed, Pop3Session, received_at

AT_MOST = 1000  # messages a session, besides those whose date is asked for
READ_AT_MOST = 64 * 2**20  # bytes of whole messages, where the server shows no headers
PULSE = 60.0  # seconds after which the lease is looked after
# What old servers write into a message when they have shown it; with its folded lines.
VOLATILE = re.compile(
    rb"^(?:Status|X-Status|X-UIDL|X-UID|X-Keywords|X-Mozilla-[^:\s]{1,20}|X-IMAP(?:base)?):"
    rb"[^\n]*(?:\n[ \t][^\n]*)*",
    re.IGNORECASE | re.MULTILINE,
)
BLANK = re.compile(rb"\r?\n\r?\n")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Head:
    """The SHA-256 of a header, and when its message arrived by it (UTC seconds)."""

    digest: bytes
    received_at: float | None


class Heads:
    """The headers of the mailbox that `session` has open. Every method raises MailError, LeaseLost."""

    def __init__(self, session: Pop3Session, lease: Lease) -> None:
        self._session = session
        self._lease = lease
        self._seen: dict[int, Head | None] = {}
        self._kept_at = time.monotonic()

    def of(self, places: Iterable[int]) -> dict[int, Head]:
        """By place; those are missing that the server does not show."""
        places = list(places)
        missing = [place for place in places if place not in self._seen]
        if missing and self._session.shows_heads:
            for place, text in self._in_time(self._session.heads(missing)):
                self._seen[place] = _head(text) if text else None
        return self.had(places)

    def had(self, places: Iterable[int]) -> dict[int, Head]:
        """Those that were had until now, without asking."""
        return {place: head for place in places if (head := self._seen.get(place))}

    def of_some(self, places: Iterable[int]) -> dict[int, Head]:
        """The same for as many as a session has time for."""
        return self.of(list(places)[:AT_MOST])

    def names(self, listed: Iterable[Listed]) -> dict[int, str]:
        """Names for messages that have none of their own: made of their header, else of all their text.

        Those are missing that the server does not hand out. Raises MailError where
        there are too many that have no other name.
        """
        some = sorted(listed, key=lambda one: bool(one.uidl))
        nameless = sum(not one.uidl for one in some)
        heads = self.of(one.place for one in some[:AT_MOST])
        names = {place: f"head {head.digest.hex()}" for place, head in heads.items()}
        rest = [one for one in some[:AT_MOST] if one.place not in names]
        much = sum(one.size for one in rest) > READ_AT_MOST
        if nameless > AT_MOST or (much and not all(one.uidl for one in rest)):
            raise self._too_many(nameless)
        if not much:
            names |= self._names_of_texts(one.place for one in rest)
        return names

    def _names_of_texts(self, places: Iterable[int]) -> dict[int, str]:
        names = {}
        for place, raw, size in self._in_time(self._session.fetch(places)):
            names[place] = f"text {hashlib.sha256(raw).hexdigest()}" if raw else f"large {size}"
        return names

    def _too_many(self, count: int) -> MailError:
        return MailError(
            "folder",
            f"{self._session.host} does not list the mailbox by unique-ids (UIDL): {count} have none.",
            "Without them nothing tells which mail was collected. Use IMAP.",
            permanent=True,
        )

    def changed(self, places: Iterable[int]) -> set[int]:
        """Those whose header is another now than it was before in this session."""
        before = self.had(places)
        now = {place: _head(text) for place, text in self._session.heads(list(before), "after") if text}
        return {place for place, head in before.items() if now.get(place) != head}

    def _in_time(self, texts: Iterator[T]) -> Iterator[T]:
        for one in texts:
            yield one
            if time.monotonic() - self._kept_at > PULSE:
                self._lease.keep()
                self._kept_at = time.monotonic()


def _head(text: bytes) -> Head:
    head = BLANK.split(text, maxsplit=1)[0]
    lasting = VOLATILE.sub(b"", head)
    return Head(hashlib.sha256(b"\n".join(lasting.split())).digest(), received_at(head))
