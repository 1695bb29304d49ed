"""Promises of HTTP targets, against a server that notes each request byte for byte."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import io
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from panel.deliver import http as http_target
from panel.deliver.message import Disposition, OutgoingMessage, TryResult
from panel.deliver.targets import HttpTarget
from tests.deliver.conftest import MESSAGE, POLICY, Post, letter
from tests.running import wait_until


class Desk:
    """A helpdesk's HTTP inlet. `answers`: status and headers, the last one again and again."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: list[tuple[int, dict[str, str]]] = [(201, {})]
        desk = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(length := int(self.headers["Content-Length"]))
                if len(body) < length:
                    return  # the other side was killed
                desk.requests.append((self.path, dict(self.headers.items()), body))
                status, headers = desk.answers.pop(0) if len(desk.answers) > 1 else desk.answers[0]
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(b"echo " + self.headers.get("X-API-Key", "").encode())

            def log_message(self, *_: Any) -> None: ...

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/in"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def desk() -> Iterator[Desk]:
    found = Desk()
    yield found
    found.close()


def send(
    desk: Desk, directory: Path, raw: bytes = MESSAGE, mailbox: str = "support@example.org", **over: Any
) -> TryResult:
    values = {
        "url": desk.url, "encoding": "raw", "form_field": "", "headers": {}, "header_secrets": {}, "hmac_secret": "",
    }  # fmt: skip
    message = OutgoingMessage(io.BytesIO(raw), len(raw), "d" * 32, mailbox, "7")
    return http_target.deliver(HttpTarget("desk", 60, **{**values, **over}), message, directory, POLICY)


def secret(directory: Path, name: str, value: bytes, mode: int = 0o600) -> None:
    (directory / name).write_bytes(value)
    (directory / name).chmod(mode)


