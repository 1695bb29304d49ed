"""What a domain publishes is asked for over verified HTTPS, in bounded time, and believed only as far as it is safe."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator

import dns.message
import dns.resolver
import dns.rrset
import pytest

from panel.mail import autoconfig, https
from panel.mail.autoconfig import PublishedServer
from panel.mail.policy import Policy
from panel.mail.providers import PROVIDERS, WITHOUT_PASSWORDS
from panel.mail.server import normalise_host
from tests.servers.certificates import Authority, Certificate
from tests.servers.hostile import Script, ScriptedServer, Talk

GOOD = """<?xml version="1.0" encoding="UTF-8"?>
<clientConfig version="1.1"><emailProvider id="example.org">
 <incomingServer type="pop3"><hostname>POP.example.org</hostname><port>995</port><socketType>SSL</socketType>
  <username>%EMAILLOCALPART%</username><authentication>password-cleartext</authentication></incomingServer>
 <incomingServer type="imap"><hostname>imap.example.org</hostname><port>993</port><socketType>SSL</socketType>
  <username>%EMAILADDRESS%</username><authentication>password-cleartext</authentication></incomingServer>
 <incomingServer type="imap"><hostname>plain.example.org</hostname><port>143</port><socketType>plain</socketType>
  <username>%EMAILADDRESS%</username><authentication>password-cleartext</authentication></incomingServer>
 <incomingServer type="imap"><hostname>oauth.example.org</hostname><port>993</port><socketType>SSL</socketType>
  <username>%EMAILADDRESS%</username><authentication>OAuth2</authentication></incomingServer>
 <incomingServer type="imap"><hostname>a b</hostname><port>x</port><socketType>SSL</socketType></incomingServer>
 <outgoingServer type="smtp"><hostname>smtp.example.org</hostname><port>587</port><socketType>STARTTLS</socketType>
  <username>%EMAILADDRESS%</username><authentication>password-cleartext</authentication></outgoingServer>
</emailProvider></clientConfig>"""


def answer(body: str | bytes, head: str = "200 OK") -> Script:
    raw = body.encode() if isinstance(body, str) else body

    def script(talk: Talk) -> None:
        while talk.line():
            pass
        talk.send(f"HTTP/1.1 {head}\r\nContent-Type: text/xml\r\n\r\n".encode() + raw)

    return script


Ask = Callable[..., list[PublishedServer]]


@pytest.fixture
def ask(certificates: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ask]:
    """Ask a scripted web server, as if it were the domain's."""
    servers: list[ScriptedServer] = []

    def ask(
        script: Script, certificate: Certificate | None = None, seconds: float = 60, **over: object
    ) -> list[PublishedServer]:
        server = ScriptedServer(script, certificate or certificates.good())
        servers.append(server)
        monkeypatch.setattr(autoconfig, "PLACES", (f"https://{{domain}}:{server.port}/config.xml",))
        policy = Policy(frozenset({993}), ca_file=certificates.ca_file, **over)  # type: ignore[arg-type]
        ends_at = time.monotonic() + seconds
        return autoconfig.published("localhost", policy, ends_at, internal=True, ports=(server.port, 443))

    yield ask
    for server in servers:
        server.stop()


def test_encrypted_servers_that_take_a_password_are_found(ask: Ask) -> None:
    assert ask(answer(GOOD)) == [
        PublishedServer("pop3", "pop.example.org", 995, "tls", "%EMAILLOCALPART%"),
        PublishedServer("imap", "imap.example.org", 993, "tls"),
        PublishedServer("smtp", "smtp.example.org", 587, "starttls"),
    ]


def test_nobody_is_told_whose_mailbox_it_is(ask: Ask, certificates: Authority) -> None:
    seen: list[bytes] = []

    def script(talk: Talk) -> None:
        while line := talk.line():
            seen.append(line)
        talk.send(b"HTTP/1.0 404 no\r\n\r\n")

    assert ask(script) == []
    assert seen[0] == b"GET /config.xml HTTP/1.1" and not any(b"@" in line for line in seen)


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]><x>&b;</x>'


@pytest.mark.parametrize(
    "script",
    [
        answer("<html>not found</html>"),
        answer("not XML at all"),
        answer(BOMB),
        answer(BOMB.encode("utf-16")),
        answer("", "404 Not PublishedServer"),
        answer("", "301 Moved\r\nLocation: http://localhost/config.xml"),
        answer("", "301 Moved\r\nLocation: https://169.254.169.254/latest"),
        answer("", "301 Moved\r\nLocation: file:///etc/passwd"),
        answer("", "301 Moved\r\nLocation: https://localhost:99999/"),
        answer("", "301 Moved\r\nLocation: https://[bad/"),
        answer("x" * 2_000_000),
        lambda talk: talk.send(b"SSH-2.0-OpenSSH\r\n"),
        lambda talk: None,
    ],
)
def test_what_is_no_such_document_is_nothing(ask: Ask, script: Script) -> None:
    assert ask(script) == []


