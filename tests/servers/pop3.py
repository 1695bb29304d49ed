"""A POP3 server whose mailbox a test holds in its hands: what it lists, and how oddly it says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.servers.hostile import Talk

Mail = Sequence[tuple[str, bytes]]  # names (UIDL) and messages, in the order of their places
CAPABILITIES = (b"TOP", b"UIDL", b"SASL PLAIN", b"RESP-CODES", b"PIPELINING")


def numbered(lines: Sequence[bytes]) -> bytes:
    """The lines of a listing, each after its place."""
    return b"".join(b"%d %s\r\n" % (place, line) for place, line in enumerate(lines, 1))


@dataclass
class PopMailbox:
    """A script for `ScriptedServer`. What `mail` holds when a client has logged in is what its session sees.

    `says` overrides whole answers: a verb, or a verb and its arguments, and the
    bytes that answer it; `refuses` are the verbs that it does not know.
    """

    mail: list[tuple[str, bytes]] = field(default_factory=list)
    capabilities: Sequence[bytes] = CAPABILITIES
    refuses: set[bytes] = field(default_factory=set)
    says: dict[bytes, bytes] = field(default_factory=dict)
    greeting: bytes = b"+OK ready\r\n"
    commands: list[bytes] = field(default_factory=list)
    before: Callable[[bytes], None] = lambda line: None  # called with each command
    sent_as: Callable[[bytes], bytes] = lambda raw: stuffed(raw)

    def __call__(self, talk: Talk) -> None:
        talk.send(self.greeting)
        here: list[tuple[str, bytes]] | None = None
        deleted: set[int] = set()
        while True:
            line = talk.line()
            self.before(line)
            self.commands.append(line)
            verb, *rest = line.upper().split()
            if verb == b"AUTH" and line.upper() not in self.says and verb not in self.refuses:
                talk.send(b"+ \r\n")
                talk.line()
                talk.send(self.says.get(b"PASS", b"+OK\r\n"))
                continue
            if verb in (b"UIDL", b"LIST", b"STAT") and here is None:
                here = list(self.mail)
            if verb == b"QUIT" and verb not in self.says:
                gone = {here[place - 1] for place in deleted} if here else set()
                self.mail[:] = [one for one in self.mail if one not in gone]
            if (said := self.says.get(line.upper(), self.says.get(verb))) is not None:
                talk.send(said)
            elif verb in self.refuses:
                talk.send(b"-ERR unknown command\r\n")
            else:
                talk.send(
                    self._answer(verb, [int(word) for word in rest if word.isdigit()], here or [], deleted)
                )
            if verb == b"QUIT":
                return

    def _answer(self, verb: bytes, places: list[int], here: Mail, deleted: set[int]) -> bytes:
        there = {place: one for place, one in enumerate(here, 1) if place not in deleted}
        if verb == b"CAPA":
            return b"+OK\r\n" + b"".join(line + b"\r\n" for line in self.capabilities) + b".\r\n"
        if verb == b"STAT":
            return b"+OK %d %d\r\n" % (len(there), sum(len(raw) for _, raw in there.values()))
        if verb == b"UIDL":
            lines = [b"%d %s\r\n" % (place, name.encode("latin-1")) for place, (name, _) in there.items()]
            return b"+OK\r\n" + b"".join(lines) + b".\r\n"
        if verb == b"LIST":
            lines = [b"%d %d\r\n" % (place, len(raw)) for place, (_, raw) in there.items()]
            return b"+OK\r\n" + b"".join(lines) + b".\r\n"
        if verb in (b"RETR", b"TOP", b"DELE"):
            if places[0] not in there or there[places[0]] not in self.mail:
                return b"-ERR no such message\r\n"
            raw = there[places[0]][1]
            if verb == b"DELE":
                deleted.add(places[0])
                return b"+OK\r\n"
            return b"+OK\r\n" + self.sent_as(
                raw if verb == b"RETR" else raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
            )
        return b"+OK\r\n"


def stuffed(raw: bytes) -> bytes:
    """A message as RFC 1939 sends it."""
    raw = raw if raw.endswith(b"\r\n") else raw + b"\r\n"
    return (b"\r\n" + raw).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n"
