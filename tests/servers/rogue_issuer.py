"""A provider that answers whatever a test wants, and keeps what it was sent."""

from __future__ import annotations

import json
import ssl
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

from tests.servers.certificates import Certificate

DISCOVERY = "/.well-known/openid-configuration"


@dataclass
class RogueIssuer:
    """Runs from construction to `stop()`. `answers`: status, headers and body by path."""

    answers: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    received: list[tuple[str, dict[str, str], dict[str, str]]] = field(default_factory=list)
    certificate: Certificate | None = None  # it is called by HTTPS then

    def __post_init__(self) -> None:
        rogue = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                length = int(self.headers["Content-Length"] or 0)
                form = dict(parse_qsl(self.rfile.read(length).decode(), keep_blank_values=True))
                rogue.received.append((self.path, dict(self.headers), form))
                status, headers, body = rogue.answers.get(self.path, (404, {}, b""))
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        if self.certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate.chain, self.certificate.key)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self.url = f"https://localhost:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.describe()

    def describe(self, **over: Any) -> None:
        """Its discovery document; `over`: other values."""
        document = {
            "issuer": self.url, "authorization_endpoint": f"{self.url}/auth",
            "token_endpoint": f"{self.url}/token", "device_authorization_endpoint": f"{self.url}/device",
        }  # fmt: skip
        self.answer(DISCOVERY, {**document, **over})

    def answer(self, path: str, body: object, status: int = 200, **headers: str) -> None:
        """Answer requests to `path` with `body`: bytes as they are, anything else as JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.answers[path] = (status, headers, content)

    def sent_to(self, path: str) -> list[dict[str, str]]:
        """The forms that came to `path`."""
        return [form for where, _, form in self.received if where == path]

    def stop(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
