"""How long does collecting a full mailbox take, beside mbsync and fetchmail?

5,000 messages (about 174 MB) from a real Dovecot over TLS into a Maildir, fsync
on, each program in turn and several times in one run; medians and ratios are
printed and written to bench/results/collect.json. fetchmail is run once: it is slow.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench._engine import MBSYNC
from bench._installs import PASSWORD, add, made
from bench._programs import RESULTS, write
from panel import db
from panel.config import ROOT
from tests.running import process_environ
from tests.servers.dovecot import DovecotServer

USER = "bench"
SIZES = (2_000, 4_000, 8_000, 20_000, 140_000)  # in turn: 34.8 kB on average, as in a mixed mailbox

FETCHMAIL = """
poll localhost protocol IMAP port {port}
  user "{user}" password "{password}"
  options ssl sslcertck sslcertfile "{ca_file}" fetchall keep no rewrite
  mda "{mda}"
"""


class Run:
    """One program collecting the whole mailbox into an empty place of its own."""

    def __init__(self, server: DovecotServer, directory: Path) -> None:
        self.server = server
        self.directory = directory
        self.maildir = directory / "maildir"

    def mailkeep(self) -> float:
        """`flask collect --once`, start of the process included."""
        environ = {
            "PANEL_DATA_DIR": str(self.directory / "data"),
            "PANEL_ENV_FILE": "/dev/null",
            "PANEL_MAIL_CA_FILE": str(self.server.ca_file),
            "PANEL_MAIL_PORTS": str(self.server.tls_port),
        }
        settings = made(environ)
        with db.database.connection_context():
            self.maildir = settings.mail_spool / add(USER, self.server.tls_port)
        return timed([sys.executable, "-m", "flask", "collect", "--once"], process_environ(environ))

    def mbsync(self) -> float:
        """mbsync (isync), FSync yes."""
        configuration = self._configuration("mbsyncrc", f"FSync yes\n{MBSYNC}")
        for name in ("new", "cur", "tmp"):
            (self.maildir / name).mkdir(parents=True)
        return timed(["mbsync", "-q", "-c", str(configuration), "bench"], self._environ())

    def fetchmail(self) -> float:
        """fetchmail, each message to a delivery agent that fsyncs, as it wants it."""
        agent = self.directory / "deliver"
        agent.write_text(f'#!/bin/sh\nset -e\nf="{self.maildir}/new/$$"\ncat >"$f"\nsync "$f"\n')
        agent.chmod(0o700)
        (self.maildir / "new").mkdir(parents=True)
        configuration = self._configuration("fetchmailrc", FETCHMAIL)
        return timed(["fetchmail", "-s", "-f", str(configuration)], self._environ())

    def _configuration(self, name: str, template: str) -> Path:
        path = self.directory / name
        text = template.format(
            port=self.server.tls_port, user=USER, password=PASSWORD, ca_file=self.server.ca_file,
            maildir=self.maildir, mda=self.directory / "deliver",
        )  # fmt: skip
        path.write_text(text)
        path.chmod(0o600)
        return path

    def _environ(self) -> dict[str, str]:
        home = str(self.directory)
        return {**os.environ, "HOME": home, "FETCHMAILHOME": home}

    def collected(self) -> int:
        """Messages in the Maildir."""
        return sum(1 for name in ("new", "cur") for _ in (self.maildir / name).glob("*"))


PROGRAMS: dict[str, Callable[[Run], float]] = {
    "Mailkeep": Run.mailkeep,
    "mbsync": Run.mbsync,
    "fetchmail": Run.fetchmail,
}


def main(arguments: list[str]) -> None:
    """Print the table and write the results. Ends with an error where a program missed a message."""
    parser = argparse.ArgumentParser(prog="script/bench collect")
    parser.add_argument("--messages", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--programs", default=",".join(PROGRAMS), help="which to run")
    options = parser.parse_args(arguments)
    directory = Path(tempfile.mkdtemp(prefix="bench-collect-"))
    server = DovecotServer(directory / "dovecot")
    try:
        print(f"filling a mailbox with {options.messages} messages …", flush=True)
        octets = fill(server, options.messages)
        names = [name for name in options.programs.split(",") if name == "Mailkeep" or _installed(name)]
        times = _measure(server, directory, names, options)
    finally:
        server.stop()
        shutil.rmtree(directory)
    _report(times, options.messages, octets)


def _measure(
    server: DovecotServer, directory: Path, names: list[str], options: argparse.Namespace
) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in range(options.rounds + 1):  # the first one warms Dovecot's caches and is not counted
        for name in names:
            if name == "fetchmail" and number != 1:
                continue
            seconds = _one(server, directory / f"{name}{number}", name, options.messages)
            print(f"  {name}: {seconds:.2f} s{'' if number else ' (not counted)'}", flush=True)
            if number:
                times[name].append(seconds)
    return times


def _one(server: DovecotServer, directory: Path, name: str, messages: int) -> float:
    directory.mkdir()
    run = Run(server, directory)
    seconds = PROGRAMS[name](run)
    if run.collected() != messages:
        raise SystemExit(f"{name} collected {run.collected()} of {messages} messages.")
    shutil.rmtree(directory)
    os.sync()  # nobody pays for what another one left to write
    return seconds


def fill(server: DovecotServer, messages: int) -> int:
    """Fill the mailbox of USER; the bytes in it."""
    server.add_user(USER, PASSWORD)
    for number in range(messages):
        server.fill(USER, 1, SIZES[number % len(SIZES)])
    return sum(path.stat().st_size for path in (server.maildir(USER) / "new").iterdir())


def timed(command: list[str], environ: dict[str, str]) -> float:
    """Seconds that `command` takes. Ends with what it printed where it fails."""
    began = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True)
    seconds = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{command[0]} failed:\n{done.stdout}{done.stderr}")
    return seconds


def _installed(name: str) -> bool:
    if shutil.which(name):
        return True
    print(f"{name} is not installed; left out. To have it measured too: apt-get install isync fetchmail")
    return False


def _report(times: dict[str, list[float]], messages: int, octets: int) -> None:
    medians = {name: statistics.median(values) for name, values in times.items() if values}
    own = medians["Mailkeep"]
    print(f"\n{messages} messages, {octets / 1e6:.0f} MB, over TLS, fsync on; medians\n")
    print(f"  {'':12}{'seconds':>10}{'of Mailkeep':>14}{'messages/s':>13}")
    for name, seconds in medians.items():
        print(f"  {name:12}{seconds:10.2f}{seconds / own:13.2f}×{messages / seconds:13.0f}")
    content = {"messages": messages, "bytes": octets, "seconds": times, "medians": medians}
    write(RESULTS / "collect.json", content)
