"""How long does a helpdesk wait to send a message, beside email-oauth2-proxy?

Small messages one after the other, each over a connection of its own with its own sign-in; the same from
eight clients at once; one message of 50 MiB; and the memory that the process takes for it. Both stand before
the same mail server, which takes messages over TLS and does nothing with them. Mailkeep spools and checks a
message before it hands it on, the proxy passes bytes through. Results go to bench/results/submission.json.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import smtplib
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from bench._installs import made
from bench._programs import RESULTS, write
from panel import db
from panel.audit import Actor
from panel.config import ROOT
from panel.submission import passwords
from panel.vault.vault import Vault
from tests.encryption.conftest import House
from tests.running import environ_for, free_port, process_environ
from tests.servers.certificates import Authority
from tests.submission.conftest import ADDRESS, MESSAGE, add_mailbox
from tests.submission.sink import Sink

CLIENTS = 8
LARGE = 50 * 2**20 - 1_000
PROXY = """
[SMTP-{port}]
server_address = localhost
server_port = {upstream}
local_address = 127.0.0.1

[{address}]
token_url = http://127.0.0.1:{tokens}/token
oauth2_scope = mail
oauth2_flow = client_credentials
client_id = bench
client_secret = bench
"""


@dataclass(frozen=True)
class Target:
    """A server that a helpdesk sends through."""

    name: str
    port: int
    password: str
    pid: int


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="script/bench submission")
    parser.add_argument("--messages", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=1, help="of which the best by p50 counts")
    parser.add_argument("--results", type=Path, default=RESULTS / "submission.json")
    parser.add_argument("--emailproxy", default=str(Path(sys.prefix) / "bin/emailproxy"), help="its program")
    chosen = parser.parse_args(arguments)
    results = {}
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        authority = Authority(place / "certificates")
        sink = stack.enter_context(Sink(certificate=authority.good()))
        sink.think.set()
        for serve in (mailkeep, proxy):
            if serve is proxy and shutil.which(chosen.emailproxy) is None:
                print("email-oauth2-proxy is not installed: script/bootstrap --bench")
                continue
            with serve(place, authority, sink, chosen.emailproxy) as target:
                rounds = [measured(target, chosen.messages) for _ in range(chosen.rounds)]
                results[target.name] = min(rounds, key=lambda found: found["p50_ms"])
    show(results)
    write(chosen.results, results)


@contextmanager
def mailkeep(place: Path, authority: Authority, sink: Sink, _program: str) -> Iterator[Target]:
    """Mailkeep's own, started as script/server starts it."""
    port = free_port()
    environ = environ_for(place / "mailkeep") | {
        "PANEL_SUBMISSION_BIND": f"127.0.0.1:{port}", "PANEL_MAIL_CA_FILE": str(authority.ca_file),
        "PANEL_MAIL_PORTS": f"993,{sink.port}",
    }  # fmt: skip
    (place / "mailkeep").mkdir()
    settings = made(environ)
    vault = Vault.of(settings, db.database)
    with db.database.connection_context():
        house = House(settings, vault)
        house.enable()
        uuid = add_mailbox(house, ADDRESS, "localhost", sink.port, "of the provider")
        password = passwords.create(uuid, [], Actor()).reveal()
    command = [sys.executable, "-m", "panel.serve"]
    with running(command, process_environ(environ), port) as pid:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        [own] = [
            int(each) for each in children if b"\0submission\0" in Path(f"/proc/{each}/cmdline").read_bytes()
        ]
        yield Target("Mailkeep", port, password, own)


@contextmanager
def proxy(place: Path, authority: Authority, sink: Sink, program: str) -> Iterator[Target]:
    """email-oauth2-proxy, with tokens from a server that gives one to everybody."""
    port = free_port()
    with tokens() as token_port:
        file = place / "emailproxy.config"
        file.write_text(PROXY.format(port=port, upstream=sink.port, address=ADDRESS, tokens=token_port))
        environ = dict(os.environ) | {"SSL_CERT_FILE": str(authority.ca_file)}
        log = str(place / "emailproxy.log")
        command = [program, "--no-gui", "--config-file", str(file), "--log-file", log]
        with running(command, environ, port) as pid:
            yield Target("email-oauth2-proxy", port, "of the proxy", pid)


@contextmanager
def running(command: list[str], environ: dict[str, str], port: int) -> Iterator[int]:
    """The process, once it takes connections."""
    process = subprocess.Popen(
        command, env=environ, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        ends_at = time.monotonic() + 60
        while True:
            try:
                smtplib.SMTP("127.0.0.1", port, timeout=5).close()
                break
            except (OSError, smtplib.SMTPException):
                if time.monotonic() > ends_at:
                    raise
                time.sleep(0.2)
        yield process.pid
    finally:
        process.terminate()
        process.wait(60)


@contextmanager
def tokens() -> Iterator[int]:
    """A token endpoint; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.dumps(
                {"access_token": "x" * 1_000, "expires_in": 3600, "token_type": "Bearer"}
            ).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def measured(target: Target, messages: int) -> dict[str, float]:
    send(target, MESSAGE)  # the proxy derives a key from the password at the first one
    idle = memory(target.pid, "VmRSS")
    times = sorted(send(target, MESSAGE + b"%d\r\n" % number) for number in range(messages))
    began = time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(lambda number: send(target, MESSAGE + b"at once %d\r\n" % number), range(messages)))
    rate = messages / (time.monotonic() - began)
    before = memory(target.pid, "VmHWM")
    line = b"0123456789" * 7 + b"\r\n"
    large = send(target, MESSAGE + line * (LARGE // len(line)))
    return {
        "p50_ms": 1000 * statistics.median(times), "p99_ms": 1000 * times[int(len(times) * 0.99)],
        "messages_a_second": rate, "large_seconds": large,
        "large_mib_more": (memory(target.pid, "VmHWM") - before) / 1024, "idle_mib": idle / 1024,
    }  # fmt: skip


def send(target: Target, message: bytes) -> float:
    """Sign in and send; the seconds it took."""
    began = time.monotonic()
    with smtplib.SMTP("127.0.0.1", target.port, local_hostname="bench", timeout=300) as client:
        client.login(ADDRESS, target.password)
        client.sendmail(ADDRESS, ["ada@example.net"], message)
    return time.monotonic() - began


def memory(pid: int, name: str) -> int:
    """In KiB, as the kernel counts it."""
    found = re.search(rf"{name}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1])


def show(results: dict[str, dict[str, float]]) -> None:
    print(f"{'':20} {'p50':>8} {'p99':>8} {CLIENTS:>4} clients {'50 MiB':>8} {'more memory':>12} {'idle':>9}")
    for name, it in results.items():
        print(
            f"{name:20} {it['p50_ms']:5.1f} ms {it['p99_ms']:5.1f} ms {it['messages_a_second']:9.1f}/s"
            f" {it['large_seconds']:6.2f} s {it['large_mib_more']:8.1f} MiB {it['idle_mib']:5.1f} MiB"
        )