def test_a_server_that_drips_ends_in_time(ask: Ask) -> None:
    def drip(talk: Talk) -> None:
        while True:
            talk.send(b"H")
            time.sleep(0.1)

    begun = time.monotonic()
    assert ask(drip, seconds=2) == []
    assert time.monotonic() - begun < 20  # it would drip for ever


@pytest.mark.parametrize("which", ["wrong_name", "expired", "self_signed"])
def test_a_bad_certificate_is_not_believed(ask: Ask, certificates: Authority, which: str) -> None:
    assert ask(answer(GOOD), getattr(certificates, which)()) == []


def test_a_document_is_taken_before_the_connection_ends_and_names_the_domain(ask: Ask) -> None:
    body = GOOD.replace("imap.example.org", "imap.%EMAILDOMAIN%").replace("POP.example.org", "a b").encode()

    def script(talk: Talk) -> None:
        while talk.line():
            pass
        talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        assert over.wait(60)

    over = threading.Event()
    assert [found.host for found in ask(script)] == ["imap.localhost", "smtp.example.org"]
    over.set()


def test_nobody_on_this_network_is_asked_for_a_stranger() -> None:
    assert autoconfig.published("localhost", Policy(frozenset({993})), time.monotonic() + 2) == []
    assert any(str(network) == "127.0.0.0/8" for network in https.INTERNAL)


def test_a_silent_server_leaves_time_for_the_next_place(
    certificates: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        ScriptedServer(lambda talk: time.sleep(60), certificates.good()) as silent,
        ScriptedServer(answer(GOOD), certificates.good()) as good,
    ):
        places = [f"https://{{domain}}:{server.port}/config.xml" for server in (silent, good)]
        monkeypatch.setattr(autoconfig, "PLACES", places)
        monkeypatch.setattr(autoconfig, "PLACE_SECONDS", 1.0)
        policy = Policy(frozenset(), ca_file=certificates.ca_file)
        ports, ends_at = (silent.port, good.port), time.monotonic() + 50
        assert autoconfig.published("localhost", policy, ends_at, internal=True, ports=ports)


def test_a_denied_network_is_not_asked(ask: Ask) -> None:
    import ipaddress

    assert (
        ask(answer(GOOD), deny=(ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))) == []
    )


# -- SRV ---------------------------------------------------------------------------------


class Names:
    """A DNS server that knows what it is given."""

    def __init__(self, records: dict[str, str]) -> None:
        self._records = records
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def resolver(self) -> dns.resolver.Resolver:
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers = ["127.0.0.1"]
        resolver.port = self._socket.getsockname()[1]
        return resolver

    def _serve(self) -> None:
        while True:
            wire, peer = self._socket.recvfrom(4096)
            query = dns.message.from_wire(wire)
            reply = dns.message.make_response(query)
            name = query.question[0].name
            if text := self._records.get(str(name)):
                reply.answer.append(dns.rrset.from_text(name, 60, "IN", "SRV", *text.split("|")))
            self._socket.sendto(reply.to_wire(), peer)


def test_srv_records_name_servers_the_encrypted_ones_first() -> None:
    names = Names(
        {
            "_imaps._tcp.example.org.": "20 1 993 second.example.org.|10 1 993 imap.example.org.",
            "_imap._tcp.example.org.": "0 1 143 imap.example.org.",
            "_pop3s._tcp.example.org.": "0 0 0 .",
            "_submission._tcp.example.org.": "0 1 587 smtp.example.net.",
        }
    )
    assert autoconfig.announced("example.org", time.monotonic() + 60, names.resolver) == [
        PublishedServer("imap", "imap.example.org", 993, "tls"),
        PublishedServer("smtp", "smtp.example.net", 587, "starttls"),
    ]


def test_no_name_server_is_no_error() -> None:
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = ["127.0.0.1"], 9
    assert autoconfig.announced("example.org", time.monotonic() + 1, resolver) == []


# -- the list ------------------------------------------------------------------------------


def test_every_provider_is_reached_encrypted_on_a_usual_port() -> None:
    usual = {("imap", 993, "tls"), ("pop3", 995, "tls"), ("smtp", 465, "tls"), ("smtp", 587, "starttls")}
    for domain, provider in PROVIDERS.items():
        servers = {"imap": provider.imap, "smtp": provider.smtp, "pop3": provider.pop3}
        for protocol, server in servers.items():
            if server is not None:
                assert (protocol, *server[1:]) in usual, domain
                assert normalise_host(server[0]) == server[0]
        assert domain not in WITHOUT_PASSWORDS
