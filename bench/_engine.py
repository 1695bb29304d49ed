"""The programs that `bench.engine` compares: each collects many mailboxes of one Dovecot into Maildirs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from bench._installs import PASSWORD, add, made
from panel import db
from panel.models import Collection
from tests.running import PanelServer, environ_for
from tests.servers.dovecot import MAIL_USER, DovecotServer

MBSYNC = """
IMAPAccount {user}
Host localhost
Port {port}
User {user}
Pass "{password}"
SSLType IMAPS
CertificateFile {ca_file}

IMAPStore {user}-far
Account {user}

MaildirStore {user}-near
Inbox {maildir}

Channel {user}
Far :{user}-far:
Near :{user}-near:
Patterns INBOX
Sync Pull New
Create Near
SyncState *
"""

GETMAIL = """
[retriever]
type = SimpleIMAPSSLRetriever
server = localhost
port = {port}
username = {user}
password = {password}
ca_certs = {ca_file}
[destination]
type = Maildir
path = {maildir}/
user = {owner}
[options]
read_all = false
delete = false
verbose = 0
"""


class BigDovecot(DovecotServer):
    """One that takes thousands of sessions at once."""

    def _configuration(self) -> str:
        services = "\n".join(
            f"service {name} {{\n  client_limit = 20000\n}}"
            for name in ("anvil", "auth", "imap-login", "stats")
        )
        return f"{super()._configuration()}\ndefault_process_limit = 8000\n{services}\n"


class Mailkeep:
    """`script/server` as it is, with web processes that nobody asks anything."""

    most = 10_000  # mailboxes that fit into a usual machine

    def __init__(self, server: DovecotServer, users: list[str], directory: Path) -> None:
        ports = f"{server.tls_port},{server.pop3_port}"
        self._environ = environ_for(directory) | {
            "PANEL_MAIL_CA_FILE": str(server.ca_file),
            "PANEL_MAIL_PORTS": ports,
            "PANEL_IDLE_CONNECTIONS": str(len(users)),
        }
        self.settings = made(self._environ)
        with db.database.connection_context(), db.transaction():
            for user in users:
                add(user, server.tls_port)
        self._server = PanelServer(self._environ, directory / "server.log", cold=True)
        self._good = len(users)

    def beside(self, ports: Iterable[int]) -> None:
        """Mailboxes on these servers too, which are not waited for."""
        self._server.environ["PANEL_MAIL_PORTS"] += "".join(f",{port}" for port in ports)
        with db.database.connection_context(), db.transaction():
            for number, port in enumerate(ports):
                add(f"hung{number}", port)

    def start(self) -> None:
        """Until every mailbox was collected once."""
        self._server.start()
        began = time.monotonic()
        with db.database.connection_context():
            done = Collection.select().where(Collection.last_success_at.is_null(False))
            wait(lambda: done.count() >= self._good, 900)
        print(f"  {self._good} mailboxes collected once after {time.monotonic() - began:.0f} s")

    def stop(self) -> None:
        self._server.stop()

    def pids(self) -> list[int]:
        """The parent and its children, the worker last."""
        children = _children(self._server.pid)
        return [
            self._server.pid,
            *sorted(children, key=lambda pid: "worker" in Path(f"/proc/{pid}/cmdline").read_text()),
        ]

    def files(self) -> Iterator[Path]:
        return self.settings.mail_spool.glob("*/new/*")


class ToCommand(Mailkeep):
    """The same with a deliverer, which runs a command for each message; it has arrived when that has it."""

    most = 100

    def __init__(self, server: DovecotServer, users: list[str], directory: Path) -> None:
        super().__init__(server, users, directory)
        self._taken = directory / "taken"
        self._taken.mkdir()
        script, targets = directory / "take", directory / "targets.toml"
        script.write_text(f'#!/bin/sh\nexec cat >"{self._taken}/$MAILKEEP_DELIVERY_ID"\n')
        script.chmod(0o700)
        targets.write_text(
            f'same_user = true\ndefault = "bench"\n[bench]\ntype = "command"\ncommand = ["{script}"]\n'
        )
        targets.chmod(0o600)
        self._server.environ["PANEL_TARGETS_FILE"] = str(targets)

    def files(self) -> Iterator[Path]:
        """Those that the command was given."""
        return self._taken.iterdir()


class Peer:
    """Another program that collects the mailboxes of `users` into `directory`."""

    most = 10_000

    def __init__(self, server: DovecotServer, users: list[str], directory: Path) -> None:
        self._server, self._users, self._directory = server, users, directory
        self._processes: list[subprocess.Popen[bytes]] = []
        for user in users:
            for name in ("new", "cur", "tmp"):
                (directory / "mail" / user / name).mkdir(parents=True)

    def _write(self, name: str, template: str, *users: str) -> Path:
        path = self._directory / name
        path.write_text("".join(self._filled(template, user) for user in users))
        path.chmod(0o600)
        return path

    def _filled(self, template: str, user: str) -> str:
        return template.format(
            user=user, port=self._server.tls_port, password=PASSWORD, ca_file=self._server.ca_file,
            maildir=self._directory / "mail" / user, owner=MAIL_USER,
        )  # fmt: skip

    def _start(self, *command: str) -> None:
        environ = {**os.environ, "HOME": str(self._directory)}
        with (self._directory / "log").open("ab") as log:
            self._processes.append(
                subprocess.Popen(command, env=environ, stdout=log, stderr=log, process_group=0)
            )

    def start(self) -> None:
        """Start it; what is in the mailboxes now has been collected when it returns."""
        raise NotImplementedError

    def stop(self) -> None:
        """Each of them with its children."""
        for process in self._processes:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def pids(self) -> list[int]:
        """All of them and their children."""
        return [pid for process in self._processes for pid in (process.pid, *_children(process.pid))]

    def files(self) -> Iterator[Path]:
        return (self._directory / "mail").glob("*/new/*")


class Mbsync(Peer):
    """mbsync over all mailboxes, again and again without a pause. It syncs to the disk by default."""

    def start(self) -> None:
        """Once, then in a loop."""
        rc = self._write("mbsyncrc", MBSYNC, *self._users)
        done = subprocess.run(["mbsync", "-q", "-c", str(rc), "-a"], capture_output=True, text=True)
        print(done.stderr[:300], end="")
        self._start("sh", "-c", 'while :; do mbsync -q -c "$1" -a; done', "sh", str(rc))


class Getmail(Peer):
    """getmail6 with --idle: a process for each mailbox."""

    most = 100

    def start(self) -> None:
        """All of them; each is given time to sign in."""
        self._directory.chmod(0o755)
        mail = self._directory / "mail"
        for path in (mail, *mail.rglob("*")):
            shutil.chown(path, MAIL_USER)  # it does not deliver as root
        for user in self._users:
            self._start("getmail", "--idle", "INBOX", "-n", f"--rcfile={self._write(user, GETMAIL, user)}",
                        f"--getmaildir={self._directory}")  # fmt: skip


Program = Mailkeep | Peer
PROGRAMS: dict[str, tuple[type[Program], str]] = {  # and what must be installed for it
    "Mailkeep": (Mailkeep, "dovecot"),
    "Mailkeep to command": (ToCommand, "dovecot"),
    "mbsync in a loop": (Mbsync, "mbsync"),
    "getmail6 --idle": (Getmail, "getmail"),
}


def installed(name: str) -> bool:
    return shutil.which(PROGRAMS[name][1], path=f"{os.environ['PATH']}:/usr/sbin") is not None


def wait(until: Callable[[], bool], seconds: float) -> None:
    """Until it is true, asked twice a second; raises SystemExit where that takes longer."""
    ends = time.monotonic() + seconds
    while not until():
        if time.monotonic() > ends:
            raise SystemExit(f"not ready after {seconds:.0f} seconds")
        time.sleep(0.5)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *_children(child)]
    return found
