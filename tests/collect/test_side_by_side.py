"""Several accounts at once, and reading while writing: nothing waits for what is slow."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from panel.collect.delivery import Written
from panel.collect.pipeline import Pipeline
from panel.models import Collection
from tests.collect.conftest import PostOffice, letter
from tests.running import PanelServer, wait_until
from tests.servers.hostile import ScriptedServer, silence


@pytest.fixture
def slow() -> Iterator[ScriptedServer]:
    """A server that takes the connection and says nothing."""
    with ScriptedServer(lambda talk: silence(talk)) as server:
        yield server


def beside(post: PostOffice, slow: ScriptedServer) -> PostOffice:
    ports = f"{post.environ['PANEL_MAIL_PORTS']},{slow.port}"
    return replace(post, environ={**post.environ, "PANEL_MAIL_PORTS": ports})


def test_the_worker_collects_one_account_while_another_hangs(
    post: PostOffice, slow: ScriptedServer, tmp_path: Path
) -> None:
    post = beside(post, slow)
    for _ in range(2):
        post.add(port=slow.port)
    good = post.add(letter(1))
    server = PanelServer(post.environ, tmp_path / "server.log")
    server.start()
    try:
        wait_until(lambda: slow.connections >= 2, "both slow ones to be tried")
        new = post.spool(good) / "new"
        wait_until(lambda: new.exists() and any(new.iterdir()), "mail of the third")
        assert all(one.problem is None for one in Collection.select()), "the slow ones were given up before"
    finally:
        server.kill()  # to stop it would take as long as it waits for rounds that hang


def test_the_shell_collects_one_account_while_another_hangs(post: PostOffice, slow: ScriptedServer) -> None:
    post = beside(post, slow)
    for _ in range(2):
        post.add(port=slow.port)
    good = post.add(letter(1))
    process = post.process("--once")
    try:
        new = post.spool(good) / "new"
        wait_until(lambda: new.exists() and any(new.iterdir()), "mail of the third")
        assert all(one.problem is None for one in Collection.select()), "the slow ones were given up before"
    finally:
        process.kill()
        process.communicate()


def test_reading_goes_on_while_a_message_is_being_written() -> None:
    read_on, written = threading.Event(), threading.Event()

    def messages() -> Iterator[tuple[int, bytes]]:
        yield 1, b"one"
        yield 2, b"two"
        read_on.set()

    def write(uid: int, raw: bytes) -> Written:
        assert written.wait(60)
        return Written(uid, str(uid), raw)

    with Pipeline(messages(), write) as stream:
        assert read_on.wait(60), "the reader waits for the disk"
        written.set()
        assert sorted(one.uid for one in stream if one) == [1, 2]


def test_several_messages_are_written_at_once() -> None:
    both = threading.Barrier(2, timeout=120)

    def write(uid: int, raw: bytes) -> Written:
        both.wait()
        return Written(uid, str(uid), raw)

    with Pipeline([(1, b"one"), (2, b"two")], write) as stream:
        assert sorted(one.uid for one in stream if one) == [1, 2]
