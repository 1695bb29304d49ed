"""Which addresses a mail server may have."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from panel.config import Settings
from panel.errors import MailError
from panel.mail import connect
from panel.mail.policy import Policy
from panel.mail.server import MailServer
from tests.mail.conftest import at, failure, tried
from tests.servers.hostile import RogueServer

METADATA = ipaddress.ip_network("169.254.0.0/16")
POLICY = Policy(frozenset({993}), (METADATA, ipaddress.ip_network("fd00:ec2::254/128")))


def resolve(host: str, *, port: int = 993, security: str = "tls", policy: Policy = POLICY) -> list[str]:
    found = connect.resolve(MailServer("imap", host, port, security, "somebody"), policy, 5)
    return [str(address.ip) for address in found]


def pretend(monkeypatch: pytest.MonkeyPatch, *ips: str) -> None:
    """Let every name have these addresses."""
    real = socket.getaddrinfo

    def lookup(_: str, port: int, **kind: Any) -> list[Any]:
        return [info for ip in ips for info in real(ip, port, **kind)]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)


def test_an_address_is_its_own_name() -> None:
    assert resolve("192.0.2.1") == ["192.0.2.1"]
    assert resolve("2001:db8::1") == ["2001:db8::1"]


@pytest.mark.parametrize(
    "ip",
    [
        "169.254.169.254",
        "::ffff:169.254.169.254",  # mapped
        "::169.254.169.254",  # compatible
        "64:ff9b::a9fe:a9fe",  # NAT64
        "64:ff9b:1::a9fe:a9fe",  # NAT64 of one's own network
        "2002:a9fe:a9fe::1",  # 6to4
        "fd00:ec2::254",
    ],
)
def test_a_denied_network_is_denied_in_every_wrapping(ip: str) -> None:
    with pytest.raises(MailError, match="denied network") as caught:
        resolve(ip)
    assert caught.value.permanent


def test_one_denied_address_among_good_ones_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "192.0.2.1", "169.254.169.254")
    with pytest.raises(MailError, match=r"169\.254\.169\.254"):
        resolve("mail.example.com")


def test_short_forms_that_the_resolver_understands_are_checked_too() -> None:
    with pytest.raises(MailError, match="denied network"):
        resolve("169.16689662")


def test_the_networks_denied_by_default_hold_the_metadata_servers_of_the_clouds() -> None:
    policy = Policy.of(Settings.load({}))
    for ip in ("169.254.169.254", "100.100.100.200", "fd00:ec2::254", "0.0.0.0", "::"):  # noqa: S104
        with pytest.raises(MailError, match="denied network"):
            resolve(ip, policy=policy)


def test_a_port_that_is_not_listed_is_refused_before_the_name_is_looked_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", None)
    with pytest.raises(MailError, match="Port 22 ") as caught:
        resolve("mail.example.com", port=22)
    assert "PANEL_MAIL_PORTS" in caught.value.remedy


@pytest.mark.parametrize("ip", ["192.0.2.1", "10.0.0.1", "2001:db8::1", "2002:7f00:1::", "64:ff9b::7f00:1"])
def test_no_encryption_is_refused_off_this_machine(ip: str) -> None:
    with pytest.raises(MailError, match="unencrypted"):
        resolve(ip, security="none")


@pytest.mark.parametrize("ip", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"])
def test_no_encryption_is_possible_on_this_machine(ip: str) -> None:
    assert resolve(ip, security="none")


def test_an_unknown_name_is_said_to_be_unknown() -> None:
    with pytest.raises(MailError, match=r"no server named nowhere\.invalid|could not be looked up") as caught:
        resolve("nowhere.invalid")
    assert caught.value.step == "name"


def test_a_resolver_that_never_answers_does_not_hold_us(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(60) and [])
    with pytest.raises(MailError, match="took longer"):
        connect.resolve(MailServer("imap", "slow.example.com", 993, "tls", "somebody"), POLICY, 0.2)
    assert not over.is_set()
    over.set()


def test_the_address_checked_is_the_address_connected_to_though_the_name_moves_on(
    monkeypatch: pytest.MonkeyPatch, trusting: Callable[..., Policy]
) -> None:
    real, asked = socket.getaddrinfo, []

    def rebinding(host: str, port: int, **kind: Any) -> Any:
        asked.append(host)
        return real("127.0.0.1" if len(asked) == 1 else "169.254.169.254", port, **kind)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    with RogueServer() as server:
        tried(at(server, "none"), trusting(server, deny=(METADATA,)))
    assert server.connections == 1
    assert asked == ["localhost"]


def test_a_denied_server_is_never_connected_to(trusting: Callable[..., Policy]) -> None:
    with RogueServer() as server:
        error = failure(at(server), trusting(server, deny=(ipaddress.ip_network("127.0.0.0/8"),)))
    assert error.step == "connect"
    assert server.connections == 0
