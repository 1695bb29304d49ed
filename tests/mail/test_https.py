"""The HTTP client calls nothing it may not, waits no longer, and reads no more than it was allowed."""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import Callable, Iterator
from email.message import Message
from email.utils import formatdate
from typing import Any

import pytest

from panel.errors import BadInput, MailError
from panel.mail import https
from panel.mail.https import Body, HttpLimits, Response
from panel.mail.policy import Policy
from tests.alerts.receiver import Receiver
from tests.servers.certificates import Authority, Certificate
from tests.servers.hostile import Script, ScriptedServer, Talk

Call = Callable[..., Response]


def answer(*parts: bytes) -> Script:
    """Reads the request's head, then sends `parts`."""

    def script(talk: Talk) -> None:
        while talk.line():
            pass
        for part in parts:
            talk.send(part)

    return script


@pytest.fixture
def call(certificates: Authority) -> Iterator[Call]:
    """Call a scripted web server over TLS."""
    servers: list[ScriptedServer] = []

    def call(
        script: Script, path: str = "/", certificate: Certificate | None = None, **over: Any
    ) -> Response:
        servers.append(server := ScriptedServer(script, certificate or certificates.good()))
        if "also" in over:  # ports that it may lead to
            over["ports"] = (server.port, *over.pop("also"))
        policy = Policy(frozenset(), ca_file=certificates.ca_file, deny=over.pop("deny", ()))
        url = f"https://localhost:{server.port}{path}"
        return https.fetch(url, policy, **{"internal": True, "limits": HttpLimits(seconds=60), **over})

    yield call
    for server in servers:
        server.stop()


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "parts",
    [
        (OK + b"Content-Length: 5\r\n\r\nhello",),
        (b"HTTP/1.0 200 OK\r\n\r\nhel", b"lo"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n", b"3\r\nllo\r\n0\r\n\r\n"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"content-length:5\r\n\r\nhello and more",),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 2, OK + b"content-length:5\r\n\r\nhello"),
    ],
    ids=["length", "until the end", "chunked", "after 100", "after 103"],
)
def test_a_body_is_read_however_it_is_sent(call: Call, parts: tuple[bytes, ...]) -> None:
    response = call(answer(*parts))
    assert (response.status, response.body) == (200, b"hello")


def test_json_and_forms_are_posted_with_their_headers(certificates: Authority) -> None:
    receiver = Receiver(certificates.good())
    policy = Policy(frozenset(), ca_file=certificates.ca_file)
    try:
        value = {"ü": [1, None]}
        response = https.fetch(
            receiver.url, policy, internal=True, body=Body.of_json(value), headers={"X-Sent": "yes"}
        )
    finally:
        receiver.stop()
    assert (
        response.status == 204 and receiver.taken == [value] and receiver.paths == ["/hook?token=in-the-path"]
    )
    [sent] = receiver.headers
    assert (sent["X-Sent"], sent["Host"]) == ("yes", f"localhost:{receiver.port}")
    assert sent["Content-Type"] == "application/json"


# -- whom it calls ---------------------------------------------------------------------------


