"""Promises of `flask backup check`: told by content, looked into without unpacking, both together is a problem."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import shutil
import sqlite3
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from panel import db
from panel.audit import Actor
from panel.backup import contents
from panel.backup.contents import CheckReport
from panel.crypto.keyfile import KeyFile, fingerprint
from panel.errors import BadInput
from panel.vault import sweep, turn_off, turn_on, unfinished
from tests.backup.conftest import House, judge, make
from tests.encryption.conftest import in_process
from tests.installs import BOTH
from tests.running import PanelServer, wait_until


@pytest.fixture
def on(house: House) -> House:
    for _ in range(3):
        house.add()
    house.enable()
    return house


def tell(report: CheckReport) -> str:
    return " | ".join((*report.problems, *report.warnings))


def key_of(house: House) -> KeyFile:
    file = house.keystore.read()
    assert file is not None
    return file


def packed(kind: str, target: Path, *files: Path) -> Path:
    if kind == "zip":
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in files:
                archive.write(file, f"a folder/{file.name}")
        return target
    with tarfile.open(target, f"w:{kind}") as archive:  # type: ignore[call-overload]
        for file in files:
            archive.add(file, f"a folder/{file.name}")
    return target


KINDS = ("", "gz", "bz2", "xz", "zip")


# -- what is in it ---------------------------------------------------------------------


def test_a_good_backup_says_whose_it_is_how_many_passwords_and_under_which_key(
    on: House, tmp_path: Path
) -> None:
    made = make(on, tmp_path / "one.db")
    report = judge(on, made.path)
    (found,) = report.databases
    assert (report.problems, report.warnings) == ([], [])
    assert (found.mailboxes, found.sealed, found.clear, found.opened) == (3, 3, [], 3)
    assert found.keys == {fingerprint(key_of(on).primary.id): 3}
    assert found.made_at == made.made_at
    assert found.instance == key_of(on).instance_id.hex()


@pytest.mark.parametrize("kind", KINDS)
def test_key_and_database_in_one_archive_is_a_problem_and_the_database_alone_is_none(
    on: House, tmp_path: Path, kind: str
) -> None:
    made = make(on, tmp_path / "one.db")
    good = judge(on, packed(kind, tmp_path / "good", made.path))
    assert good.problems == []
    assert good.databases[0].opened == 3
    renamed = tmp_path / "holiday.jpg"
    shutil.copy(on.key_file, renamed)
    bad = judge(on, packed(kind, tmp_path / "bad", renamed, made.path))
    assert "Key and database lie together" in bad.problems[0]
    assert "holiday.jpg" in bad.problems[0]
    assert bad.keys[0].fingerprints == [fingerprint(key_of(on).primary.id)]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_single_packed_database_is_read_too(
    on: House, tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    made = make(on, tmp_path / "one.db")
    (tmp_path / "packed").write_bytes(pack(made.path.read_bytes()))
    report = judge(on, tmp_path / "packed")
    assert (report.problems, report.databases[0].opened) == ([], 3)


def damaged(data: bytes) -> bytes:
    return data[:60] + bytes([data[60] ^ 1]) + data[61:]


DISGUISES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "damaged": (damaged, "damaged"),
    "cut short": (lambda data: data[:50], "damaged"),
    "DOS to Unix": (lambda data: data.replace(b"\r\n", b"\n"), "converted"),
    "Unix to DOS": (lambda data: data.replace(b"\n", b"\r\n"), "converted"),
    "as Latin-1 turned into UTF-8": (lambda data: data.decode("latin-1").encode(), "converted"),
    "inside": (lambda data: b"\0" * (contents.CHUNK - 5) + data + b"more", "intact"),
}


@pytest.mark.parametrize("how", DISGUISES)
def test_a_key_file_that_is_not_as_it_was_still_counts_as_one(on: House, tmp_path: Path, how: str) -> None:
    change, state = DISGUISES[how]
    place = tmp_path / "place"
    place.mkdir()
    make(on, place)
    (place / "notes.txt").write_bytes(change(on.key_file.read_bytes()))
    report = judge(on, place)
    assert state in [key.state for key in report.keys]
    assert "notes.txt" in report.problems[0]


def test_a_retired_copy_counts_as_a_key(on: House, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    make(on, place)
    turn_off.turn_off(on.vault, Actor(), in_shell=True)
    unfinished.resume(on.vault)
    (copy,) = on.data.glob("encryption-key.retired-*.bin")
    shutil.copy(copy, place)
    assert "lie together" in judge(on, place).problems[0]


def test_the_code_of_mailkeep_is_taken_for_neither_key_nor_database(on: House, tmp_path: Path) -> None:
    place = tmp_path / "code"
    shutil.copytree("panel", place)
    report = judge(on, place)
    assert (report.keys, report.databases, report.dumps) == ([], [], [])
    assert "Nothing of Mailkeep" in report.problems[0]


def test_a_key_alone_is_no_problem_and_is_named(on: House, tmp_path: Path) -> None:
    shutil.copy(on.key_file, tmp_path / "copy")
    report = judge(on, tmp_path / "copy")
    assert report.problems == []
    assert (report.keys[0].state, report.keys[0].fingerprints) == (
        "intact",
        [fingerprint(key_of(on).primary.id)],
    )


def test_a_dump_beside_the_key_is_a_database_too(on: House, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    made = make(on, tmp_path / "one.db")
    with sqlite3.connect(made.path) as found:
        (place / "dump.sql").write_text("\n".join(found.iterdump()))
    found.close()
    shutil.copy(on.key_file, place)
    assert "dump.sql" in judge(on, place).problems[0]


def test_passwords_in_clear_are_named_by_their_accounts(house: House, tmp_path: Path) -> None:
    house.add()
    make(house, tmp_path / "one.db")
    report = judge(house, tmp_path / "one.db")
    assert report.problems == []
    assert "1 password in clear text" in report.warnings[0]
    house.enable()
    assert "0@example.org" in judge(house, tmp_path / "one.db").problems[0]


def test_an_online_copy_that_holds_old_passwords_in_free_pages_is_found_out(
    house: House, tmp_path: Path
) -> None:
    house.sql("PRAGMA secure_delete = off")
    for number in range(50):
        house.add(f"a password of some length {number}")
    turn_on.turn_on(house.vault, BOTH, Actor())
    sweep.run(house.vault)  # without the scrub
    source, target = sqlite3.connect(house.data / "panel.db"), sqlite3.connect(tmp_path / "copy.db")
    source.backup(target)
    source.close()
    target.close()
    report = judge(house, tmp_path / "copy.db")
    assert report.databases[0].left_over > 0
    assert "pages that are no longer used" in tell(report)


def test_another_key_another_install_and_an_edited_record_are_told_apart(on: House, tmp_path: Path) -> None:
    made = make(on, tmp_path / "one.db")
    edited = tmp_path / "edited.db"
    shutil.copy(made.path, edited)
    with sqlite3.connect(edited) as found:
        found.execute("UPDATE endpoint SET host = 'evil.example.org' WHERE id = 1")
    found.close()
    assert "1 of 3 encrypted passwords cannot be decrypted" in tell(judge(on, edited))
    on.key_file.write_bytes(KeyFile.generate(key_of(on).instance_id).to_bytes())
    report = judge(on, made.path)
    assert report.databases[0].opened == 0
    assert "does not hold" in tell(report)
    with sqlite3.connect(edited) as found:
        found.execute("UPDATE encryption SET instance_id = randomblob(16)")
    found.close()
    assert "another install" in tell(judge(on, edited))


def test_a_damaged_database_is_named(on: House, tmp_path: Path) -> None:
    made = make(on, tmp_path / "one.db")
    data = bytearray(made.path.read_bytes())
    data[8192:60000] = os.urandom(60000 - 8192)
    (tmp_path / "bad.db").write_bytes(data)
    assert "is damaged" in judge(on, tmp_path / "bad.db").problems[0]


def test_a_plain_copy_with_its_log_is_read_with_what_the_log_holds(on: House, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    on.add()  # in the log alone
    for end in ("", "-wal"):
        shutil.copy(on.data / f"panel.db{end}", place)
    assert judge(on, place).databases[0].mailboxes == 4
    assert sorted(os.listdir(place)) == ["panel.db", "panel.db-wal"]


# -- what somebody else may have put there ------------------------------------------------


def bomb(path: Path) -> None:
    with gzip.open(path, "wb") as file:
        for _ in range(200):
            file.write(bytes(1 << 20))


def zip_bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(100 << 20))


def sparse_member(path: Path) -> None:
    """A tar that claims eight gigabytes in one member, and packs them well."""
    member = tarfile.TarInfo("huge")
    member.size = 8 << 30
    with gzip.open(path, "wb") as file:
        file.write(member.tobuf())
        for _ in range(100):
            file.write(bytes(1 << 20))


def cut(path: Path) -> None:
    data = gzip.compress(os.urandom(100_000))
    path.write_bytes(data[:50_000])


def wrong_sum(path: Path) -> None:
    """A packed tar whose sum, which stands behind all that is in it, is another one."""
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("empty"))
    data = bytearray(path.read_bytes())
    data[-6] ^= 1
    path.write_bytes(data)


def zeros_behind_a_tar(path: Path) -> None:
    with gzip.open(path, "wb") as file:
        file.write(tarfile.TarInfo("empty").tobuf() + bytes(1024))
        for _ in range(100):
            file.write(bytes(1 << 20))


def empty_zip_entries(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("one", b"content")
    data = path.read_bytes()
    path.write_bytes(data[:-10])


@pytest.mark.parametrize(
    "make_it", [bomb, zip_bomb, sparse_member, cut, wrong_sum, zeros_behind_a_tar, empty_zip_entries]
)
def test_bombs_and_broken_archives_end_with_a_plain_sentence_and_leave_nothing(
    on: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_it: Callable[[Path], None]
) -> None:
    room = tmp_path / "tmp"
    room.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(room))
    make_it(tmp_path / "archive")
    report = judge(on, tmp_path / "archive")
    assert "cannot be read to its end" in report.problems[0]
    assert os.listdir(room) == []


def test_members_that_lead_out_links_and_devices_write_and_follow_nothing(on: House, tmp_path: Path) -> None:
    made = make(on, tmp_path / "one.db")
    with tarfile.open(tmp_path / "odd.tar", "w") as archive:
        for name in ("/etc/absolute", "../../up", "bad\x1b[31mname"):
            info = tarfile.TarInfo(name)
            info.size = 4
            archive.addfile(info, io.BytesIO(b"text"))
        for number, kind in enumerate((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(f"special{number}")
            info.type, info.linkname = kind, str(on.key_file)
            archive.addfile(info)
        archive.add(made.path, "one.db")
    report = judge(on, tmp_path / "odd.tar")
    assert report.problems == []
    assert (report.files, report.keys) == (5, [])


def test_links_and_pipes_in_a_directory_are_not_followed(on: House, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    make(on, place)
    (place / "key").symlink_to(on.key_file)
    (place / "data").symlink_to(on.data)
    os.mkfifo(place / "pipe")
    report = judge(on, place)
    assert (report.problems, report.files) == ([], 1)


def test_an_archive_in_an_archive_is_not_looked_into_and_named_but_a_key_in_it_is_seen(
    on: House, tmp_path: Path
) -> None:
    made = make(on, tmp_path / "one.db")
    inner = packed("gz", tmp_path / "inner.tgz", on.key_file)
    report = judge(on, packed("", tmp_path / "outer.tar", made.path, inner))
    assert "inner.tgz was not looked into" in tell(report)
    plain = packed("", tmp_path / "plain.tar", on.key_file)
    assert "lie together" in judge(on, packed("gz", tmp_path / "outer.tgz", made.path, plain)).problems[0]


def test_a_path_that_is_none_is_refused(on: House, tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", Path("/dev/null")):
        with pytest.raises(BadInput):
            judge(on, path)


# -- the live data directory ---------------------------------------------------------------


def test_the_live_data_directory_is_looked_at_and_no_commit_is_lost(
    house: House, panel_server: PanelServer, cli: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    house.add()
    house.enable()
    for _ in range(2):
        done = cli("backup", "check", str(house.data))
        assert done.returncode == 1
        assert "the running install, not a backup" in done.stdout
        house.add()
    found = json.loads(cli("backup", "check", "--json", str(house.data)).stdout)
    (live,) = [each for each in found["databases"] if each["live"]]
    assert (live["intact"], live["mailboxes"], live["opened"]) == (True, 3, 3)
    panel_server.kill()
    wait_until(lambda: not panel_server.answers(), "the web processes to be gone")
    assert len(json.loads(cli("accounts", "list", "--json").stdout)) == 3
    assert house.sql("PRAGMA integrity_check") == [("ok",)]


def test_the_process_that_asks_keeps_its_locks_while_another_one_looks(house: House) -> None:
    """The trap: reading the file's bytes here would drop the lock of this open transaction."""
    house.add()
    with db.transaction():
        house.sql("UPDATE account SET interval = 61")
        judge(house, house.data)
        code = "db.database.execute_sql('PRAGMA busy_timeout = 100')\ndb.database.execute_sql('UPDATE account SET interval = 62')"
        assert "locked" in in_process(house, code).communicate()[0]
    assert house.sql("SELECT interval FROM account") == [(61,)]
