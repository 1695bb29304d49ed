"""A sample message: the panel asks for it by a file, the deliverer sends it and answers by another.

So what a target does is done by the deliverer's Unix user alone, never by the panel's.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from pathlib import Path

from panel.deliver import spool
from panel.deliver.message import OutgoingMessage, TryResult

LONGEST = 600  # seconds that a request is good for
NAME = re.compile(r"test-[0-9a-f]{32}\.json\Z")


@dataclass(frozen=True)
class Sample:
    """What is asked for. `id` is its delivery id."""

    id: str
    target: str
    mailbox: str


def read(path: Path, name: str, owner: int) -> Sample | None:
    """The request in the file `name`; None for one that is old, was answered, or is none."""
    if not NAME.match(name) or spool.beside(path, "state", name).exists():
        return None
    asked = spool.read(spool.beside(path, "requests", name), owner=owner)
    if abs(time.time() - spool.whole(asked.get("at"))) > LONGEST:
        return None
    return Sample(name[5:37], spool.text(asked.get("target")), spool.text(asked.get("mailbox")))


@contextmanager
def message(asked: Sample) -> Iterator[OutgoingMessage]:
    """The sample as it is handed over, in memory."""
    mail = EmailMessage(policy=SMTP)
    mail["From"] = "Mailkeep <mailkeep-test@example.invalid>"
    mail["To"] = asked.mailbox
    mail["Date"] = formatdate()
    mail["Message-ID"] = f"<{asked.id}@mailkeep.invalid>"
    mail["Subject"] = "Test message from Mailkeep"
    mail.set_content("An administrator sent this to test the way into the helpdesk. It can be deleted.\n")
    with open(os.memfd_create("sample"), "w+b") as file:  # noqa: PTH123
        file.write(mail.as_bytes())
        size = file.tell()
        file.seek(0)
        yield OutgoingMessage(file, size, asked.id, asked.mailbox, "")


def answer(found: TryResult) -> dict[str, object]:
    """What the panel reads."""
    return {"at": int(time.time()), "outcome": found.disposition.value, "answer": found.answer}
