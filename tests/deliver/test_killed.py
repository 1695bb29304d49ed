"""Killed at every step, with each kind of target: no message is lost, and a repeat carries the same id.

The deliverer is a real process that gets SIGKILL before or after a step (tests/deliver/killed.py); another one
then goes on. The short form tries a tenth of the steps, `--long` each one.
"""

from __future__ import annotations

import email
import re
import socketserver
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from panel.deliver.message import delivery_id
from tests import running, warm
from tests.deliver.conftest import Post, letter
from tests.deliver.test_http import Desk

pytestmark = pytest.mark.reliability
MESSAGES = 2
SPARSE = 16  # of so many steps the short form tries one

Seen = Callable[[], list[tuple[str, str]]]  # delivery id, subject


class Lmtp(socketserver.ThreadingUnixStreamServer):
    """Takes every message, and notes it with its ENVID."""

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        self.seen: list[tuple[str, str]] = []
        super().__init__(str(path), Session)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()


class Session(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        with suppress(OSError):  # the other side was killed
            self._converse()

    def _converse(self) -> None:
        self.wfile.write(b"220 desk\r\n")
        id_ = ""
        for line in self.rfile:
            if line.startswith(b"LHLO"):
                self.wfile.write(b"250-desk\r\n250 DSN\r\n")
            elif line.startswith(b"DATA"):
                self.wfile.write(b"354 go on\r\n")
                data = []
                for each in self.rfile:
                    if each == b".\r\n":
                        break
                    data.append(each)
                else:
                    return
                assert isinstance(self.server, Lmtp)
                self.server.seen.append((id_, str(email.message_from_bytes(b"".join(data))["Subject"])))
                self.wfile.write(b"250 saved\r\n")
            else:
                if found := re.search(rb"ENVID=(\w+)", line):
                    id_ = found[1].decode()
                self.wfile.write(b"250 ok\r\n")


@contextmanager
def to_command(post: Post) -> Iterator[Seen]:
    def seen() -> list[tuple[str, str]]:
        found = [(id_, post.helpdesk / id_) for id_ in post.tries() if (post.helpdesk / id_).exists()]
        return [(id_, str(email.message_from_bytes(path.read_bytes())["Subject"])) for id_, path in found]

    yield seen


@contextmanager
def to_http(post: Post) -> Iterator[Seen]:
    desk = Desk()
    post.targets(f'helpdesk = {{ type = "http", url = "{desk.url}" }}')
    yield lambda: [
        (headers["Mailkeep-Delivery-Id"], str(email.message_from_bytes(body)["Subject"]))
        for _, headers, body in desk.requests
    ]
    desk.close()


@contextmanager
def to_lmtp(post: Post) -> Iterator[Seen]:
    with Lmtp(post.directory / "lmtp") as server:
        post.targets(f'helpdesk = {{ type = "lmtp", address = "{post.directory / "lmtp"}" }}')
        yield lambda: list(server.seen)
        server.shutdown()


KINDS = {"a command": to_command, "HTTP": to_http, "LMTP": to_lmtp}


def run(post: Post, dies_at: int) -> tuple[int, str]:
    """One deliverer: how it ended, and what it printed."""
    arguments = ["-m", "tests.deliver.killed", str(post.spool), str(post.targets_file), str(dies_at)]
    with warm.Popen(arguments, env=running.process_environ({}), text=True, stdout=-1, stderr=-1) as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode in (0, -9), err
    return process.returncode, out


def kill(directory: Path, kind: str, dies_at: int) -> bool:
    """Kill one deliverer, and let another finish. False where there is no such step."""
    directory.mkdir()
    post = Post(directory)
    with KINDS[kind](post) as seen:
        box, other = post.mailbox(), post.mailbox("sales@example.org")
        ids: dict[str, str] = {}
        for maildir in (box, other):
            subjects = [f"{maildir.path.name[:4]}-{number}" for number in range(MESSAGES)]
            names = post.put(maildir, *map(letter, subjects))
            ids |= {
                subject: delivery_id(maildir.path.name, name)
                for subject, name in zip(subjects, names, strict=True)
            }
        ended, _ = run(post, dies_at)
        assert run(post, 0)[0] == 0
        found = defaultdict(set)
        for id_, subject in seen():
            found[subject].add(id_)
        assert found == {subject: {id_} for subject, id_ in ids.items()}, f"{kind}, killed at {dies_at}"
        for maildir in (box, other):
            assert not post.waiting(maildir) and not post.kept(maildir, "aside")
            assert len(post.kept(maildir)) == MESSAGES
    return ended == -9


def every_step(tmp_path: Path, kind: str, step: int, record: Callable[[str, object], None]) -> None:
    tried, number = 0, 1
    while kill(tmp_path / f"{number}", kind, number) and kill(tmp_path / f"-{number}", kind, -number):
        tried, number = tried + 2, number + step
    assert tried * step > 60, "there are that many steps"
    record("reliability", {"table": "delivering", "row": kind, "column": "kills", "tried": tried})


@pytest.mark.parametrize("kind", KINDS)
def test_killed_at_some_steps_nothing_is_lost(
    tmp_path: Path, kind: str, record_property: Callable[[str, object], None]
) -> None:
    every_step(tmp_path, kind, SPARSE, record_property)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", KINDS)
def test_killed_at_each_step_nothing_is_lost(
    tmp_path: Path, kind: str, record_property: Callable[[str, object], None]
) -> None:
    every_step(tmp_path, kind, 1, record_property)
