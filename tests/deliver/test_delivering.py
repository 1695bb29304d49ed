"""Promises of the deliverer: what was collected goes out once it is taken, in order, and is lost by nothing."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from panel.deliver import command, spool
from panel.deliver.deliverer import MOST_IN_A_TURN, PARALLEL, Deliverer
from panel.deliver.message import Disposition, TryResult, delivery_id
from panel.deliver.queue import TargetHealth
from tests.deliver.conftest import FAST, MESSAGE, POLICY, Post, letter
from tests.running import wait_until


def test_a_message_is_handed_over_byte_for_byte_and_then_kept(post: Post) -> None:
    box = post.mailbox()
    [name] = post.put(box, MESSAGE)
    post.deliver_all(box)
    assert (post.helpdesk / delivery_id(box.path.name, name)).read_bytes() == MESSAGE
    assert post.kept(box) == [name]
    assert post.state(box)["delivered"] == "ticket 1"


def test_messages_of_a_mailbox_go_out_in_the_order_in_which_they_came(post: Post) -> None:
    box = post.mailbox()
    post.put(box, *(letter(str(number)) for number in range(30)))
    post.deliver_all(box)
    assert post.taken() == [str(number) for number in range(30)]


def test_a_mailbox_with_much_mail_waits_for_no_clock_between_its_turns(post: Post) -> None:
    box, stopping = post.mailbox(), threading.Event()
    post.put(box, *(letter(str(number)) for number in range(2 * MOST_IN_A_TURN + 1)))
    deliverer = Deliverer(post.spool, post.targets_file, POLICY, stopping, replace(FAST, poll=3600))
    thread = threading.Thread(target=deliverer.run)
    thread.start()
    try:
        wait_until(lambda: not post.waiting(box), "delivery")
    finally:
        stopping.set()
        deliverer._gave_way.set()
        thread.join(60)


def test_a_message_that_the_helpdesk_refuses_is_set_aside_and_named(post: Post) -> None:
    box = post.mailbox()
    post.rules("bad=65")
    first, _ = post.put(box, letter("bad"), letter("good"))
    post.deliver_all(box)
    assert post.taken() == ["good"]
    assert post.kept(box, "aside") == [first]
    [aside] = post.aside(box)
    assert aside["name"] == first and aside["answer"] == "Exit status 65. no bad"


@pytest.mark.parametrize("status", [1, 75, 255, 127])
def test_whatever_else_a_command_ends_with_is_tried_again_with_the_same_id(post: Post, status: int) -> None:
    box = post.mailbox()
    post.rules(f"Hello={status}")
    [name] = post.put(box, MESSAGE)
    with post.delivering():
        wait_until(lambda: len(post.tries()) > 2, "three tries")
        assert post.waiting(box) == [name]
        post.rules("")
        wait_until(lambda: post.kept(box) == [name], "delivery")
    assert set(post.tries()) == {delivery_id(box.path.name, name)}


def test_no_message_is_set_aside_while_its_target_takes_none(post: Post) -> None:
    box, other = post.mailbox(), post.mailbox("sales@example.org")
    post.rules("Subject=1")
    post.put(box, *(letter(str(number)) for number in range(3)))
    post.put(other, *(letter(str(number)) for number in range(3)))
    with post.delivering():
        wait_until(lambda: len(post.tries()) > 6 * FAST.tries, "many tries")
        assert len(post.waiting(box)) == len(post.waiting(other)) == 3
        wait_until(lambda: post.told()["targets"]["helpdesk"]["since"], "told")
        post.rules("")
        wait_until(lambda: len(post.taken()) == 6, "all")
    assert post.kept(box, "aside") == post.kept(other, "aside") == []
    assert post.told()["targets"]["helpdesk"]["since"] == 0


def test_a_message_that_fails_while_others_are_taken_is_set_aside_after_its_tries(post: Post) -> None:
    box = post.mailbox()
    post.rules("bad=1")
    bad, *_ = post.put(box, letter("bad"), letter("next"), letter("last"))
    post.deliver_all(box)
    assert post.kept(box, "aside") == [bad]
    assert post.taken() == ["next", "last"]
    assert post.tries().count(delivery_id(box.path.name, bad)) == FAST.tries + 1


def test_the_answer_told_is_the_messages_own_whatever_its_target_says_to_others(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = TargetHealth.note

    def note_two(self: TargetHealth, key: str, found: TryResult) -> None:
        note(self, key, found)
        note(self, "another mailbox/message", TryResult(Disposition.DELIVERED, "ticket 9"))

    box = post.mailbox()
    post.rules("bad=1")
    post.put(box, letter("bad"))
    monkeypatch.setattr(TargetHealth, "note", note_two)
    with post.delivering():
        wait_until(lambda: post.state(box).get("attempts"), "a try")
        assert post.state(box)["answer"] == "Exit status 1. no bad"
        wait_until(lambda: post.kept(box, "aside"), "aside")
    assert post.aside(box)[0]["answer"] == f"Tried {FAST.tries} times. Exit status 1. no bad"


def test_a_message_alone_is_tried_for_ever(post: Post) -> None:
    box = post.mailbox()
    post.rules("bad=1")
    post.put(box, letter("bad"))
    with post.delivering():
        wait_until(lambda: len(post.tries()) > 3 * FAST.tries, "many tries")
    assert len(post.waiting(box)) == 1


def test_a_mailbox_whose_target_is_not_in_the_file_waits_and_goes_to_no_other(post: Post) -> None:
    box, other = post.mailbox(target="gone"), post.mailbox("sales@example.org")
    post.targets(post.targets_file.read_text().replace("helpdesk =", "default = 'helpdesk'\nhelpdesk =", 1))
    post.put(box, letter("stays"))
    post.put(other, letter("goes"))
    with post.delivering():
        wait_until(lambda: post.taken(), "the other one")
        time.sleep(0.3)
    assert post.taken() == ["goes"] and len(post.waiting(box)) == 1


def test_a_mailbox_that_chose_nothing_goes_to_the_default_and_maildir_keeps_mail(post: Post) -> None:
    box, left = post.mailbox(target=""), post.mailbox("sales@example.org", "maildir")
    post.targets(f"default = 'helpdesk'\n{post.targets_file.read_text()}")
    post.put(box, letter("goes"))
    post.put(left, letter("stays"))
    post.deliver_all(box)
    assert post.taken() == ["goes"] and len(post.waiting(left)) == 1


def test_mail_that_somebody_takes_or_moves_to_cur_is_not_delivered(post: Post) -> None:
    box = post.mailbox()
    post.rules("Subject=75")
    first, second = post.put(box, letter("moved"), letter("stays"))
    with post.delivering():
        wait_until(lambda: post.tries(), "a try")
        (box.path / "new" / first).rename(box.path / "cur" / f"{first}:2,S")
        post.rules("")
        wait_until(lambda: post.kept(box) == [second], "the second")
    assert post.taken() == ["stays"]


def test_a_target_fails_no_longer_once_what_it_failed_with_was_taken_away(post: Post) -> None:
    box = post.mailbox()
    post.rules("Subject=75")
    (name,) = post.put(box, letter("taken"))
    with post.delivering():
        wait_until(lambda: post.told().get("targets", {}).get("helpdesk", {}).get("since"), "a failure")
        (box.path / "new" / name).unlink()
        wait_until(lambda: post.told()["targets"]["helpdesk"]["since"] == 0, "no failure")


def test_a_program_that_hangs_is_ended_with_its_children_and_the_message_waits(post: Post) -> None:
    box = post.mailbox()
    pids = post.directory / "pids"
    post.targets(
        f"""helpdesk = {{ type = "command", timeout = 1, command = ["/bin/sh", "-c",
        "sleep 1000 & echo $! $$ >>{pids}; echo begun; sleep 1000"] }}"""
    )
    post.put(box, MESSAGE)
    with post.delivering():
        ended = "No result within 1 second. begun"  # not by every try, where a shell takes as long to start
        wait_until(lambda: post.state(box).get("answer") == ended, "an answer")
    assert len(post.waiting(box)) == 1
    for pid in pids.read_text().split():
        wait_until(
            lambda pid=pid: (
                not Path(f"/proc/{pid}").exists() or "zombie" in Path(f"/proc/{pid}/status").read_text()
            ),
            pid,
        )


def test_a_program_that_leaves_its_group_is_ended_in_time(post: Post) -> None:
    box = post.mailbox()
    leaves = "import os, time; os.setpgid(0, os.getpgid(os.getppid())); time.sleep(1000)"
    argv = json.dumps([sys.executable, "-c", leaves])
    post.targets(f"helpdesk = {{ type = 'command', timeout = 1, command = {argv} }}")
    post.put(box, MESSAGE)
    with post.delivering():
        wait_until(lambda: post.state(box).get("answer") == "No result within 1 second.", "an answer")


def test_a_program_that_cannot_be_killed_is_told_and_not_waited_for(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = post.mailbox()
    pid = post.directory / "pid"
    post.targets(
        f"""helpdesk = {{ type = "command", timeout = 1, command = ["/bin/sh", "-c",
        "echo $$ >{pid}; exec sleep 1000"] }}"""
    )

    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")  # as for sudo, which is root's

    monkeypatch.setattr("os.killpg", refused)
    monkeypatch.setattr(subprocess.Popen, "kill", refused)
    monkeypatch.setattr(command, "STOP_SECONDS", 0.1)
    post.put(box, MESSAGE)
    with post.delivering():
        told = "No result within 1 second, and the program cannot be ended."
        wait_until(lambda: post.state(box).get("answer") == told, "an answer")
    os.kill(int(pid.read_text()), signal.SIGKILL)
    assert len(post.waiting(box)) == 1


def test_a_program_gets_a_clean_environment_and_no_open_files(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PANEL_SECRET_KEY", "x" * 40)
    box = post.mailbox("Müller <x>@example.org")
    shown = post.directory / "shown"
    post.targets(
        f"""helpdesk = {{ type = "command", command = ["/bin/sh", "-c",
        "env >{shown}; ls /proc/self/fd >>{shown}; umask >>{shown}; cat >/dev/null"] }}"""
    )
    [name] = post.put(box, MESSAGE, uid=4711)
    post.deliver_all(box)
    *lines, one, two, three, four, mask = shown.read_text().splitlines()
    names = {line.partition("=")[0] for line in lines} - {"PWD", "SHLVL", "_", "OLDPWD"}
    assert names == {
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "LANG",
        "MAILKEEP_DELIVERY_ID",
        "MAILKEEP_MAILBOX",
        "MAILKEEP_UID",
    }
    assert "MAILKEEP_MAILBOX=Müller <x>@example.org" in lines and "MAILKEEP_UID=4711" in lines
    assert f"MAILKEEP_DELIVERY_ID={delivery_id(box.path.name, name)}" in lines
    assert (one, two, three, mask) == ("0", "1", "2", "0022") and four == "3"  # 3 is the folder that ls reads


def test_a_program_that_prints_without_end_is_read_to_the_cap_only(post: Post) -> None:
    box = post.mailbox()
    post.targets(
        'helpdesk = { type = "command", command = ["/bin/sh", "-c", "yes | head -c 50000000; exit 65"] }'
    )
    post.put(box, MESSAGE)
    post.deliver_all(box)
    [aside] = post.aside(box)
    assert len(aside["answer"]) == 300


def test_delivered_mail_is_removed_after_its_days_and_not_before(post: Post) -> None:
    box = post.mailbox()
    old, new = post.put(box, letter("old"), letter("new"))
    post.deliver_all(box)
    path = spool.beside(post.spool, box.path.name, "sent", old)
    os.utime(path, (0, time.time() - 8 * 86400))
    with post.delivering():
        wait_until(lambda: post.kept(box) == [new], "removal")


def test_a_second_deliverer_of_the_same_spool_delivers_nothing(post: Post) -> None:
    box = post.mailbox()
    with post.delivering() as one, post.delivering() as other:
        wait_until(lambda: "Another deliverer" in one._problem + other._problem, "the lock")
        post.put(box, MESSAGE)
        wait_until(lambda: post.taken(), "delivery")
    assert len(post.tries()) == 1


def test_nothing_goes_out_while_there_is_no_place_to_file_it(post: Post) -> None:
    box = post.mailbox()
    sent = spool.beside(post.spool, box.path.name, "sent")
    sent.rmdir()
    post.put(box, MESSAGE)
    with post.delivering():
        wait_until(lambda: "sent" in str(post.state(box).get("problem")), "the problem")
        assert post.tries() == []
        sent.mkdir()
        wait_until(lambda: post.taken() == ["Hello"], "delivery")
    assert len(post.tries()) == 1


def test_a_mailbox_that_was_never_collected_costs_nothing(post: Post) -> None:
    box = post.mailbox()
    (box.path / "new").rmdir()
    with post.delivering():
        time.sleep(0.3)
        assert post.state(box) == {}
        (box.path / "new").mkdir()
        post.put(box, MESSAGE)
        wait_until(lambda: post.taken(), "delivery")


def test_a_damaged_list_of_mailboxes_is_named_and_nothing_goes_out(post: Post) -> None:
    box = post.mailbox()
    path = spool.beside(post.spool, "mailboxes.json")
    good = path.read_bytes()
    path.write_bytes(good[:-5])
    post.put(box, MESSAGE)
    with post.delivering():
        wait_until(lambda: "is damaged" in str(post.told().get("problem")), "the problem")
        path.write_bytes(good)
        wait_until(lambda: post.taken(), "delivery")


def test_a_spool_that_others_may_write_is_not_delivered_from(post: Post) -> None:
    box = post.mailbox()
    post.spool.chmod(0o777)
    post.put(box, MESSAGE)
    with post.delivering():
        wait_until(lambda: "can write" in str(post.told().get("problem")), "the problem")
        assert post.tries() == []
        post.spool.chmod(0o700)
        wait_until(lambda: post.taken(), "delivery")


def test_a_disk_that_takes_no_state_stops_no_delivery(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    box = post.mailbox()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    post.put(box, MESSAGE)
    monkeypatch.setattr(spool, "write", full)
    with post.delivering():
        wait_until(lambda: post.kept(box), "delivery")
    assert len(post.tries()) == 1


def test_mail_that_was_delivered_and_cannot_be_filed_is_not_delivered_again(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = post.mailbox()
    names = post.put(box, letter("one"), letter("two"))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", names[0])

    with post.delivering():
        with monkeypatch.context() as patch:
            patch.setattr(spool, "move", full)
            wait_until(lambda: "no space left" in str(post.state(box).get("problem")), "the problem")
            time.sleep(0.5)  # ten times the delay of a try
        wait_until(lambda: post.kept(box) == names, "both")
        wait_until(lambda: post.state(box)["problem"] == "", "the end of the problem")
    assert post.taken() == ["one", "two"] and len(post.tries()) == 2


def test_a_message_that_may_be_read_and_not_changed_goes_out_once(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = post.mailbox()

    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    names = post.put(box, letter("one"))
    monkeypatch.setattr("os.utime", refused)
    post.deliver_all(box)
    assert post.kept(box) == names and len(post.tries()) == 1


def test_many_files_of_others_hold_nothing_up(post: Post) -> None:
    box = post.mailbox()
    for number in range(50):
        (box.path / "new" / f"{number}.planted").symlink_to("/etc/hostname")
    post.put(box, letter("mine"))
    with post.delivering():
        wait_until(lambda: post.taken() == ["mine"], "delivery")
        wait_until(lambda: "is not a file" in str(post.state(box).get("problem")), "the problem")


def test_a_file_that_its_owner_holds_by_a_lease_holds_nothing_up(post: Post) -> None:
    box = post.mailbox()
    planted = box.path / "new" / "0000000000.M1P1Q1R00000000.planted"
    with planted.open("wb") as file:
        fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGWINCH)  # says that somebody wants it, and is ignored
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        post.put(box, letter("mine"))
        with post.delivering():
            wait_until(lambda: post.taken() == ["mine"], "delivery")
            wait_until(lambda: "is held by another" in str(post.state(box).get("problem")), "the problem")


@pytest.mark.parametrize("folder", ["sent", "aside"])
def test_a_folder_in_the_place_of_a_delivered_message_holds_nothing_up(post: Post, folder: str) -> None:
    box = post.mailbox()
    post.rules("first=65" if folder == "aside" else "")
    first, last = post.put(box, letter("first"), letter("last"))
    (spool.beside(post.spool, box.path.name, folder) / first).mkdir()
    with post.delivering():
        wait_until(lambda: last in post.kept(box), "the last")
        wait_until(lambda: "A folder named" in str(post.state(box).get("problem")), "the problem")
    assert post.waiting(box) == [first] and len(post.tries()) == 2


def test_a_file_of_others_behind_a_bad_message_keeps_it_from_nothing(post: Post) -> None:
    box = post.mailbox()
    post.rules("bad=1")
    bad, last = post.put(box, letter("bad"), letter("last"))
    planted = f"{bad.partition('.')[0]}.M999999P1Q1R00000000.planted"
    (box.path / "new" / last).rename(box.path / "new" / last.replace(last.split(".")[0], "9" * 10, 1))
    (box.path / "new" / planted).symlink_to("/etc/hostname")
    with post.delivering():
        wait_until(lambda: post.kept(box, "aside") == [bad], "aside")
    assert post.taken() == ["last"]
    assert post.tries().count(delivery_id(box.path.name, bad)) == FAST.tries + 1


def test_another_target_that_is_chosen_gets_all_mail_from_the_next_message_on(post: Post) -> None:
    box = post.mailbox()
    go_on = shlex.quote(str(post.directory / "go on"))
    held = json.dumps(
        ["/bin/sh", "-c", f"{shlex.join(post.command)}; until [ -e {go_on} ]; do sleep 0.05; done"]
    )
    post.targets(f"helpdesk = {{ type = 'command', command = {held} }}")
    first, *_ = post.put(box, *(letter(str(number)) for number in range(5)))
    with post.delivering() as deliverer:
        wait_until(lambda: post.tries(), "the first")
        post.choose(box.path.name, "support@example.org", "maildir")
        wait_until(lambda: deliverer._queues[box.path.name].chosen == "maildir", "the choice")
        (post.directory / "go on").touch()
        wait_until(lambda: post.kept(box) == [first], "its end")
        time.sleep(0.5)
    assert len(post.tries()) == 1 and len(post.waiting(box)) == 4


def test_a_mailbox_that_is_restored_while_its_mail_is_under_way_sends_it_once(post: Post) -> None:
    box = post.mailbox()
    slow = json.dumps(["/bin/sh", "-c", f"{shlex.join(post.command)}; sleep 1.5"])
    post.targets(f"helpdesk = {{ type = 'command', command = {slow} }}")
    post.put(box, letter("one"))
    listed, mailboxes = spool.beside(post.spool, "mailboxes.json"), dict(post.mailboxes)
    with post.delivering() as deliverer:
        wait_until(lambda: post.tries(), "the first")
        spool.write(listed, {}, 0o600)
        wait_until(lambda: not deliverer._queues, "the removal")
        spool.write(listed, mailboxes, 0o600)
        wait_until(lambda: post.kept(box), "delivery")
    assert len(post.tries()) == 1


def test_a_targets_file_that_goes_away_is_named_in_a_sentence(post: Post) -> None:
    post.mailbox()
    with post.delivering():
        wait_until(lambda: post.told(), "the first report")
        post.targets_file.unlink()
        wait_until(lambda: post.told().get("problem"), "the problem")
        assert post.told()["problem"] == f"{post.targets_file} cannot be used: no such file or directory."


def test_mailboxes_that_wait_for_a_thread_do_not_all_try_a_target_that_has_gone_down(post: Post) -> None:
    boxes = [post.mailbox(f"{number}@example.org") for number in range(30)]
    post.rules("Subject=75")
    for box in boxes:
        post.put(box, letter("waits"))
    with post.delivering(replace(FAST, down_delays=(60.0,))):
        wait_until(lambda: post.told().get("targets", {}).get("helpdesk", {}).get("since"), "failures")
        time.sleep(2)
        assert len(post.tries()) <= PARALLEL + 2


def test_mail_waits_for_no_removal_of_old_mail(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    box, begun, go_on = post.mailbox(), threading.Event(), threading.Event()

    def slow(*_: object) -> None:
        begun.set()
        go_on.wait(60)

    monkeypatch.setattr(spool, "remove_older", slow)
    with post.delivering():
        assert begun.wait(60)
        time.sleep(0.5)  # the first look is over, but for that
        post.put(box, letter("one"))
        wait_until(lambda: post.taken() == ["one"], "delivery")
        go_on.set()
