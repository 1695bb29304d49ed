"""Promises of proxy.md: with the configuration that stands there, nginx and Caddy do what the page says."""

from __future__ import annotations

import json
import os
import pwd
import re
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from panel.mail.session import PROBE_IDLE_SECONDS
from tests import running
from tests.docs.pages import Block, page
from tests.docs.proxies import Proxy, Visitor, binary, path_of
from tests.running import PanelServer
from tests.servers.certificates import Authority

EMAIL, PASSWORD = "dana@example.org", "a heron stands in the reeds"
BLOCKS = page("proxy.md").blocks()
CONFIGURATIONS = [block for block in BLOCKS if block.kind in ("nginx", "caddy")]


@dataclass(frozen=True)
class Front:
    """A proxy in front of a running panel, and where people find the panel."""

    visitor: Visitor
    server: PanelServer
    root: str  # the path below which the panel lies: '' or '/mail'
    slow_port: int  # of a mail server that accepts and never says a word

    def sign_in(self) -> None:
        self.visitor.cookies.clear()
        self.visitor.get(f"{self.root}/login")
        answer = self.visitor.post(f"{self.root}/login", email=EMAIL, password=PASSWORD)
        assert answer.status == 303, answer.text


def settings_above(block: Block) -> dict[str, str]:
    """The settings that the page shows last before this block."""
    shown = [one for one in BLOCKS if one.kind == "ini" and one.line < block.line]
    return dict(re.findall(r"^(\w+)=(.*)$", shown[-1].text, re.MULTILINE))


@pytest.fixture(scope="module", params=CONFIGURATIONS, ids=lambda block: f"{block.kind} {block.line}")
def front(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, certificates: Authority
) -> Iterator[Front]:
    block: Block = request.param
    if binary(block.kind) is None:
        pytest.skip(f"needs {block.kind}: apt-get install {block.kind}")
    place = tmp_path_factory.mktemp("panel")
    with (
        socket.create_server(("127.0.0.1", 0)) as slow,
        tempfile.TemporaryDirectory(prefix="proxy-") as folder,
    ):
        environ = running.environ_for(place)
        environ |= settings_above(block) | {"PANEL_MAIL_PORTS": str(slow.getsockname()[1])}
        root = path_of(environ["PANEL_URL"]).rstrip("/")
        arguments = ("setup", "--admin-email", EMAIL, "--admin-name", "Dana Reed", "--password-file", "-")
        assert running.flask(environ, *arguments, stdin=PASSWORD).returncode == 0
        server = PanelServer(environ, place / "server.log")
        server.start()
        user = pwd.getpwuid(os.geteuid()).pw_name
        proxy = Proxy(block, environ["PANEL_BIND"], certificates, Path(folder) / "proxy", user)
        yield Front(Visitor(proxy, certificates.ca_file), server, root, slow.getsockname()[1])
        proxy.stop()
        slow.close()  # or the server would wait for what it still tests
        server.stop()


def test_people_sign_in_through_the_proxy_and_every_address_on_the_page_leads_through_it(
    front: Front,
) -> None:
    front.visitor.cookies.clear()
    login = front.visitor.get(f"{front.root}/login")
    assert login.status == 200
    assert "This connection is not encrypted" not in login.text
    cookie = login.headers["Set-Cookie"]
    assert "Secure" in cookie
    assert f"Path={front.root or '/'};" in f"{cookie};"
    front.sign_in()
    for path in ("/", "/accounts", "/accounts/new", "/server/encryption", "/people", "/activity", "/profile"):
        answer = front.visitor.get(f"{front.root}{path}")
        assert answer.status == 200, path
        named = re.findall(r'(?:href|src|action|hx-get|hx-post)="(/[^"]*)"', answer.text)
        assert named
        assert [url for url in named if not url.startswith(f"{front.root}/")] == [], path
        for url in named:
            if "/static/" in url:
                assert front.visitor.get(url).status == 200


def test_who_is_not_signed_in_is_led_to_the_sign_in_page_below_the_same_path(front: Front) -> None:
    front.visitor.cookies.clear()
    answer = front.visitor.get(f"{front.root}/accounts")
    assert answer.status == 303
    assert path_of(answer.headers["Location"]) == f"{front.root}/login"


def test_people_are_known_by_their_own_address_and_nobody_can_make_one_up(front: Front) -> None:
    front.visitor.cookies.clear()
    forged = {
        "X-Forwarded-For": "203.0.113.9",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Prefix": "/evil",
        "X-Forwarded-Proto": "http",
    }
    answer = front.visitor.get(f"{front.root}/login", **forged)
    assert answer.status == 200
    assert "evil" not in answer.text
    assert "This connection is not encrypted" not in answer.text
    wrong = {"email": EMAIL, "password": "wrong"}
    front.visitor.begin_post(f"{front.root}/login", wrong, **forged).read()
    front.sign_in()
    events = json.loads(running.flask(front.server.environ, "activity", "list", "--json").stdout)
    assert {event["address"] for event in events if event["address"]} == {"127.0.0.2"}


@pytest.mark.parametrize("htmx", [True, False], ids=["events", "a page that grows"])
def test_the_live_test_shows_its_first_steps_while_the_mail_server_is_still_silent(
    front: Front, htmx: bool
) -> None:
    front.sign_in()
    front.visitor.get(f"{front.root}/accounts/new")
    form = {
        "address": "support@example.org", "protocol": "imap", "host": "localhost", "port": str(front.slow_port),
        "security": "tls", "username": "", "password": "secret", "folder": "INBOX", "begin": "now",
        "interval": "60", "on_server": "keep", "move_to": "",
    }  # fmt: skip
    headers = {"HX-Request": "true"} if htmx else {}
    begun = time.monotonic()
    response = front.visitor.begin_post(f"{front.root}/accounts/test", form, **headers)
    assert response.status == 200
    seen = b""
    while b"localhost is" not in seen:
        more = response.read1(65536)
        assert more, f"it ended: {seen.decode()}"
        seen += more
    assert time.monotonic() - begun < PROBE_IDLE_SECONDS, "the steps came all at once, at the end"
    response.close()


def test_flask_doctor_is_content_with_the_proxy(front: Front) -> None:
    front.visitor.get(f"{front.root}/login")
    checks = json.loads(running.flask(front.server.environ, "doctor", "--json").stdout)
    assert [check["ok"] for check in checks if check["check"] == "proxy"] == [True]


def test_under_another_name_the_panel_does_not_answer_but_on_the_machine_itself_it_does(front: Front) -> None:
    assert front.server.answers()
    assert front.visitor.get(f"{front.root}/readyz").text == "ready\n"
    assert front.visitor.get(f"{front.root}/readyz", Host="evil.example").text != "ready\n"