@pytest.mark.parametrize("size", [0, 1, 98_304, 98_305, 3_000_000])
def test_each_encoding_carries_the_message_byte_for_byte(desk: Desk, tmp_path: Path, size: int) -> None:
    raw = MESSAGE + bytes(range(256)) * (size // 256) + b"+&=%\r\n" * (size % 256)
    assert send(desk, tmp_path, raw).disposition is Disposition.DELIVERED
    assert (
        send(desk, tmp_path, raw, encoding="form", form_field="email[raw]").disposition
        is Disposition.DELIVERED
    )
    send(desk, tmp_path, raw, encoding="base64form", form_field="email_encoded")
    (_, plain, body), (_, form, formed), (_, _, encoded) = desk.requests
    assert body == raw and plain["Content-Type"] == "message/rfc822"
    assert form["Content-Type"] == "application/x-www-form-urlencoded"
    assert parse_qsl(formed.decode(), encoding="latin-1") == [("email[raw]", raw.decode("latin-1"))]
    [(field, value)] = parse_qsl(encoded.decode())
    assert field == "email_encoded" and base64.b64decode(value, validate=True) == raw


def test_it_carries_the_id_the_given_headers_secrets_and_a_signature(desk: Desk, tmp_path: Path) -> None:
    secret(tmp_path, "desk.key", b"s3cret key\n")
    secret(tmp_path, "desk.hmac", b"signs\r\n")
    found = send(
        desk,
        tmp_path,
        headers={"X-Team": "a b"},
        header_secrets={"X-API-Key": "desk.key"},
        hmac_secret="desk.hmac",
    )
    path, headers, body = desk.requests[0]
    assert path == "/in" and headers["Mailkeep-Delivery-Id"] == "d" * 32 and headers["Mailkeep-Uid"] == "7"
    assert (headers["X-Team"], headers["X-API-Key"]) == ("a b", "s3cret key")
    assert headers["Mailkeep-Signature"] == "sha256=" + hmac.new(b"signs", body, hashlib.sha256).hexdigest()
    assert "s3cret" not in found.answer  # although the server repeats it


@pytest.mark.parametrize(
    "mailbox", ["a\r\nX-Evil: 1@example.org", "ä@example.org", "\x00@x", "a b@example.org", "x" * 300]
)
def test_no_address_becomes_another_header(desk: Desk, tmp_path: Path, mailbox: str) -> None:
    assert send(desk, tmp_path, mailbox=mailbox).disposition is Disposition.DELIVERED
    headers = desk.requests[0][1]
    assert (
        "X-Evil" not in headers
        and headers["Mailkeep-Mailbox"].isascii()
        and " " not in headers["Mailkeep-Mailbox"]
    )


@pytest.mark.parametrize(
    ("value", "mode"),
    [
        (b"a\r\nX-Evil: 1", 0o600),
        (b"", 0o600),
        (b"\xff", 0o600),
        (b"a" * 5000, 0o600),
        (b"good", 0o640),
        (b"good", 0o604),
    ],
)
def test_a_secret_that_others_can_read_or_that_is_no_header_is_not_sent(
    desk: Desk, tmp_path: Path, value: bytes, mode: int
) -> None:
    secret(tmp_path, "key", value, mode)
    found = send(desk, tmp_path, header_secrets={"X-API-Key": "key"})
    assert found.disposition is Disposition.LATER and "The secret key" in found.answer and not desk.requests


def test_a_secret_may_be_a_credential_of_systemd(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "credentials").mkdir()
    secret(tmp_path / "credentials", "key", b"of systemd", 0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    send(desk, tmp_path, header_secrets={"X-API-Key": "key"})
    assert desk.requests[0][1]["X-API-Key"] == "of systemd"


@pytest.mark.parametrize(
    ("status", "becomes"),
    [
        (200, Disposition.DELIVERED), (204, Disposition.DELIVERED), (400, Disposition.REFUSED), (413, Disposition.REFUSED),
        (415, Disposition.REFUSED), (422, Disposition.REFUSED), (301, Disposition.LATER), (401, Disposition.LATER),
        (403, Disposition.LATER), (404, Disposition.LATER), (409, Disposition.LATER), (500, Disposition.LATER),
    ],
)  # fmt: skip
def test_what_each_status_means(desk: Desk, tmp_path: Path, status: int, becomes: Disposition) -> None:
    desk.answers = [(status, {"Location": desk.url})]
    found = send(desk, tmp_path)
    assert found.disposition is becomes and found.answer.startswith(f"HTTP {status} ")
    assert len(desk.requests) == 1  # no redirect was followed


def test_retry_after_holds_all_mail_of_the_target_back(desk: Desk, post: Post) -> None:
    post.targets(f'helpdesk = {{ type = "http", url = "{desk.url}" }}')
    box, other = post.mailbox(), post.mailbox("sales@example.org")
    desk.answers = [(429, {"Retry-After": "2"}), (201, {})]
    post.put(box, letter("first"))
    begun = time.monotonic()
    with post.delivering():
        wait_until(lambda: len(desk.requests) == 1, "a request")
        post.put(other, letter("second"))
        wait_until(lambda: len(desk.requests) == 3, "the others")
    assert time.monotonic() - begun > 1.9
    assert not post.waiting(box) and not post.waiting(other)


def test_the_next_try_is_told_as_late_as_the_server_wants_it(desk: Desk, post: Post) -> None:
    post.targets(f'helpdesk = {{ type = "http", url = "{desk.url}" }}')
    box = post.mailbox()
    desk.answers = [(503, {"Retry-After": "3600"})]
    post.put(box, letter("first"))
    with post.delivering():
        wait_until(lambda: post.state(box).get("attempts"), "a try")
    assert post.state(box)["next_at"] > time.time() + 3500


@pytest.mark.parametrize(
    ("status", "becomes"), [("413 Too Large", Disposition.REFUSED), ("200 OK", Disposition.LATER)]
)
def test_a_server_that_answers_before_the_end_of_a_message_may_refuse_it_only(
    tmp_path: Path, status: str, becomes: Disposition
) -> None:
    import socket

    listening = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        connection, _ = listening.accept()
        connection.recv(1000)
        connection.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
        connection.close()

    thread = threading.Thread(target=answer)
    thread.start()
    target = HttpTarget("d", 60, f"http://127.0.0.1:{listening.getsockname()[1]}/", "raw", "", {}, {}, "")
    raw = b"x" * 20_000_000
    message = OutgoingMessage(io.BytesIO(raw), len(raw), "d" * 32, "a@example.org", "")
    found = http_target.deliver(target, message, tmp_path, POLICY)
    thread.join()
    listening.close()
    assert found.disposition is becomes, found


def test_a_file_of_endless_zeros_takes_no_longer_than_a_message_may(tmp_path: Path) -> None:
    path = tmp_path / "message"
    path.touch()
    os.truncate(path, 2**42)  # which costs a member of the group nothing
    target = HttpTarget("d", 1, "http://127.0.0.1:1/", "raw", "", {}, {}, "")
    with path.open("rb") as file:
        found = http_target.deliver(
            target, OutgoingMessage(file, 2**42, "d" * 32, "a@example.org", ""), tmp_path, POLICY
        )
    assert found == TryResult(Disposition.LATER, "The message could not be read in time.")


def test_a_file_that_grows_meanwhile_is_sent_as_it_was(desk: Desk, tmp_path: Path) -> None:
    target = HttpTarget("d", 60, desk.url, "raw", "", {}, {}, "")
    message = OutgoingMessage(
        io.BytesIO(MESSAGE + b"POST / HTTP/1.1\r\n\r\n"), len(MESSAGE), "d" * 32, "a@example.org", ""
    )
    assert http_target.deliver(target, message, tmp_path, POLICY).disposition is Disposition.DELIVERED
    [(_, headers, body)] = desk.requests
    assert body == MESSAGE and headers["Content-Length"] == str(len(MESSAGE))


def test_a_target_that_is_not_there_is_tried_later(desk: Desk, tmp_path: Path) -> None:
    desk.close()
    found = send(desk, tmp_path)
    assert found.disposition is Disposition.LATER and "refused the connection" in found.answer
