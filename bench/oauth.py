"""Does collecting by access token take longer than by password?

One mailbox on a real Dovecot over TLS, entered in turn by its password and by XOAUTH2, whose tokens a real
provider gives and Dovecot asks about; several pairs in one run. First a full mailbox by
`flask collect --once`, start of the process and fetching of the token included; then rounds that find
nothing, in one process, as the worker makes them. Medians of the time that passed and of that of our
processor are printed and written to bench/results/oauth.json.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bench import collect
from bench._installs import add, made
from bench._programs import RESULTS, write
from panel import create_app, db
from panel.audit import Actor
from panel.collect.round import Collector
from panel.mail.policy import Policy
from panel.models import Consent, Endpoint, OauthApp
from panel.models.oauth import new_uid
from panel.oauth import client
from panel.secret import Secret
from panel.vault import turn_on, unfinished
from panel.vault.turn_on import Confirmations
from panel.vault.vault import Vault
from tests.running import process_environ
from tests.servers.dovecot import DovecotServer
from tests.servers.issuer import CLIENTS, Issuer

WAYS = ("password", "XOAUTH2")
Times = dict[str, list[tuple[float, float]]]  # seconds that passed, and of the processor


class Mailbox:
    """An install of its own with the mailbox in it, entered in one of the `WAYS`."""

    def __init__(self, way: str, directory: Path, server: DovecotServer, issuer: Issuer) -> None:
        self.environ = {
            "PANEL_DATA_DIR": str(directory / "data"), "PANEL_ENV_FILE": "/dev/null",
            "PANEL_MAIL_CA_FILE": str(server.ca_file), "PANEL_MAIL_PORTS": str(server.tls_port),
        }  # fmt: skip
        self.settings = made(self.environ)
        self.vault = self.bound()
        with db.database.connection_context():
            turn_on.turn_on(self.vault, Confirmations(True, True), Actor("bench@example.org"))
            unfinished.resume(self.vault)
            self.account = add(collect.USER, server.tls_port)
            if way == "XOAUTH2":
                self._consent(issuer)
        self.maildir = self.settings.mail_spool / self.account

    def bound(self) -> Vault:
        """The models work on this install from now on."""
        create_app(self.settings)
        return Vault.of(self.settings, db.database)

    def _consent(self, issuer: Issuer) -> None:
        """Sign in by a consent instead of the password."""
        registered = CLIENTS[0]
        app = OauthApp(
            uid=new_uid(), name="bench", provider="issuer", tenant="", issuer=issuer.url,
            client_id=registered.id, scopes="mail", access="delegated", kind="client-secret",
            created_at=db.now(),
        )  # fmt: skip
        app.secret = Secret(registered.secret)
        app.save()
        code, verifier = issuer.consent(collect.USER)
        redirect, policy = registered.redirects[0], Policy.of(self.settings)
        tokens = client.redeem_code(
            app.place, Secret(registered.secret), code, verifier, redirect, issuer.url, policy
        )
        assert tokens.refresh is not None
        consent = Consent(
            uid=new_uid(), app=app.uid, account=self.account, signs_in_as="",
            subject=tokens.id_claims.subject, kind="refresh-token", created_at=db.now(),
            connected_at=db.now(),
        )  # fmt: skip
        consent.secret = tokens.refresh
        consent.save()
        endpoint = Endpoint.get(Endpoint.account == self.account)
        endpoint.secret = Secret(str(consent.uid))
        endpoint.save(place=replace(endpoint.place, auth_method="oauth", kind="consent"))

    def collect_once(self, messages: int) -> tuple[float, float]:
        """What `flask collect --once` takes for the full mailbox."""
        command = [sys.executable, "-m", "flask", "collect", "--once"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = collect.timed(command, process_environ(self.environ))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found = sum(1 for _ in (self.maildir / "new").iterdir())
        assert found == messages, f"{found} of {messages} messages"
        return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def empty_rounds(self, rounds: int) -> list[tuple[float, float]]:
        """What each of `rounds` takes that find nothing."""
        collector, times = Collector(self.settings, self.vault), []
        for _ in range(rounds):
            began, cpu = time.perf_counter(), time.process_time()
            collector.collect(self.account, force=True)
            times.append((time.perf_counter() - began, time.process_time() - cpu))
        return times


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="script/bench oauth")
    parser.add_argument("--messages", type=int, default=4000)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=300)
    options = parser.parse_args(arguments)
    directory = Path(tempfile.mkdtemp(prefix="bench-oauth-"))
    issuer = Issuer()
    server = DovecotServer(directory / "dovecot", issuer.url, SimpleNamespace(tls_port=1))  # type: ignore[arg-type]
    try:
        print(f"filling a mailbox with {options.messages} messages …", flush=True)
        collect.fill(server, options.messages)
        full, empty = _measure(directory, server, issuer, options)
    finally:
        server.stop()
        issuer.stop()
        shutil.rmtree(directory)
    _report({"a full mailbox": full, "a round that finds nothing": empty})


def _measure(directory: Path, server: DovecotServer, issuer: Issuer, options: Any) -> tuple[Times, Times]:
    full: Times = {way: [] for way in WAYS}
    empty: Times = {way: [] for way in WAYS}
    for number in range(options.pairs + 1):  # the first pair warms Dovecot's caches and is not counted
        for way in WAYS if number % 2 else WAYS[::-1]:
            home = directory / f"{way}{number}"
            mailbox = Mailbox(way, home, server, issuer)
            taken = mailbox.collect_once(options.messages)
            mailbox.vault = mailbox.bound()
            with db.database.connection_context():
                rounds = mailbox.empty_rounds(options.rounds // options.pairs)
            print(f"  {way}: {taken[0]:.2f} s{'' if number else ' (not counted)'}", flush=True)
            if number:
                full[way].append(taken)
                empty[way] += rounds[1:]  # the first one fetches the token
            shutil.rmtree(home)
            os.sync()
    return full, empty


def _report(tables: dict[str, Times]) -> None:
    for name, times in tables.items():
        print(f"\n{name}; medians of {len(times['password'])}\n\n  {'':12}{'ms':>10}{'CPU ms':>10}")
        medians = {
            way: [statistics.median(column) for column in zip(*times[way], strict=True)] for way in WAYS
        }
        for way, (seconds, cpu) in medians.items():
            print(f"  {way:12}{seconds * 1000:10.1f}{cpu * 1000:10.1f}")
        more = [token / password - 1 for password, token in zip(*medians.values(), strict=True)]
        print(f"  {'more':12}{more[0] * 100:+9.1f}%{more[1] * 100:+9.1f}%")
    write(RESULTS / "oauth.json", tables)
