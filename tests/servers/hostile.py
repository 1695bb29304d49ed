"""IMAP servers that lie: each follows a script on every connection, in threads of the test itself."""

from __future__ import annotations

import re
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from tests.servers.certificates import Certificate

PLAIN_CAPABILITIES = b"IMAP4rev1 AUTH=PLAIN SASL-IR"
OVER = (OSError, EOFError, ValueError)  # the client has hung up, which is what it should do


class Talk:
    """One connection, seen from the server."""

    def __init__(self, connection: socket.socket, server: ScriptedServer) -> None:
        self._socket = connection
        self._server = server
        self._buffer = b""

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._socket.sendall(data)

    def line(self) -> bytes:
        """The next line of the client. Raises EOFError when it has hung up."""
        while b"\n" not in self._buffer:
            chunk = self._socket.recv(65536)
            if not chunk:
                raise EOFError
            self._server.received += chunk
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.rstrip(b"\r")

    def command(self) -> tuple[bytes, bytes]:
        """The tag and the rest of the next command."""
        tag, _, rest = self.line().partition(b" ")
        return tag, rest

    def encrypt(self) -> None:
        """Go on over TLS."""
        assert self._server.certificate is not None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._server.certificate.chain, self._server.certificate.key)
        self._socket = context.wrap_socket(self._socket, server_side=True)

    def hang_up(self) -> None:
        """End the connection while a script may be reading from it."""
        with suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Hang up."""
        with suppress(OSError):
            self._socket.close()


Script = Callable[[Talk], None]


class ScriptedServer:
    """Listens on a free port of 127.0.0.1. `received` is every byte that clients sent, decrypted."""

    host = "localhost"

    def __init__(self, script: Script, certificate: Certificate | None = None, *, tls: bool = True) -> None:
        """With a `certificate` it speaks TLS from the first byte, unless `tls` is false."""
        self.certificate = certificate
        self.received = b""
        self.connections = 0
        self._script = script
        self._tls = tls and certificate is not None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Listen no longer. Connections end with their script."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        talk = Talk(connection, self)
        with suppress(*OVER):
            connection.settimeout(60)
            if self._tls:
                talk.encrypt()
            self._script(talk)
        talk.close()


class RogueServer(ScriptedServer):
    """Behaves like an IMAP server and lets everybody in. `saw_login` tells whether a password was offered.

    With a certificate and `tls` false it offers STARTTLS.
    """

    def __init__(self, certificate: Certificate | None = None, *, tls: bool = True) -> None:
        script = let_in if tls or certificate is None else let_in_by_starttls
        super().__init__(script, certificate, tls=tls)

    @property
    def saw_login(self) -> bool:
        """Whether any client began to log in."""
        return re.search(rb"\b(AUTHENTICATE|LOGIN)\b", self.received, re.IGNORECASE) is not None


# -- what a script may do ------------------------------------------------------------


def greet(talk: Talk, capabilities: bytes = PLAIN_CAPABILITIES) -> None:
    """Begin as an honest server does."""
    talk.send(b"* OK [CAPABILITY %s] ready\r\n" % capabilities)


def enter(talk: Talk) -> None:
    """Greet and let the client log in."""
    greet(talk)
    tag, _ = talk.command()
    talk.send(tag + b" OK logged in\r\n")


def let_in(talk: Talk) -> None:
    """Greet, and answer OK to everything; EXAMINE shows an empty folder."""
    greet(talk)
    serve_folder(talk)


def serve_folder(talk: Talk) -> None:
    """Answer OK to everything."""
    while True:
        tag, rest = talk.command()
        if rest == b"CAPABILITY":
            talk.send(b"* CAPABILITY %s\r\n" % PLAIN_CAPABILITIES)
        if rest.startswith(b"EXAMINE"):
            talk.send(b"* 0 EXISTS\r\n* OK [UIDVALIDITY 1] .\r\n* OK [UIDNEXT 1] .\r\n")
        talk.send(tag + b" OK done\r\n")


def let_in_by_starttls(talk: Talk) -> None:
    """Encrypt when asked to, then let in."""
    greet(talk, b"IMAP4rev1 STARTTLS LOGINDISABLED")
    tag, _ = talk.command()
    talk.send(tag + b" OK begin\r\n")
    talk.encrypt()
    serve_folder(talk)


def examine_then(answer: Callable[[Talk, bytes], None], exists: int = 1) -> Script:
    """Let the client in and open a folder of `exists` messages; `answer(talk, tag)` its first UID FETCH."""

    def script(talk: Talk) -> None:
        enter(talk)
        tag, _ = talk.command()
        talk.send(b"* %d EXISTS\r\n* OK [UIDVALIDITY 1] .\r\n%s OK [READ-ONLY] .\r\n" % (exists, tag))
        tag, _ = talk.command()
        answer(talk, tag)

    return script


def drip(talk: Talk) -> None:
    """One byte of a greeting every tenth of a second, for ever."""
    talk.send(b"* OK ")
    while True:
        talk.send(b".")
        time.sleep(0.1)


def drip_lines(talk: Talk) -> None:
    """Let the client in, then drip whole lines that mean nothing."""
    enter(talk)
    while True:
        talk.send(b"* OK still here\r\n")
        time.sleep(0.1)


def silence(talk: Talk) -> None:
    """Say nothing, whatever is said: bytes of TLS may end a line."""
    while True:
        talk.line()


def garbage(talk: Talk) -> None:
    """Greet as another protocol."""
    talk.send(b"220 smtp.example.com ESMTP\r\n")
    talk.line()


def endless_line(talk: Talk) -> None:
    """A greeting that never ends."""
    talk.send(b"* OK ")
    while True:
        talk.send(b"x" * 65536)


def endless_answers(talk: Talk) -> None:
    """Let the client in, then list folders without an end."""
    enter(talk)
    talk.command()
    while True:
        talk.send(b'* LIST () "." "Folder"\r\n' * 1000)


def huge_literal(talk: Talk, tag: bytes) -> None:
    """Answer a FETCH with a literal of 400 MB, and really send it."""
    talk.send(b"* 1 FETCH (UID 1 BODY[] {400000000}\r\n")
    for _ in range(400):
        talk.send(bytes(1_000_000))
    talk.send(b")\r\n%s OK\r\n" % tag)


def no_starttls(talk: Talk) -> None:
    """Offer no encryption (or somebody on the way took the offer out), but logging in."""
    let_in(talk)


def preauthenticated(talk: Talk) -> None:
    """Pretend that the client is logged in, which forbids it to begin STARTTLS."""
    talk.send(b"* PREAUTH [CAPABILITY IMAP4rev1] welcome\r\n")
    talk.line()


def starttls_injection(talk: Talk) -> None:
    """Send an answer in the clear together with the permission to begin TLS."""
    greet(talk, b"IMAP4rev1 STARTTLS LOGINDISABLED")
    tag, _ = talk.command()
    talk.send(tag + b" OK begin\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n")
    talk.encrypt()
    serve_folder(talk)


def starttls_injection_later(talk: Talk) -> None:
    """The same, but a moment later, when the client has begun the handshake."""
    greet(talk, b"IMAP4rev1 STARTTLS LOGINDISABLED")
    tag, _ = talk.command()
    talk.send(tag + b" OK begin\r\n")
    time.sleep(0.1)
    talk.send(b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n")
    talk.encrypt()
    serve_folder(talk)


def refuse_with(text: Callable[[bytes], bytes], capabilities: bytes = PLAIN_CAPABILITIES) -> Script:
    """Refuse to let anybody in, with `text(what the client sent)`: `echo` sends the password back."""

    def script(talk: Talk) -> None:
        greet(talk, capabilities)
        tag, rest = talk.command()
        if rest.upper() == b"AUTHENTICATE PLAIN":
            talk.send(b"+ \r\n")
            rest = talk.line()
        talk.send(tag + b" NO [AUTHENTICATIONFAILED] " + text(rest) + b"\r\n")
        talk.line()

    return script
