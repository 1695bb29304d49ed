"""Each recipe of the manual, as it stands there, hands a message over to what answers as that helpdesk does.

Request Tracker and Redmine run their own script. For the others there is a program or a server that was
written after what their source does: the sentences above each say what that is.
"""

from __future__ import annotations

import base64
import email
import hashlib
import hmac
import http.server
import json
import re
import shutil
import stat
import threading
import time
import xmlrpc.client
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from panel.config import ROOT
from panel.deliver import command, targets_file
from panel.deliver import http as http_target
from panel.deliver.message import Disposition, OutgoingMessage, TryResult
from panel.deliver.targets import CommandTarget, HttpTarget
from tests.deliver.conftest import MESSAGE, POLICY

PAGE = ROOT / "docs/deliver-recipes.md"
REDMINE = Path("/usr/local/share/mailkeep-test/rdm-mailhandler.rb")  # see script/debian-packages
BLOCKS = re.findall(r"```toml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
RECIPES = {found[1]: text for text in BLOCKS if (found := re.match(r"\[([\w-]+)\]", text))}

Answer = tuple[int, bytes]


class Helpdesk:
    """A web server of a helpdesk: `answer` is its source, in a few lines."""

    def __init__(self, answer: Callable[[str, dict[str, str], bytes], Answer]) -> None:
        self.taken: list[bytes] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, content = answer(self.path, dict(self.headers.items()), body)
                self.send_response(status)
                self.send_header("Content-Type", "text/xml" if b"<?xml" in content[:6] else "text/plain")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None: ...

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Helpdesk]]:
    running: list[Helpdesk] = []

    def start(answer: Callable[[str, dict[str, str], bytes], Answer]) -> Helpdesk:
        running.append(Helpdesk(answer))
        return running[-1]

    yield start
    for each in running:
        each.close()


def recipe(directory: Path, name: str, there: dict[str, str]) -> Any:
    """The target of that recipe, where what the manual names lies elsewhere."""
    text = RECIPES[name]
    for here, other in there.items():
        assert here in text
        text = text.replace(here, other)
    path = directory / "targets.toml"
    path.write_text(text)
    return targets_file.read(path).by_name[name]


def hand_over(target: Any, directory: Path, raw: bytes = MESSAGE) -> TryResult:
    path = directory / "message"
    path.write_bytes(raw)
    with path.open("rb") as file:
        message = OutgoingMessage(file, len(raw), "d" * 32, "support@example.org", "7")
        if isinstance(target, CommandTarget):
            return command.deliver(target, message, threading.Event())
        assert isinstance(target, HttpTarget)
        return http_target.deliver(target, message, directory, POLICY)


def secret(directory: Path, name: str, value: str) -> Path:
    (directory / name).write_text(value)
    (directory / name).chmod(0o600)
    return directory / name


def program(directory: Path, name: str, script: str) -> Path:
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(script)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_every_recipe_of_the_manual_is_tested_here() -> None:
    source = Path(__file__).read_text("utf-8")
    assert len(RECIPES) == 10 and all(f'"{name}"' in source for name in RECIPES)


def test_zammad(tmp_path: Path) -> None:
    """Its script reads ARGF; an exception of Rails' runner ends with 1."""
    zammad = program(
        tmp_path,
        "zammad",
        f'#!/bin/sh\n[ "$*" = "run rails r Channel::Driver::MailStdin.new(trusted: false)" ] || exit 1\ncat >{tmp_path}/taken\n',
    )
    target = recipe(tmp_path, "zammad", {"/usr/bin/zammad": str(zammad)})
    assert hand_over(target, tmp_path).disposition is Disposition.DELIVERED
    assert (tmp_path / "taken").read_bytes() == MESSAGE
    program(tmp_path, "zammad", "#!/bin/sh\nexit 1\n")
    assert hand_over(target, tmp_path).disposition is Disposition.LATER


