"""Promises of the whole way: from a mail server to a helpdesk's command, with `script/server` alone."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from panel.audit import Actor
from panel.deliver import mailboxes, spool, status
from tests.collect.conftest import PostOffice, letter, post
from tests.house import processes
from tests.running import Environ, PanelServer, wait_until

__all__ = ["post"]
pytestmark = pytest.mark.dovecot


@pytest.fixture
def environ(environ: Environ, tmp_path: Path) -> Environ:
    """With a command for a helpdesk, which one Unix user runs."""
    out = tmp_path / "out"
    out.mkdir()
    script = tmp_path / "take mail"
    script.write_text(
        f'#!/bin/sh\ncat >"{out}/.$MAILKEEP_UID" && mv "{out}/.$MAILKEEP_UID" "{out}/$MAILKEEP_UID"\n'
    )
    script.chmod(0o700)
    (tmp_path / "targets.toml").write_text(
        f'same_user = true\ndefault = "desk"\n[desk]\ntype = "command"\ncommand = ["{script}"]\n'
    )
    return environ | {"PANEL_TARGETS_FILE": str(tmp_path / "targets.toml")}


def test_mail_goes_from_its_server_to_the_helpdesk_in_the_order_of_its_numbers(
    post: PostOffice, tmp_path: Path
) -> None:
    account = post.add(*(letter(number) for number in range(40)))
    server, out = PanelServer(post.environ, tmp_path / "server.log"), tmp_path / "out"
    server.start()
    try:
        wait_until(lambda: len(list(out.glob("[0-9]*"))) == 40, lambda: f"40 messages:\n{server.log}")
        times = [(out / str(uid)).stat().st_mtime_ns for uid in range(1, 41)]
        assert times == sorted(times)
        assert [(out / str(uid)).read_bytes() for uid in range(1, 41)] == [
            letter(number) for number in range(40)
        ]
        wait_until(lambda: not spool.names(post.spool(account) / "new"), "the last to be filed")
        assert status.outgoing(post.settings).problem == ""
        assert "Traceback" not in server.log
    finally:
        assert server.stop() == 0


def test_without_same_user_the_server_runs_no_deliverer_and_says_what_to_start(
    post: PostOffice, tmp_path: Path
) -> None:
    text = (tmp_path / "targets.toml").read_text()
    (tmp_path / "targets.toml").write_text(text.replace("same_user = true\n", ""))
    post.add(letter(1))
    server = PanelServer(post.environ, tmp_path / "server.log")
    server.start()
    try:
        assert not any("panel.deliver" in processes.arguments(pid) for pid in processes.children(server.pid))
        wait_until(lambda: spool.beside(post.settings.mail_spool, "mailboxes.json").exists(), "the list")
        found = status.outgoing(post.settings)
        assert "not running" in found.problem and "deliver run" in found.remedy
    finally:
        server.stop()


def test_a_targets_file_that_cannot_be_used_stops_no_server(post: PostOffice, tmp_path: Path) -> None:
    (tmp_path / "targets.toml").chmod(0o666)
    account = post.add(letter(1))
    server = PanelServer(post.environ, tmp_path / "server.log")
    server.start()
    try:
        assert "Others than its owner can write" in server.log
        new = post.spool(account) / "new"
        wait_until(lambda: new.exists() and spool.names(new), lambda: f"the message:\n{server.log}")
        assert not list((tmp_path / "out").iterdir())
    finally:
        server.stop()


def test_what_is_chosen_is_told_at_once_and_what_sql_changes_within_seconds(post: PostOffice) -> None:
    account = post.add()
    listed = spool.beside(post.settings.mail_spool, "mailboxes.json")
    mailboxes.choose(post.settings, account.uuid, "desk", Actor("a"))
    assert spool.read(listed)[account.uuid]["target"] == "desk"
    before = listed.stat().st_ino
    mailboxes.publish(post.settings)
    assert listed.stat().st_ino == before  # nothing changed, so nothing is written
    post.sql("UPDATE account SET deliver_to = ?, address = ?", "maildir", "other@example.org")
    mailboxes.publish(post.settings)
    assert spool.read(listed)[account.uuid] == {"address": "other@example.org", "target": "maildir"}


def test_a_look_at_a_thousand_idle_mailboxes_takes_little(post: PostOffice, tmp_path: Path) -> None:
    import threading

    from panel.deliver.deliverer import Deliverer
    from tests.deliver.conftest import POLICY, Post

    desk = tmp_path / "many"
    desk.mkdir()
    many = Post(desk)
    for number in range(1000):
        many.mailboxes[f"00000000-0000-4000-8000-{number:012}"] = {
            "address": "a@example.org",
            "target": "helpdesk",
        }
    for name in many.mailboxes:
        (many.spool / name / "new").mkdir(parents=True)
        spool.beside(many.spool, name, "aside").mkdir(parents=True)
    spool.write(spool.beside(many.spool, "mailboxes.json"), many.mailboxes, 0o600)
    deliverer = Deliverer(many.spool, many.targets_file, POLICY, threading.Event())
    deliverer._look()
    wait_until(lambda: not any(queue.busy for queue in deliverer._queues.values()), "the first look")
    begun = time.process_time()
    for _ in range(20):
        deliverer._look()
    assert (time.process_time() - begun) / 20 < 0.1  # half a second apart: some hundredths of a core at most
