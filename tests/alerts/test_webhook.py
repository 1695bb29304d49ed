"""The webhook: what it gets, and what is not called."""

from __future__ import annotations

import hashlib
import hmac
import json

import pytest

from panel.alerts import messages, webhook
from panel.config import Settings
from panel.errors import BadInput, WebhookFailed
from tests.alerts.conftest import World
from tests.alerts.receiver import Receiver
from tests.servers.certificates import Authority
from tests.servers.hostile import ScriptedServer


def test_it_gets_small_json_of_the_documented_shape(world: World) -> None:
    world.send_to(webhook=True)
    account = world.fail("The server says no.")
    world.next_check()
    [event] = world.receiver.taken
    assert list(event) == [
        "install", "event", "condition", "message", "since", "url", "at", "severity", "mailboxes", "remedy",
    ]  # fmt: skip
    assert (event["install"], event["event"], event["condition"]) == (
        "panel.example.org",
        "opened",
        "mailbox-failing",
    )
    assert event["url"] == f"http://panel.example.org/mailkeep/accounts/{account.uuid}"
    assert world.receiver.paths == ["/hook?token=in-the-path"]
    assert world.receiver.headers[0]["Content-Type"] == "application/json"


def test_its_signature_can_be_checked_with_the_key_that_the_shell_prints(
    world: World, settings: Settings
) -> None:
    webhook.call(world.receiver.url, messages.test_event(settings), settings)
    key = webhook.signing_key(settings)
    right = hmac.new(key.encode(), world.receiver.bodies[0], hashlib.sha256).hexdigest()
    assert world.receiver.headers[0]["Mailkeep-Signature"] == f"sha256={right}"
    secret = (settings.data_dir / "secret-key").read_text().strip()
    assert key != secret and len(key) == 64


def test_https_is_verified(
    world: World, settings: Settings, certificates: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    for certificate, ok in ((certificates.good(), True), (certificates.self_signed(), False)):
        receiver = Receiver(certificate)
        try:
            if ok:
                assert "accepted the alert" in webhook.call(receiver.url, {"a": 1}, settings)
            else:
                with pytest.raises(WebhookFailed, match="certificate"):
                    webhook.call(receiver.url, {"a": 1}, settings)
                assert receiver.taken == []
        finally:
            receiver.stop()


def test_a_redirect_is_not_followed(world: World, settings: Settings) -> None:
    world.receiver.status = 307
    with pytest.raises(WebhookFailed, match="redirects are not followed"):
        webhook.call(world.receiver.url, {"a": 1}, settings)
    assert len(world.receiver.taken) == 1


def test_a_long_answer_is_not_read_and_nothing_of_it_is_shown(world: World, settings: Settings) -> None:
    world.receiver.status, world.receiver.answer = 500, b"secret of the receiver " * 2**16
    with pytest.raises(WebhookFailed) as refused:
        webhook.call(world.receiver.url, {"a": 1}, settings)
    assert "secret" not in str(refused.value) and "in-the-path" not in str(refused.value)


@pytest.mark.parametrize("message", [b"220 hello\r\n", b"HTTP/1.1 abc\r\n", b"x" * 100_000])
def test_what_is_no_web_server_is_told(world: World, settings: Settings, message: bytes) -> None:
    with ScriptedServer(lambda talk: talk.send(message)) as server, pytest.raises(WebhookFailed):
        webhook.call(f"http://localhost:{server.port}/", {"a": 1}, settings)


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.org/x", "ftp://hooks.example.org", "hooks.example.org", "https://", "https:///x",
        "https://user@hooks.example.org/", "https://u:p@hooks.example.org/", "https://hooks.example.org/#x",
        "https://hooks.example.org:99999/", "https://[::1", "https://hooks.example.org/a b", "https://2130706433/",
        "https://hooks.example.org/\r\nX: y", "https://hooks.example.org/ü", "https://x/" + "a" * 1000,
        "http://127.1/", "http://localhost.example.org/", "javascript:alert(1)",
    ],
)  # fmt: skip
def test_an_address_that_is_not_called_is_refused(url: str) -> None:
    with pytest.raises(BadInput) as refused:
        webhook.target(url)
    assert refused.value.field == "webhook"


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "0.0.0.0"])  # noqa: S104
def test_the_networks_that_mail_servers_may_not_be_in_are_not_called(
    world: World, settings: Settings, host: str
) -> None:
    with pytest.raises(WebhookFailed, match="denied network"):
        webhook.call(f"https://{host}/latest/meta-data", {"a": 1}, settings)


def test_what_a_mail_server_said_stays_one_line_in_json_and_subject(world: World) -> None:
    world.sender()
    world.send_to(mail=True, webhook=True)
    world.fail("It says: no\r\nBcc: victim@example.net\x00 “ü”")
    world.next_check()
    assert "Bcc: victim@example.net" in world.subjects[0] and "\n" not in world.subjects[0]
    assert b"\nBcc:" not in world.smtp.taken[0].data
    assert json.loads(world.receiver.bodies[0])["message"].isprintable()