def test_a_server_of_this_network_is_called_only_where_that_is_allowed(call: Call) -> None:
    good = answer(OK + b"Content-Length: 0\r\n\r\n")
    assert call(good, internal=True).status == 200
    with pytest.raises(MailError, match="denied network"):
        call(good, internal=False)
    with pytest.raises(MailError, match="denied network"):
        call(good, deny=(ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128")))
    with pytest.raises(MailError, match="is not allowed"):
        call(good, ports=[443])


@pytest.mark.parametrize(
    "host", ["10.1.2.3", "192.168.1.1", "169.254.169.254", "[::1]", "[fd00::1]", "[::ffff:10.0.0.1]"]
)
def test_internal_addresses_are_denied_before_anything_is_sent(host: str) -> None:
    with pytest.raises(MailError, match="denied network"):
        https.fetch(f"https://{host}/", Policy(frozenset()), internal=False, limits=HttpLimits(seconds=60))


def test_plain_http_reaches_this_server_alone(certificates: Authority) -> None:
    receiver = Receiver()
    try:
        assert (
            https.fetch(receiver.url, Policy(frozenset()), internal=True, body=Body(b"1", "x/y")).status
            == 204
        )
        with pytest.raises(MailError, match="denied network"):
            https.fetch(receiver.url, Policy(frozenset()), internal=False)
    finally:
        receiver.stop()
    with pytest.raises(BadInput, match="unencrypted"):
        https.fetch("http://192.0.2.1/", Policy(frozenset()), internal=True)


@pytest.mark.parametrize("which", ["wrong_name", "expired", "self_signed"])
def test_tls_always_verifies_the_server(call: Call, certificates: Authority, which: str) -> None:
    with pytest.raises(MailError, match="certificate") as caught:
        call(answer(OK + b"\r\n"), certificate=getattr(certificates, which)())
    assert caught.value.step == "tls"


# -- redirects -------------------------------------------------------------------------------


def moved(location: str) -> Script:
    return answer(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + location.encode() + b"\r\n\r\n")


def test_redirects_are_followed_as_often_as_allowed_and_no_post_is(call: Call) -> None:
    paths: list[bytes] = []
    received: list[bytes] = []

    def script(talk: Talk) -> None:
        paths.append(talk.line().split(b" ")[1])
        head = []
        while line := talk.line():
            head.append(line)
        received.append(b"\n".join(head))
        if paths[-1] == b"/":
            talk.send(b"HTTP/1.1 301 Moved\r\nLocation: /second\r\n\r\n")
        else:
            talk.send(OK + b"\r\nend")

    assert call(script).status == 301 and paths == [b"/"]
    assert (
        call(script, limits=HttpLimits(seconds=60, redirects=1), headers={"X-Key": "secret"}).body == b"end"
    )
    assert paths[1:] == [b"/", b"/second"]
    assert b"secret" in received[1] and b"secret" not in received[2]
    body = Body(b"", "x/y")
    assert call(script, limits=HttpLimits(seconds=60, redirects=1), body=body).status == 301
    with pytest.raises(MailError, match="redirects too often"):
        call(moved("/"), limits=HttpLimits(seconds=60, redirects=2))


@pytest.mark.parametrize(
    ("location", "error"),
    [
        ("http://localhost/", "away from HTTPS"), ("file:///etc/passwd", "away from HTTPS"), ("https://[bad/", "away"),
        ("https://169.254.169.254/latest", "denied network"), ("https://user@localhost/", "a user"),
        ("https://localhost:99999/", "cannot be read"), ("https://localhost:1/", "not allowed"),
    ],
)  # fmt: skip
def test_where_a_redirect_leads_is_checked_again(call: Call, location: str, error: str) -> None:
    deny = (ipaddress.ip_network("169.254.0.0/16"),)

    with pytest.raises((MailError, BadInput), match=error):
        call(moved(location), limits=HttpLimits(seconds=60, redirects=1), deny=deny, also=(80, 443))


# -- what a server may send ------------------------------------------------------------------


@pytest.mark.parametrize(
    "parts",
    [
        (b"SSH-2.0-OpenSSH\r\n",), (b"HTTP/1.1 abc\r\n\r\n",), (b"",),
        (OK + b"Content-Length: 10\r\n\r\nshort",), (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n9999999999\r\nx",), (OK + b"Content-Length: 99999999999\r\n\r\n",),
    ],
)  # fmt: skip
def test_what_is_no_response_is_one_clear_error(call: Call, parts: tuple[bytes, ...]) -> None:
    with pytest.raises(MailError) as caught:
        call(answer(*parts))
    assert caught.value.message and caught.value.remedy


def test_a_server_that_leaves_without_an_answer_is_said_to_have_left(call: Call) -> None:
    with pytest.raises(MailError, match="closed the connection"):
        call(answer(b""))


ENDLESS: dict[str, tuple[bytes, bytes]] = {
    "a status line": (b"", b"x" * 1000),
    "headers": (OK, b"X-More: " + b"x" * 1000 + b"\r\n"),
    "interim responses": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a body": (OK + b"\r\n", b"x" * 1000),
    "chunks": (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "trailers": (OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n"),
}


@pytest.mark.parametrize("what", ENDLESS)
def test_what_never_ends_is_cut_off_by_its_length(call: Call, what: str) -> None:
    first, more = ENDLESS[what]
    sent = 0

    def script(talk: Talk) -> None:
        nonlocal sent
        answer(first)(talk)
        while True:
            talk.send(more)
            sent += len(more)

    with pytest.raises(MailError):
        call(script, limits=HttpLimits(seconds=600, head=20_000, body=20_000))
    assert sent < 20 * 2**20  # what the sockets in between hold, and not what 30 seconds could bring


def test_a_server_that_drips_ends_at_the_deadline(call: Call) -> None:
    def drip(talk: Talk) -> None:
        answer(OK)(talk)
        while True:
            talk.send(b"X")
            time.sleep(0.05)

    begun = time.monotonic()
    with pytest.raises(MailError, match="did not answer in time"):
        call(drip, limits=HttpLimits(seconds=1))
    assert time.monotonic() - begun < 20  # it would drip for ever


def test_a_body_that_is_not_wanted_is_not_read(call: Call) -> None:
    response = call(
        answer(OK + b"Content-Length: 9000000\r\n\r\n" + b"x" * 100), limits=HttpLimits(seconds=60, body=0)
    )
    assert (response.status, response.body) == (200, b"")


def test_nothing_that_a_server_sent_is_in_a_repr(call: Call) -> None:
    response = call(answer(OK + b"X-Echo: hunter2\r\nContent-Length: 7\r\n\r\nhunter2"))
    assert json.loads(f'"{response.body.decode()}"') == response.headers["x-echo"] == "hunter2"
    assert "hunter2" not in repr(response)


# -- Retry-After -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("120", 120), ("0", 0), (" 7 ", 7), ("9" * 40, 86400), ("-5", None), ("soon", None), ("", None), ("\u0663", None),
     ("Mon, 99 Nov 2026 10:00:00 GMT", None), ("Mon, 2 Nov 2020 10:00:00 GMT", 0)],
)  # fmt: skip
def test_retry_after_is_read_in_seconds(text: str, seconds: int | None) -> None:
    headers = Message()
    headers["Retry-After"] = text
    assert Response(429, headers, b"").retry_after == seconds
    assert Response(429, Message(), b"").retry_after is None


def test_retry_after_may_be_a_date() -> None:
    headers = Message()
    headers["Retry-After"] = formatdate(time.time() + 60, usegmt=True)
    seconds = Response(503, headers, b"").retry_after
    assert seconds is not None and 55 <= seconds <= 60
