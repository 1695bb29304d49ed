"""A scripted IMAP server with mail in it, as odd as a test wants it: each way of speaking is a field."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.servers.hostile import Talk

Fetched = Callable[[int, int, bytes, bytes], bytes]  # number, UID, message, items → one answer
Answered = Callable[[bytes], bytes | None]  # the command without its tag → status and text, or None


def covers(asked: bytes, uid: int, last: int) -> bool:
    """Whether a set of UIDs names `uid`; `last` is what * stands for."""
    for part in asked.split(b","):
        low, _, high = part.partition(b":")
        ends = sorted(last if end == b"*" else int(end) for end in (low, high or low))
        if ends[0] <= uid <= ends[1]:
            return True
    return False


def plainly(number: int, uid: int, raw: bytes, items: bytes) -> bytes:
    """An answer to FETCH as the RFC shows it."""
    told = b"UID %d FLAGS () RFC822.SIZE %d" % (uid, len(raw))
    told += b' INTERNALDATE "17-Jul-2096 02:44:25 -0700"' if b"INTERNALDATE" in items else b""
    body = b" BODY[] {%d}\r\n%s" % (len(raw), raw) if b"BODY" in items else b""
    return b"* %d FETCH (%s%s)\r\n" % (number, told, body)


@dataclass
class ImapMailbox:
    """A script: `ScriptedServer(ImapMailbox({1: b"mail"}), certificate)`."""

    mail: dict[int, bytes] = field(default_factory=dict)
    capabilities: bytes = b"IMAP4rev1 AUTH=PLAIN SASL-IR"
    greeting: bytes = b"* OK [CAPABILITY %(offered)s] ready"
    later: bytes | None = None  # capabilities once logged in, if others
    opened: bytes = b"* %(exists)d EXISTS\r\n* OK [UIDVALIDITY 1] .\r\n* OK [UIDNEXT %(uidnext)d] .\r\n"
    uidnext: int | None = None
    status: bytes | None = b"MESSAGES %(exists)d UNSEEN 0 UIDNEXT %(uidnext)d UIDVALIDITY 1"
    fetched: Fetched = plainly
    searched: Callable[[Sequence[int]], bytes] = lambda uids: (
        b"* SEARCH %s\r\n" % b" ".join(b"%d" % uid for uid in uids)
    )
    folders: bytes = b'* LIST () "/" INBOX\r\n'
    known: frozenset[bytes] | None = None  # words for folders that can be opened, if not all
    noise: bytes = b""  # before each completion
    answer: Answered = lambda command: None  # what comes first: an answer instead of the usual one
    commands: list[bytes] = field(default_factory=list)

    def __call__(self, talk: Talk) -> None:
        talk.send(self.greeting % {b"offered": self.capabilities} + b"\r\n")
        inside = False
        while True:
            tag, rest = talk.command()
            self.commands.append(rest)
            answer = self.answer(rest)
            if answer is None:
                answer = self._answered(talk, rest, inside)
                inside = inside or rest.startswith((b"AUTHENTICATE", b"LOGIN"))
            talk.send(b"%s%s %s\r\n" % (self.noise, tag, answer))

    def _answered(self, talk: Talk, command: bytes, inside: bool) -> bytes:
        last = max(self.mail, default=0)
        told = {b"exists": len(self.mail), b"uidnext": self.uidnext or last + 1}
        verb = command.upper()
        if verb == b"CAPABILITY":
            offered = self.later if inside and self.later is not None else self.capabilities
            talk.send(b"* CAPABILITY %s\r\n" % offered)
        elif verb == b"AUTHENTICATE PLAIN":
            talk.send(b"+ \r\n")
            talk.line()
        elif verb == b"AUTHENTICATE LOGIN":
            for prompt in (b"+ VXNlcm5hbWU6\r\n", b"+ UGFzc3dvcmQ6\r\n"):
                talk.send(prompt)
                talk.line()
        elif verb.startswith((b"EXAMINE ", b"SELECT ", b"STATUS ")):
            return self._folder(talk, command, told)
        elif verb.startswith(b"LIST "):
            talk.send(self.folders)
        elif verb.startswith(b"UID FETCH "):
            _, _, asked, items = command.split(b" ", 3)
            for number, (uid, raw) in enumerate(sorted(self.mail.items()), 1):
                if covers(asked, uid, last):
                    talk.send(self.fetched(number, uid, raw, items))
        elif verb.startswith(b"UID SEARCH UID "):
            asked = command.split(b" ")[3]
            talk.send(self.searched([uid for uid in sorted(self.mail) if covers(asked, uid, last)]))
        return b"OK done"

    def _folder(self, talk: Talk, command: bytes, told: dict[bytes, int]) -> bytes:
        verb, _, word = command.partition(b" ")
        word = word[: word.rindex(b'"') + 1]
        if self.known is not None and word not in self.known:
            return b"NO such folder"
        if verb != b"STATUS":
            talk.send(self.opened % told)
        elif self.status is not None:
            talk.send(b"* STATUS %s (%s)\r\n" % (word, self.status % told))
        return b"OK [READ-ONLY] done"
