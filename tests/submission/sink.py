"""A mail server that thinks as long as a test wants, and counts what it was handed instead of keeping it."""

from __future__ import annotations

import base64
import hashlib
import socketserver
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass, field

from tests.servers.certificates import Certificate


@dataclass(frozen=True)
class Handed:
    """One message."""

    sender: str
    recipients: tuple[str, ...]
    size: int
    digest: str


@dataclass
class Sink:
    """Runs inside `with`, without TLS, on loopback."""

    think: threading.Event = field(default_factory=threading.Event)  # set: it answers messages at once
    begun: threading.Event = field(default_factory=threading.Event)  # it has a message to think about
    handed: list[Handed] = field(default_factory=list)
    logins: list[bytes] = field(default_factory=list)
    replies: dict[str, bytes] = field(default_factory=dict)  # by verb; "." is the answer to a message
    certificate: Certificate | None = None  # with one it speaks TLS from the first byte
    port: int = 0

    def __enter__(self) -> Sink:
        sink = self

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if self.certificate is not None:
            context.load_cert_chain(self.certificate.chain, self.certificate.key)

        class Handler(socketserver.StreamRequestHandler):
            def setup(self) -> None:
                if sink.certificate is not None:
                    self.request = context.wrap_socket(self.request, server_side=True)
                super().setup()

            def handle(self) -> None:
                with suppress(OSError, ValueError):
                    sink.serve(self)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads, allow_reuse_address, request_queue_size = True, True, 100

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.think.set()
        self._server.shutdown()
        self._server.server_close()

    def serve(self, handler: socketserver.StreamRequestHandler) -> None:
        sender, recipients = "", list[str]()

        def say(line: bytes) -> None:
            handler.wfile.write(line + b"\r\n")

        say(b"220 sink")
        while line := handler.rfile.readline():
            verb, argument = line.split()[0].decode().upper(), line.decode().strip()
            if verb == "EHLO":
                say(
                    b"250-sink\r\n250-SIZE 104857600\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 AUTH PLAIN XOAUTH2"
                )
            elif verb == "AUTH":
                say(b"334 ")
                self.logins.append(base64.b64decode(handler.rfile.readline()))
                say(self.replies.get(verb, b"235 2.7.0 in"))
            elif verb == "DATA" and verb not in self.replies:
                say(b"354 go")
                size, digest = content(handler)
                self.begun.set()
                self.think.wait(60)
                reply = self.replies.get(".", b"250 2.0.0 queued as 42")
                if reply.startswith(b"250 "):
                    self.handed.append(Handed(sender, tuple(recipients), size, digest))
                say(reply)
            else:
                if verb == "MAIL":
                    sender, recipients = path(argument), []
                if verb == "RCPT":
                    recipients.append(path(argument))
                say(self.replies.get(verb, b"221 2.0.0 bye" if verb == "QUIT" else b"250 2.1.0 fine"))
            if verb == "QUIT":
                return


def path(argument: str) -> str:
    return argument.partition("<")[2].partition(">")[0]


def content(handler: socketserver.StreamRequestHandler) -> tuple[int, str]:
    size, digest = 0, hashlib.sha256()
    while (line := handler.rfile.readline(2**20)) not in (b".\r\n", b""):
        line = line[1:] if line.startswith(b"..") else line
        size += len(line)
        digest.update(line)
    if not line:
        raise OSError("cut off")
    return size, digest.hexdigest()