@pytest.mark.parametrize(
    ("code", "becomes"), [(0, "delivered"), (65, "refused"), (66, "later"), (75, "later"), (77, "later")]
)
def test_osticket_by_its_pipe(tmp_path: Path, code: int, becomes: str) -> None:
    """PipeApiController.response: 201 → 0, 400 → 66, 401 and 403 → 77, 415 to 417 → 65, 503 → 69, else 75."""
    php = program(
        tmp_path,
        "php",
        f'#!/bin/sh\n[ "$1" = /var/www/osticket/api/pipe.php ] || exit 1\ncat >{tmp_path}/taken\nexit {code}\n',
    )
    found = hand_over(recipe(tmp_path, "osticket-pipe", {"/usr/bin/php": str(php)}), tmp_path)
    assert found.disposition.value == becomes and (tmp_path / "taken").read_bytes() == MESSAGE


@pytest.mark.parametrize(
    ("answer", "becomes"),
    [
        ((201, b"123456"), "delivered"),
        ((401, b"Valid API key required"), "later"),
        ((400, b"Unable to create new ticket"), "refused"),
        ((500, b""), "later"),
    ],
)
def test_osticket_by_its_api(
    tmp_path: Path, serve: Callable[..., Helpdesk], answer: Answer, becomes: str
) -> None:
    """TicketApiController.create with the format email: the raw message in the body, the key in X-API-Key."""
    seen = []

    def create(path: str, headers: dict[str, str], body: bytes) -> Answer:
        seen.append((path, headers["X-API-Key"], body))
        return answer

    desk = serve(create)
    secret(tmp_path, "osticket.key", "0123456789ABCDEF\n")
    target = recipe(tmp_path, "osticket", {"https://osticket.example.org": f"http://127.0.0.1:{desk.port}"})
    assert hand_over(target, tmp_path).disposition.value == becomes
    assert seen == [("/api/tickets.email", "0123456789ABCDEF", MESSAGE)]


@pytest.mark.parametrize(
    ("answer", "becomes"),
    [
        ((200, b"ok\nTicket: 7\n"), "delivered"),
        ((200, b"not ok - no such queue\n"), "delivered"),
        ((200, b"<html>broken"), "later"),
        ((500, b""), "later"),
    ],
)
def test_request_tracker(
    tmp_path: Path, serve: Callable[..., Helpdesk], answer: Answer, becomes: str
) -> None:
    """Debian's rt-mailgate, to /REST/1.0/NoAuth/mail-gateway: whatever begins with ok or not ok was taken."""
    if shutil.which("rt-mailgate") is None:
        pytest.skip("needs rt-mailgate: apt-get install rt4-clients")
    seen = []

    def gateway(path: str, headers: dict[str, str], body: bytes) -> Answer:
        form = email.message_from_bytes(f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode() + body)
        parts = {
            part.get_param("name", header="Content-Disposition"): part.get_payload(decode=True)
            for part in form.walk()
            if not part.is_multipart()
        }
        seen.append((path, parts["queue"], parts["action"], parts["message"]))
        return answer

    desk = serve(gateway)
    target = recipe(tmp_path, "rt", {"https://rt.example.org/": f"http://127.0.0.1:{desk.port}"})
    found = hand_over(target, tmp_path)
    assert found.disposition.value == becomes, found
    [(path, queue, action, message)] = seen
    assert (path, queue, action) == ("/REST/1.0/NoAuth/mail-gateway", b"General", b"correspond")
    assert message.strip() == MESSAGE.strip()  # type: ignore[union-attr]
    desk.close()
    found = hand_over(target, tmp_path)
    assert found.disposition is Disposition.LATER and "Exit status 75" in found.answer


def test_znuny(tmp_path: Path) -> None:
    """Maint::PostMaster::Read ends with 0, or with 75 after any exception."""
    console = program(
        tmp_path,
        "znuny",
        f'#!/bin/sh\n[ "$*" = "Maint::PostMaster::Read --untrusted --quiet" ] || exit 1\ncat >{tmp_path}/taken\nexit $(cat {tmp_path}/status)\n',
    )
    target = recipe(tmp_path, "znuny", {"/opt/znuny/bin/znuny.Console.pl": str(console)})
    for status, becomes in (("0", Disposition.DELIVERED), ("75", Disposition.LATER)):
        (tmp_path / "status").write_text(status)
        assert hand_over(target, tmp_path).disposition is becomes
    assert (tmp_path / "taken").read_bytes() == MESSAGE


