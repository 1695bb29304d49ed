"""Killed before and after each step of a message: the helpdesk sends it again, and it goes out once."""

from __future__ import annotations

import hashlib
import smtplib
import subprocess
from collections.abc import Callable

import pytest

from tests import warm
from tests.running import Environ, free_port, process_environ, wait_until
from tests.submission.conftest import ADDRESS, MESSAGE, Desk
from tests.submission.sink import Sink

pytestmark = pytest.mark.reliability

PROGRAM = """
import os, signal, socket, sys
from panel import create_app
from panel.config import Settings
from panel.submission import answers, lines, passwords, relay, server, service

owners = {"sign in": (passwords, "check"), "MAIL": (relay.UpstreamServer, "mail"), "RCPT": (relay.UpstreamServer, "rcpt"),
          "reading": (lines.Client, "message"), "handing over": (relay.UpstreamServer, "data"),
          "noting": (answers.Answers, "store"), "answering": (lines.Client, "send"), "forgetting": (answers.Answers, "forget")}
step, when, port = sys.argv[1:]
owner, name = owners[step]
inner = getattr(owner, name)

def deadly(*given, **named):
    here = step != "answering" or given[1].startswith("250 2.0.0")
    if here and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    found = inner(*given, **named)
    if here:
        os.kill(os.getpid(), signal.SIGKILL)
    return found

setattr(owner, name, deadly)
settings = Settings.load()
vault = create_app(settings).extensions["mailkeep"].vault
control, _theirs = socket.socketpair()
listening = socket.create_server(("127.0.0.1", int(port)))
server.SubmissionServer(listening, control, service.serving(settings, vault)).run(1)
"""
STEPS = ("sign in", "MAIL", "RCPT", "reading", "handing over", "noting", "answering", "forgetting")
# The server has the message, and nothing here says so yet: nobody can know it after a kill.
UNKNOWN = {("handing over", "after"), ("noting", "before")}


@pytest.mark.parametrize("step", STEPS)
def test_a_message_is_lost_at_no_step_and_sent_twice_where_nobody_can_know(
    sinking: Desk, sink: Sink, environ: Environ, step: str, record_property: Callable[..., None]
) -> None:
    for when in ("before", "after"):
        message = MESSAGE + f"{step} {when}\r\n".encode()
        port = free_port()
        process = warm.Popen(
            ["-c", PROGRAM, step, when, str(port)], env=process_environ(environ),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_until(lambda port=port: listens(port), "the process that dies")
        told = sends(port, sinking.password, message)
        assert process.wait(60) == -9
        if not told:
            assert sends(sinking.port, sinking.password, message)
        digest = hashlib.sha256(message).hexdigest()
        count = sum(handed.digest == digest for handed in sink.handed)
        assert count == (2 if (step, when) in UNKNOWN else 1), (step, when)
    record_property("reliability", {"table": "sending", "row": step, "column": "kills", "tried": 2})


def listens(port: int) -> bool:
    try:
        smtplib.SMTP("127.0.0.1", port, timeout=60).close()
    except (OSError, smtplib.SMTPException):
        return False
    return True


def sends(port: int, password: str, message: bytes) -> bool:
    """Whether a helpdesk was told that its message is accepted."""
    try:
        client = smtplib.SMTP("127.0.0.1", port, local_hostname="desk", timeout=60)
        client.login(ADDRESS, password)
        client.mail(ADDRESS)
        client.rcpt("ada@example.net")
        accepted = client.data(message)[0] == 250
    except (OSError, smtplib.SMTPException):
        return False
    try:
        client.quit()
    except (OSError, smtplib.SMTPException):
        return accepted
    return accepted
