"""Who answers is verified, always; what fails says what to do."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from panel.mail.policy import Policy
from panel.mail.server import MailServer
from tests.mail.conftest import at, failure, tried
from tests.servers.certificates import Authority, Certificate
from tests.servers.dovecot import DovecotServer
from tests.servers.hostile import RogueServer, ScriptedServer, silence

Trusting = Callable[..., Policy]


def test_a_good_certificate_lets_us_in(certificates: Authority, trusting: Trusting) -> None:
    with RogueServer(certificates.good()) as server:
        steps = tried(at(server), trusting(server))
    assert [step.name for step in steps if step.ok] == ["name", "connect", "tls", "login", "folder"]


@pytest.mark.parametrize("security", ["tls", "starttls"])
@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (Authority.wrong_name, "another name"),
        (Authority.expired, "has expired"),
        (Authority.self_signed, "is self-signed"),
    ],
)
def test_a_bad_certificate_ends_it_before_any_password(
    certificates: Authority,
    trusting: Trusting,
    kind: Callable[[Authority], Certificate],
    says: str,
    security: str,
) -> None:
    with RogueServer(kind(certificates), tls=security == "tls") as server:
        error = failure(at(server, security), trusting(server))
    assert error.step == "tls" and says in error.message and error.permanent and error.remedy
    assert not server.saw_login


def test_an_unknown_ca_is_refused_and_the_setting_that_mends_it_is_named(
    certificates: Authority, trusting: Trusting
) -> None:
    with RogueServer(certificates.good()) as server:
        error = failure(at(server), trusting(server, ca_file=None))
    assert "does not trust" in error.message
    assert "PANEL_MAIL_CA_FILE" in error.remedy
    assert not server.saw_login


def test_an_address_is_verified_as_an_address(certificates: Authority, trusting: Trusting) -> None:
    with RogueServer(certificates.issue("name-only", ["localhost"])) as server:
        named = MailServer("imap", "localhost", server.port, "tls", "somebody")
        by_address = MailServer("imap", "127.0.0.1", server.port, "tls", "somebody")
        assert tried(named, trusting(server))[-1].ok
        assert "another name" in failure(by_address, trusting(server)).message


def test_a_ca_file_that_is_none_is_named(certificates: Authority, trusting: Trusting, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    with RogueServer(certificates.good()) as server:
        error = failure(at(server), trusting(server, ca_file=tmp_path / "ca.pem"))
    assert str(tmp_path / "ca.pem") in error.message


def test_a_refused_connection_says_so(trusting: Trusting) -> None:
    with RogueServer() as server:
        policy, endpoint = trusting(server), at(server)
    error = failure(endpoint, policy)
    assert error.step == "connect" and "refused the connection" in error.message and not error.permanent


def test_a_port_that_swallows_packets_ends_at_the_timeout(trusting: Trusting) -> None:
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    waiting = [socket.socket() for _ in range(4)]  # fill the backlog: further connections get no answer
    try:
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        time.sleep(0.1)
        port = full.getsockname()[1]
        begun = time.monotonic()
        policy = Policy(frozenset({port}), connect_timeout=0.5)
        error = failure(MailServer("imap", "127.0.0.1", port, "tls", "somebody"), policy)
    finally:
        for one in (full, *waiting):
            one.close()
    assert "did not answer in time" in error.message
    assert time.monotonic() - begun < 20  # the system gives up after two minutes


def test_tls_on_the_port_of_starttls_says_which_to_choose(dovecot: DovecotServer, policy: Policy) -> None:
    error = failure(MailServer("imap", "localhost", dovecot.starttls_port, "tls", "somebody"), policy)
    assert error.step == "tls" and "STARTTLS" in error.remedy


def test_starttls_on_the_port_of_tls_ends_and_says_to_check(
    certificates: Authority, trusting: Trusting
) -> None:
    with ScriptedServer(silence, certificates.good()) as server:
        error = failure(at(server, "starttls"), trusting(server, idle_timeout=0.5))
    assert error.step == "connect" and "kind of encryption" in error.remedy
