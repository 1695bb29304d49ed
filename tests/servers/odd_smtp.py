"""A scripted SMTP server that takes a message, as odd as a test wants it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.servers.hostile import Talk


@dataclass
class SmtpScript:
    """`answer` comes first, with the command: what it sends instead of the usual reply, or None."""

    offers: bytes = b"AUTH PLAIN LOGIN"  # lines of the reply to EHLO, by CRLF
    greeting: bytes = b"220 ready\r\n"
    answer: Callable[[bytes], bytes | None] = lambda command: None
    password_reply: bytes = b"235 in\r\n"
    after_data: bytes = b"250 taken\r\n"
    commands: list[bytes] = field(default_factory=list)
    data: list[bytes] = field(default_factory=list)

    def __call__(self, talk: Talk) -> None:
        talk.send(self.greeting)
        while True:
            command = talk.line()
            self.commands.append(command)
            reply = self.answer(command)
            talk.send(self._reply(talk, command) if reply is None else reply)

    def _reply(self, talk: Talk, command: bytes) -> bytes:
        verb = command.upper()
        if verb.startswith(b"EHLO"):
            lines = [b"hello", *self.offers.split(b"\r\n")]
            return b"".join(b"250-%s\r\n" % line for line in lines) + b"250 HELP\r\n"
        if verb in (b"AUTH PLAIN", b"AUTH LOGIN"):
            prompts = [b"334 \r\n"] if verb == b"AUTH PLAIN" else [b"334 VXNlcg==\r\n", b"334 UGFzcw==\r\n"]
            for prompt in prompts:
                talk.send(prompt)
                self.commands.append(talk.line())
            return self.password_reply
        if verb.startswith(b"AUTH"):
            return self.password_reply
        if verb == b"DATA":
            talk.send(b"354 go\r\n")
            while (line := talk.line()) != b".":
                self.data.append(line)
            return self.after_data
        if verb == b"QUIT":
            raise EOFError
        return b"250 OK\r\n"
