"""Headers of a POP3 mailbox's messages, each asked for once per session."""

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

AT_MOST = 1000  # headers per session, besides those whose date is asked for
READ_AT_MOST = 64 * 2**20  # bytes of whole messages, where the server has no TOP
RENEW_SECONDS = 60.0  # between two renewals of the lease
# Headers that old servers write into a message after showing it; with their folded lines.
VOLATILE = re.compile(
    rb"^(?:Status|X-Status|X-UIDL|X-UID|X-Keywords|X-Mozilla-[^:\s]{1,20}|X-IMAP(?:base)?):"
    rb"[^\n]*(?:\n[ \t][^\n]*)*",
    re.IGNORECASE | re.MULTILINE,
)
BLANK = re.compile(rb"\r?\n\r?\n")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Header:
    """A header's SHA-256, and when its message arrived by it (UTC seconds)."""

    digest: bytes
    received_at: float | None


class Headers:
    """The headers in the open mailbox. Every method raises MailError, LeaseLost."""

    def __init__(self, session: Pop3Session, lease: Lease) -> None:
        self._session = session
        self._lease = lease
        self._seen: dict[int, Header | None] = {}
        self._renewed_at = time.monotonic()

    def of(self, places: Iterable[int]) -> dict[int, Header]:
        """By place, without those that the server does not show."""
        places = list(places)
        missing = [place for place in places if place not in self._seen]
        if missing and self._session.shows_heads:
            for place, text in self._in_time(self._session.heads(missing)):
                self._seen[place] = _header(text) if text else None
        return self.known(places)

    def known(self, places: Iterable[int]) -> dict[int, Header]:
        """Those that were already read, without asking."""
        return {place: head for place in places if (head := self._seen.get(place))}

    def names(self, listed: Iterable[Listed]) -> dict[int, str]:
        """Names for messages without a usable one, made of their header, or else of their whole text.

        Without those that the server does not send. Raises MailError where too many have no name at all.
        """
        some = sorted(listed, key=lambda one: bool(one.uidl))
        nameless = sum(not one.uidl for one in some)
        headers = self.of(one.place for one in some[:AT_MOST])
        names = {place: f"head {header.digest.hex()}" for place, header in headers.items()}
        rest = [one for one in some[:AT_MOST] if one.place not in names]
        too_much = sum(one.size for one in rest) > READ_AT_MOST
        if nameless > AT_MOST or (too_much and not all(one.uidl for one in rest)):
            raise self._too_many(nameless)
        if not too_much:
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
            f"{self._session.host} lists {count} messages without unique-ids (UIDL).",
            "Mailkeep needs them to know which mail was collected. Use IMAP.",
            permanent=True,
        )

    def changed(self, places: Iterable[int]) -> set[int]:
        """Those whose header has changed during this session."""
        before = self.known(places)
        now = {place: _header(text) for place, text in self._session.heads(list(before), "after") if text}
        return {place for place, header in before.items() if now.get(place) != header}

    def _in_time(self, texts: Iterator[T]) -> Iterator[T]:
        for one in texts:
            yield one
            if time.monotonic() - self._renewed_at > RENEW_SECONDS:
                self._lease.renew()
                self._renewed_at = time.monotonic()


def _header(text: bytes) -> Header:
    head = BLANK.split(text, maxsplit=1)[0]
    lasting = VOLATILE.sub(b"", head)
    return Header(hashlib.sha256(b"\n".join(lasting.split())).digest(), received_at(head))
