"""A spool with mail in it, and the deliverer at work on it, in this process and quickly."""

from __future__ import annotations

import json
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from panel.deliver import spool
from panel.deliver.deliverer import Deliverer
from panel.deliver.queue import Pace
from panel.mail.maildir import Maildir, make_folder, make_spool
from panel.mail.policy import Policy
from tests.running import wait_until

MESSAGE = b"From: a@example.com\r\nSubject: Hello\r\n\r\n.Dots\r\n\xfc\xff and bytes\r\n"
FAST = Pace(poll=0.02, delays=(0.05,), down_delays=(0.05,), tries=4, report=0.1)
POLICY = Policy(frozenset())
# Writes what it was given into a file named by the delivery id, and does as a file beside it says.
HELPDESK = """
import os, pathlib, sys
here = pathlib.Path({here!r})
message = sys.stdin.buffer.read()
rules = (here / "rules").read_text().splitlines()  # before the try is seen: a test may change them then
with open(here / "tries", "a") as tries:
    tries.write(os.environ["MAILKEEP_DELIVERY_ID"] + "\\n")
for rule in rules:
    word, status = rule.split("=")
    if word.encode() in message:
        print("no " + word)
        sys.exit(int(status))
with open(here / "taken", "a") as taken:
    taken.write(message.decode("latin-1").split("Subject: ")[1].split("\\r")[0] + "\\n")
(here / os.environ["MAILKEEP_DELIVERY_ID"]).write_bytes(message)
print("ticket 1")
"""


class Post:
    """One spool, its mailboxes and targets, and a helpdesk that is a command."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.spool = directory / "spool"
        self.targets_file = directory / "targets.toml"
        self.helpdesk = directory / "helpdesk"
        self.helpdesk.mkdir()
        self.rules("")
        (directory / "helpdesk.py").write_text(HELPDESK.format(here=str(self.helpdesk)))
        self.mailboxes: dict[str, dict[str, str]] = {}
        make_spool(self.spool, None)
        for parts in ((), ("requests",), ("state",)):
            make_folder(spool.beside(self.spool, *parts), 0o700, None)
        self.targets("helpdesk = { type = 'command', command = " + json.dumps(self.command) + " }")

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-I", str(self.directory / "helpdesk.py")]

    def targets(self, text: str) -> None:
        temporary = self.targets_file.with_suffix(".new")
        temporary.write_text(text)
        temporary.chmod(0o640)
        temporary.rename(self.targets_file)

    def rules(self, text: str) -> None:
        """`WORD=STATUS` a line: messages with that word end the command so."""
        (self.helpdesk / "rules").write_text(text)

    def mailbox(self, address: str = "support@example.org", target: str = "helpdesk") -> Maildir:
        """A mailbox that goes out to that target."""
        name = str(uuid.uuid4())
        maildir = Maildir(self.spool / name)
        maildir.create()
        for parts in ((name,), (name, "sent"), (name, "aside")):
            make_folder(spool.beside(self.spool, *parts), 0o700, None)
        self.choose(name, address, target)
        return maildir

    def choose(self, name: str, address: str, target: str) -> None:
        self.mailboxes[name] = {"address": address, "target": target}
        spool.write(spool.beside(self.spool, "mailboxes.json"), self.mailboxes, 0o600)

    def put(self, maildir: Maildir, *messages: bytes, uid: int = 7) -> list[str]:
        """Deliver into new/, as the collector does; the names of the files."""
        names = []
        for raw in messages:
            names.append(maildir.unique_name(len(raw), uid))
            maildir.write(names[-1], raw)
        maildir.publish(names)
        return names

    def taken(self) -> list[str]:
        """Subjects, in the order in which the helpdesk took them."""
        path = self.helpdesk / "taken"
        return path.read_text().splitlines() if path.exists() else []

    def tries(self) -> list[str]:
        """The delivery id of each try."""
        path = self.helpdesk / "tries"
        return path.read_text().splitlines() if path.exists() else []

    def waiting(self, maildir: Maildir) -> list[str]:
        return spool.names(maildir.path / "new")

    def kept(self, maildir: Maildir, folder: str = "sent") -> list[str]:
        return spool.names(spool.beside(self.spool, maildir.path.name, folder))

    def state(self, maildir: Maildir) -> dict[str, Any]:
        return spool.read(spool.beside(self.spool, "state", f"{maildir.path.name}.json"))

    def aside(self, maildir: Maildir) -> list[dict[str, str]]:
        found = self.state(maildir)["aside"]
        assert isinstance(found, list)
        return found

    def told(self) -> dict[str, Any]:
        return spool.read(spool.beside(self.spool, "state", "deliverer.json"))

    @contextmanager
    def delivering(self, pace: Pace = FAST) -> Iterator[Deliverer]:
        """With the deliverer at work."""
        stopping = threading.Event()
        deliverer = Deliverer(self.spool, self.targets_file, POLICY, stopping, pace)
        thread = threading.Thread(target=deliverer.run)
        thread.start()
        try:
            yield deliverer
        finally:
            stopping.set()
            thread.join(60)

    def deliver_all(self, *maildirs: Maildir) -> None:
        """Until nothing waits."""
        with self.delivering():
            wait_until(lambda: not any(map(self.waiting, maildirs)), lambda: f"delivery: {self.told()}")


def letter(subject: str, body: bytes = b"Hello.\r\n") -> bytes:
    return f"From: a@example.com\r\nSubject: {subject}\r\n\r\n".encode() + body


@pytest.fixture
def post(tmp_path: Path) -> Post:
    return Post(tmp_path)
