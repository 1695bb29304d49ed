"""A scripted IMAP server with IDLE, as odd as a test wants it; mail arrives when the test says so."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from tests.servers.hostile import OVER, Talk
from tests.servers.imap import ImapMailbox


@dataclass
class IdleMailbox(ImapMailbox):
    """A script: `ScriptedServer(IdleMailbox())`."""

    capabilities: bytes = b"IMAP4rev1 AUTH=PLAIN SASL-IR IDLE"
    plus: bytes = b"+ idling\r\n"  # what it answers to IDLE
    refused: bytes | None = None  # how it completes IDLE at once
    at_done: Callable[[], bytes] = lambda: b""  # what it says between DONE and OK
    silent: bool = False  # never answers DONE
    catches_up: bool = False  # says at IDLE how many there are by now
    idling: list[Talk] = field(default_factory=list)
    logins: int = 0

    def __call__(self, talk: Talk) -> None:
        try:
            super().__call__(talk)
        finally:
            with suppress(ValueError):
                self.idling.remove(talk)

    def _answered(self, talk: Talk, command: bytes, inside: bool) -> bytes:
        if command.startswith(b"AUTHENTICATE"):
            self.logins += 1
        if command.upper() != b"IDLE":
            return super()._answered(talk, command, inside)
        if self.refused is not None:
            return self.refused
        self.idling.append(talk)
        talk.send(self.plus)
        if self.catches_up:
            talk.send(b"* %d EXISTS\r\n" % len(self.mail))
        if talk.line() != b"DONE":
            return b"BAD DONE was expected"
        self.idling.remove(talk)
        if self.silent:
            threading.Event().wait(60)
        talk.send(self.at_done())
        return b"OK idled"

    def put(self, raw: bytes) -> bytes:
        """One more message; the line that announces it."""
        self.mail[max(self.mail, default=0) + 1] = raw
        return b"* %d EXISTS\r\n" % len(self.mail)

    def arrive(self, raw: bytes) -> None:
        """A message comes, and is announced."""
        self.say(self.put(raw))

    def say(self, data: bytes) -> None:
        """Send bytes to every client that idles."""
        for talk in list(self.idling):
            with suppress(*OVER):
                talk.send(data)

    def hang_up(self, goodbye: bytes = b"") -> None:
        """End every session that idles."""
        self.say(goodbye)
        for talk in list(self.idling):
            talk.hang_up()