@pytest.mark.parametrize(
    ("status", "becomes", "exits"),
    [(201, "delivered", ""), (403, "later", "77"), (422, "later", "77"), (500, "later", "75")],
)
def test_redmine(
    tmp_path: Path, serve: Callable[..., Helpdesk], status: int, becomes: str, exits: str
) -> None:
    """Redmine's own script, to MailHandlerController: 201, 422 where no issue came of it, 403 for another key."""
    if not REDMINE.exists() or shutil.which("ruby") is None:
        pytest.skip("needs ruby and Redmine's rdm-mailhandler.rb: script/debian-packages")
    seen = []

    def mail_handler(path: str, headers: dict[str, str], body: bytes) -> Answer:
        form = parse_qs(body.decode(), encoding="latin-1")
        seen.append(
            (
                path,
                form["key"],
                form["email"][0].encode("latin-1"),
                form["issue[project]"],
                form["unknown_user"],
            )
        )
        return status, b""

    desk = serve(mail_handler)
    key = secret(tmp_path, "redmine.key", "topsecret\n")
    target = recipe(
        tmp_path, "redmine",
        {
            "/usr/share/redmine/extra/mail_handler/rdm-mailhandler.rb": str(REDMINE),
            "https://redmine.example.org/": f"http://127.0.0.1:{desk.port}/",
            "/etc/mailkeep/redmine.key": str(key),
        },
    )  # fmt: skip
    found = hand_over(target, tmp_path)
    assert found.disposition.value == becomes, found
    assert seen == [("/mail_handler", ["topsecret"], MESSAGE, ["support"], ["create"])]
    assert not exits or f"Exit status {exits}" in found.answer


ODOO = """#!/usr/bin/env python3
# What odoo-mailgate.py does with its options: message_process by XML-RPC, 75 where the server is not there.
import argparse, sys, xmlrpc.client
parser = argparse.ArgumentParser()
for name in ("--database", "--password", "--host"):
    parser.add_argument(name)
parser.add_argument("--userid", type=int)
parser.add_argument("--port", type=int, default=8069)
parser.add_argument("--retry-status", action="store_true")
given = parser.parse_args()
message = xmlrpc.client.Binary(sys.stdin.buffer.read())
try:
    models = xmlrpc.client.ServerProxy(f"http://{given.host}:{given.port}/xmlrpc/2/object", allow_none=True)
    models.execute_kw(given.database, given.userid, given.password, "mail.thread", "message_process", [False, message], {})
except xmlrpc.client.Fault as error:
    sys.exit(77 if error.faultCode == 3 else 67 if "No possible route" in error.faultString else 70)
except OSError as error:
    sys.exit(75 if given.retry_status else 68)
"""


def test_odoo(tmp_path: Path, serve: Callable[..., Helpdesk]) -> None:
    """A program with the options and exit statuses of odoo-mailgate.py, to Odoo's XML-RPC."""
    seen: list[Any] = []

    def rpc(path: str, headers: dict[str, str], body: bytes) -> Answer:
        params, _ = xmlrpc.client.loads(body)
        seen.append(params)
        return 200, xmlrpc.client.dumps((1,), methodresponse=True).encode()

    desk = serve(rpc)
    script = program(tmp_path, "odoo-mailgate.py", ODOO)
    target = recipe(
        tmp_path,
        "odoo",
        {
            "/opt/odoo/addons/mail/static/scripts/odoo-mailgate.py": str(script),
            '"localhost"': f'"127.0.0.1", "--port", "{desk.port}"',
        },
    )
    found = hand_over(target, tmp_path)
    assert found.disposition is Disposition.DELIVERED, found
    [(database, user, password, model, method, [custom, message], _)] = seen
    assert (database, user, password, model, method, custom) == (
        "odoo",
        2,
        "PASSWORD",
        "mail.thread",
        "message_process",
        False,
    )
    assert message.data == MESSAGE
    desk.close()
    found = hand_over(target, tmp_path)
    assert found.disposition is Disposition.LATER and "Exit status 75" in found.answer


