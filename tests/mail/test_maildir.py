"""A message is in the Maildir whole or not at all."""

from __future__ import annotations

import grp
import mailbox
import os
import resource
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from panel.errors import SpoolError
from panel.mail.maildir import Maildir

MESSAGE = b"Subject: hello\r\n\r\nBody with a byte outside ASCII: \xff\r\n"


@pytest.fixture
def maildir(tmp_path: Path) -> Maildir:
    made = Maildir(tmp_path / "mail" / "account")
    made.create()
    return made


def deliver(maildir: Maildir) -> str:
    name = maildir.unique_name(len(MESSAGE), 7)
    maildir.write(name, MESSAGE)
    maildir.sync_tmp()
    maildir.publish([name])
    maildir.sync_new()
    return name


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_message_arrives_byte_for_byte(maildir: Maildir) -> None:
    name = deliver(maildir)
    assert (maildir.path / "new" / name).read_bytes() == MESSAGE
    assert not (maildir.path / "tmp" / name).exists()


def test_other_programs_can_read_it_as_a_maildir(maildir: Maildir) -> None:
    deliver(maildir)
    (message,) = mailbox.Maildir(maildir.path)
    assert message["Subject"] == "hello"


def test_what_is_only_written_is_not_delivered(maildir: Maildir) -> None:
    name = maildir.unique_name(len(MESSAGE), 7)
    maildir.write(name, MESSAGE)
    assert (maildir.path / "tmp" / name).exists()
    assert not os.listdir(maildir.path / "new")


def test_publishing_twice_delivers_once(maildir: Maildir) -> None:
    name = deliver(maildir)
    maildir.publish([name])
    assert os.listdir(maildir.path / "new") == [name]


def test_a_delivered_message_that_somebody_took_does_not_come_back(maildir: Maildir) -> None:
    name = deliver(maildir)
    (maildir.path / "new" / name).unlink()
    maildir.publish([name])
    assert os.listdir(maildir.path / "new") == []


def test_ten_thousand_names_are_ten_thousand_different_ones(maildir: Maildir) -> None:
    names = {maildir.unique_name(1, 7) for _ in range(10_000)}
    assert len(names) == 10_000
    assert not any("/" in name or ":" in name for name in names)


def test_without_a_group_only_the_owner_gets_in(maildir: Maildir) -> None:
    name = deliver(maildir)
    assert mode(maildir.path) == 0o700
    assert {mode(maildir.path / folder) for folder in ("tmp", "new", "cur")} == {0o700}
    assert mode(maildir.path / "new" / name) == 0o600


def test_with_a_group_its_members_may_take_the_mail_whatever_the_umask(tmp_path: Path) -> None:
    group = grp.getgrgid(os.getgid())
    old = os.umask(0o077)
    try:
        maildir = Maildir(tmp_path / "account", group.gr_name)
        maildir.create()
        name = deliver(maildir)
    finally:
        os.umask(old)
    assert mode(maildir.path / "new") == 0o2770
    assert mode(maildir.path / "new" / name) == 0o660
    assert (maildir.path / "new" / name).stat().st_gid == group.gr_gid


def test_the_first_rounds_of_a_new_install_make_the_spool_together(tmp_path: Path) -> None:
    for number in range(100):
        together = threading.Barrier(4)

        def make(name: str, number: int = number, together: threading.Barrier = together) -> None:
            together.wait()
            Maildir(tmp_path / f"spool {number}" / name).create()

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(make, "abcd"))


def test_an_unknown_group_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpoolError, match="no Unix group no-such-group"):
        Maildir(tmp_path / "account", "no-such-group").create()


def test_cleaning_removes_leftovers_and_keeps_what_it_is_told(maildir: Maildir) -> None:
    kept, left = maildir.unique_name(1, 7), maildir.unique_name(1, 8)
    maildir.write(kept, b"1")
    maildir.write(left, b"2")
    maildir.clean({kept})
    assert os.listdir(maildir.path / "tmp") == [kept]


def test_a_name_in_use_is_never_overwritten(maildir: Maildir) -> None:
    maildir.write("name", b"first")
    with pytest.raises(SpoolError):
        maildir.write("name", b"second")
    assert (maildir.path / "tmp" / "name").read_bytes() == b"first"


def test_a_vanished_maildir_is_an_error_that_names_it(tmp_path: Path) -> None:
    maildir = Maildir(tmp_path / "gone")
    with pytest.raises(SpoolError, match="gone"):
        maildir.write("name", b"")
    with pytest.raises(SpoolError, match="gone"):
        maildir.publish(["name"])


def test_a_disk_that_takes_no_more_is_an_error_and_leaves_no_half_file(maildir: Maildir) -> None:
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, old[1]))
    try:
        with pytest.raises(SpoolError, match="cannot be written"):
            maildir.write("name", bytes(10_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert os.listdir(maildir.path / "tmp") == []