def test_discourse(tmp_path: Path, serve: Callable[..., Helpdesk]) -> None:
    """Admin::EmailController.handle_mail: email_encoded is the message in base64; 400 without it, 403 without the key."""
    taken = []

    def handle_mail(path: str, headers: dict[str, str], body: bytes) -> Answer:
        if (headers.get("Api-Key"), headers.get("Api-Username")) != ("k" * 64, "system"):
            return 403, b"{}"
        form = parse_qs(body.decode())
        if "email_encoded" not in form:
            return 400, b"{}"
        taken.append(base64.b64decode(form["email_encoded"][0]))
        return 200, b"email has been received and is queued for processing"

    desk = serve(handle_mail)
    secret(tmp_path, "discourse.key", "k" * 64)
    target = recipe(tmp_path, "discourse", {"https://forum.example.org": f"http://127.0.0.1:{desk.port}"})
    assert hand_over(target, tmp_path).disposition is Disposition.DELIVERED
    assert taken == [MESSAGE]
    secret(tmp_path, "discourse.key", "wrong")
    assert hand_over(target, tmp_path).disposition is Disposition.LATER


def test_chatwoot(tmp_path: Path, serve: Callable[..., Helpdesk]) -> None:
    """Rails' ActionMailbox relay: message/rfc822 with basic authentication; 204, 401 and 415."""
    taken = []

    def relay(path: str, headers: dict[str, str], body: bytes) -> Answer:
        if headers.get("Authorization") != "Basic " + base64.b64encode(b"actionmailbox:p\xc3\xa4ss").decode():
            return 401, b""
        if headers["Content-Type"] != "message/rfc822":
            return 415, b""
        taken.append(body)
        return 204, b""

    desk = serve(relay)
    secret(
        tmp_path, "chatwoot.auth", "Basic " + base64.b64encode("actionmailbox:päss".encode()).decode() + "\n"
    )
    target = recipe(tmp_path, "chatwoot", {"https://chatwoot.example.org": f"http://127.0.0.1:{desk.port}"})
    assert hand_over(target, tmp_path).disposition is Disposition.DELIVERED
    assert taken == [MESSAGE]
    secret(tmp_path, "chatwoot.auth", "Basic wrong")
    assert hand_over(target, tmp_path).disposition is Disposition.LATER


@pytest.mark.parametrize(
    ("status", "becomes"), [(200, "delivered"), (400, "refused"), (401, "later"), (503, "later")]
)
def test_gitlab(tmp_path: Path, serve: Callable[..., Helpdesk], status: int, becomes: str) -> None:
    """API::Internal::MailRoom: a token of the secret, of gitlab-mailroom, not older than five minutes."""
    key, taken = bytes(range(32)), []

    def mail_room(path: str, headers: dict[str, str], body: bytes) -> Answer:
        signed, _, signature = headers["Gitlab-Mailroom-Api-Request"].rpartition(".")
        head, claims = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in signed.split("."))
        right = hmac.new(key, signed.encode(), hashlib.sha256).digest()
        fresh = time.time() - 300 < claims["iat"] <= time.time()
        good = base64.urlsafe_b64decode(signature + "==") == right and head["alg"] == "HS256"
        if not (good and fresh and claims["iss"] == "gitlab-mailroom"):
            return 401, b""
        taken.append((path, body))
        return status, b'{"success": true}'

    desk = serve(mail_room)
    path = secret(tmp_path, "gitlab.secret", base64.b64encode(key).decode() + "\n")
    target = recipe(
        tmp_path, "gitlab",
        {
            "/opt/mailkeep/docs": str(ROOT / "docs"), "/etc/mailkeep/gitlab.secret": str(path),
            "https://gitlab.example.org": f"http://127.0.0.1:{desk.port}",
        },
    )  # fmt: skip
    found = hand_over(target, tmp_path)
    assert found.disposition.value == becomes, found
    assert taken == [("/api/v4/internal/mail_room/service_desk_email", MESSAGE)]
    secret(tmp_path, "gitlab.secret", base64.b64encode(bytes(32)).decode())
    assert hand_over(target, tmp_path).disposition is Disposition.LATER
