"""Promises of `flask backup create`: one consistent moment while everything runs, nothing secret, whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import stat
import subprocess
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from panel import db, durable
from panel.audit import Actor
from panel.backup import create
from panel.errors import Refused
from panel.models import Activity, Person, Session, SignInTry
from panel.vault import turn_on, unfinished
from tests.backup.conftest import House, judge, make
from tests.encryption.conftest import in_process
from tests.installs import BOTH
from tests.running import find_marker

AUTHORIZATION_FILE = "marker-Xq7vT2mkEw-password"

SAVING = """
import itertools, sys
print("begun", flush=True)
for turn in itertools.count():
    for endpoint in Endpoint.select():
        endpoint.secret = Secret(f"password number {turn}")
        endpoint.save()
"""
ROTATING = """
print("begun", flush=True)
while True:
    rotation.rotate(vault, actor)
    unfinished.resume(vault)
"""


def tables(path: Path) -> Callable[[str], list[tuple[object, ...]]]:
    def query(sql: str) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(path)) as found:
            return found.execute(sql).fetchall()

    return query


def test_every_backup_made_while_passwords_are_saved_and_the_key_changes_is_whole_and_opens(
    house: House, tmp_path: Path
) -> None:
    for _ in range(30):
        house.add()
    house.enable()
    dest = tmp_path / "backups"
    dest.mkdir()
    others = [in_process(house, code) for code in (SAVING, ROTATING)]
    try:
        for other in others:
            assert other.stdout and other.stdout.readline() == "begun\n"
        keys: set[bytes] = set()
        for number in range(200):  # until the others had their turn, on a busy machine too
            make(house, dest / f"{number}.db")
            keys.add(house.key_file.read_bytes())
            if number >= 11 and len(keys) > 3:  # a backup was made after the first change had ended
                break
    finally:
        for other in others:
            other.kill()
            other.wait()
    report = judge(house, dest)
    assert report.problems == []
    assert len(report.databases) == number + 1
    assert all(found.intact and found.sealed == found.opened == 30 for found in report.databases)
    assert len({key for found in report.databases for key in found.keys}) > 1, "no key was changed meanwhile"


def test_right_after_turning_on_there_is_no_password_no_key_and_no_secret_key_in_it(
    house: House, tmp_path: Path
) -> None:
    for number in range(100):
        house.add(f"{AUTHORIZATION_FILE} {number}")
    turn_on.turn_on(house.vault, BOTH, Actor())
    while house.sql("SELECT 1 FROM endpoint WHERE clear IS NOT NULL"):
        unfinished.resume(house.vault)
    dest = tmp_path / "backups"
    dest.mkdir()
    made = make(house, dest)
    assert (made.sealed, made.clear) == (100, 0)
    assert find_marker(dest, AUTHORIZATION_FILE) == []
    content = made.path.read_bytes()
    assert all(key.material not in content for key in house.keystore.read().keys)  # type: ignore[union-attr]
    assert (house.data / "secret-key").read_bytes().strip() not in content


def test_old_values_in_free_pages_of_the_original_do_not_come_along(house: House, tmp_path: Path) -> None:
    house.sql("PRAGMA secure_delete = off")
    house.add(AUTHORIZATION_FILE)
    house.sql("UPDATE endpoint SET clear = NULL, sealed = randomblob(100)")
    assert find_marker(house.data, AUTHORIZATION_FILE)
    dest = tmp_path / "backups"
    dest.mkdir()
    make(house, dest / "one.db")
    assert find_marker(dest, AUTHORIZATION_FILE) == []


def test_who_is_signed_in_and_who_tried_is_left_out_without_a_trace(house: House, tmp_path: Path) -> None:
    person = Person.create(
        email="ada@example.org", name="Ada", role="admin", login_hash="x", created_at=db.now()
    )
    for number in range(50):
        Session.create(
            token_hash=f"session-marker-{number}".encode(), person=person, created_at=1, seen_at=1,
            address="10.9.8.7", agent="Agent-Marker-of-a-Browser",
        )  # fmt: skip
        SignInTry.create(who=f"address:198.51.100.{number}", at=1)
    made = make(house, tmp_path / "one.db")
    query = tables(made.path)
    assert query("SELECT count(*) FROM session") == query("SELECT count(*) FROM sign_in_try") == [(0,)]
    assert query("SELECT email FROM person") == [("ada@example.org",)]
    content = made.path.read_bytes()
    assert not any(mark in content for mark in (b"session-marker", b"Agent-Marker", b"198.51.100."))
    assert Session.select().count() == 50, "the original keeps them"


def test_it_is_private_has_no_files_beside_it_and_stands_in_activity(house: House, tmp_path: Path) -> None:
    dest = tmp_path / "backups"
    dest.mkdir()
    made = make(house, dest)
    assert os.listdir(dest) == [made.path.name]
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
    assert made.path.name.startswith("mailkeep-20")
    assert made.path.suffix == ".db"
    told = Activity.get(Activity.what == "database backup created")
    assert (told.subject, told.who) == (made.path.name, "admin@example.org")


def test_it_is_no_file_of_a_write_ahead_log_so_reading_it_leaves_nothing_beside_it(
    house: House, tmp_path: Path
) -> None:
    made = make(house, tmp_path / "one.db")
    assert tables(made.path)("PRAGMA journal_mode") == [("delete",)]


# -- where it may go -----------------------------------------------------------------


def refusals(house: House, tmp_path: Path) -> dict[str, tuple[Path, str]]:
    (tmp_path / "there.db").write_text("mine")
    (tmp_path / "link.db").symlink_to(tmp_path / "there.db")
    (tmp_path / "dangling.db").symlink_to(tmp_path / "nowhere.db")
    (tmp_path / "to-data").symlink_to(house.data)
    house.settings.mail_spool.mkdir(exist_ok=True)
    return {
        "a name that is taken": (tmp_path / "there.db", "never overwrites"),
        "a link": (tmp_path / "link.db", "never overwrites"),
        "a link to nothing": (tmp_path / "dangling.db", "never overwrites"),
        "no directory": (tmp_path / "none/one.db", "mkdir"),
        "a name without .db": (tmp_path / "backups", "ends in .db"),
        "the data directory": (house.data, "data directory"),
        "a link to it": (tmp_path / "to-data/one.db", "data directory"),
        "the spool": (house.settings.mail_spool / "one.db", "data directory"),
    }


def test_a_place_that_will_not_do_is_refused_and_nothing_is_changed(house: House, tmp_path: Path) -> None:
    for what, (dest, says) in refusals(house, tmp_path).items():
        before = sorted(os.listdir(tmp_path))
        with pytest.raises(Refused) as refused:
            make(house, dest)
        assert says in str(refused.value), what
        assert sorted(os.listdir(tmp_path)) == before, what
    assert (tmp_path / "there.db").read_text() == "mine"
    assert not (tmp_path / "nowhere.db").exists()


def test_it_is_refused_beside_a_key_file_that_lies_elsewhere(house: House, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    with pytest.raises(Refused, match="key file lies in"):
        create.create(replace(house.settings, key_file=keys / "key.bin"), keys, Actor())


FULL = """
import resource
from pathlib import Path
from panel.backup import create
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
try:
    create.create(s, Path(sys.argv[2]), actor)
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("room", [0, 4096, 65536])
def test_a_full_disk_is_named_and_leaves_nothing(house: House, tmp_path: Path, room: int) -> None:
    dest = tmp_path / "backups"
    dest.mkdir()
    said = in_process(house, FULL, str(dest / "one.db"), str(room)).communicate()[0]
    assert "Refused The backup could not be written to" in said
    assert str(dest) in said
    assert os.listdir(dest) == []


@pytest.mark.parametrize("trouble", ["full", "too small", "read-only"])
def test_a_real_disk_that_takes_no_backup_is_named_with_the_reason_and_left_as_it_was(
    house: House, small_disk: Path, cli: Callable[..., subprocess.CompletedProcess[str]], trouble: str
) -> None:
    house.add(AUTHORIZATION_FILE)
    house.enable()
    if trouble == "full":
        (small_disk / "filler").write_bytes(bytes(16384))
    elif trouble == "read-only":
        subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    before, content = sorted(os.listdir(small_disk)), dump(house)
    for dest in (small_disk / "one.db", small_disk):
        done = cli("backup", "create", str(dest))
        assert (done.returncode, done.stdout) == (3, ""), dest
        assert f"could not be written to {small_disk}" in done.stderr
        assert ("read-only file system" if trouble == "read-only" else "full") in done.stderr
        assert "Make room there, correct the permissions or mount it writable" in done.stderr
        assert sorted(os.listdir(small_disk)) == before
    assert dump(house) == content


def dump(house: House) -> list[str]:
    """All that the database holds, as SQL."""
    with closing(sqlite3.connect(house.data / "panel.db")) as database:
        return list(database.iterdump())


# -- without hard links ----------------------------------------------------------------


@pytest.fixture(params=[errno.EPERM, errno.ENOTSUP, errno.ENOSYS])
def no_links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, backups go to a file system such as vfat."""
    real = os.link

    def link(source: Path, path: Path) -> None:
        if path.suffix == ".db":
            raise OSError(request.param, os.strerror(request.param))
        real(source, path)

    monkeypatch.setattr(os, "link", link)


@pytest.mark.usefixtures("no_links")
def test_without_hard_links_a_backup_is_made_just_so(house: House, tmp_path: Path) -> None:
    house.add()
    house.enable()
    dest = tmp_path / "backups"
    dest.mkdir()
    made = make(house, dest / "one.db")
    assert os.listdir(dest) == ["one.db"]
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
    (found,) = judge(house, dest).databases
    assert (found.intact, found.sealed, found.opened) == (True, 1, 1)


@pytest.mark.usefixtures("no_links")
@pytest.mark.parametrize("who", ["a file", "a link to nothing"])
def test_without_hard_links_a_file_that_comes_while_the_backup_is_made_is_not_overwritten(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    dest = tmp_path / "backups"
    dest.mkdir()
    link = os.link

    def comes_first(*arguments: object) -> None:
        if who == "a file":
            (dest / "one.db").write_text("somebody else's")
        else:
            (dest / "one.db").symlink_to(tmp_path / "nowhere.db")
        link(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "link", comes_first)
    with pytest.raises(Refused, match="never overwrites"):
        make(house, dest / "one.db")
    assert os.listdir(dest) == ["one.db"]
    if who == "a file":
        assert (dest / "one.db").read_text() == "somebody else's"
    assert not (tmp_path / "nowhere.db").exists()


@pytest.mark.usefixtures("no_links")
def test_without_hard_links_a_rename_that_fails_leaves_nothing(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuses_last_step(house, tmp_path, monkeypatch, Path, "rename")


def test_where_the_name_cannot_be_made_durable_nothing_is_left(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuses_last_step(house, tmp_path, monkeypatch, durable, "sync_directory")


def refuses_last_step(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: object, name: str
) -> None:
    def fails(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    dest = tmp_path / "backups"
    dest.mkdir()
    monkeypatch.setattr(owner, name, fails)
    with pytest.raises(Refused, match=r"could not be written .*input/output error"):
        make(house, dest / "one.db")
    assert os.listdir(dest) == []
    assert Activity.select().where(Activity.what == "database backup created").count() == 0


def test_the_empty_file_that_a_kill_leaves_without_hard_links_is_judged_to_be_no_backup(
    house: House, tmp_path: Path
) -> None:
    (tmp_path / "one.db").touch()
    assert judge(house, tmp_path / "one.db").problems == [
        "Nothing of Mailkeep is in it: no database and no key."
    ]


# -- killed --------------------------------------------------------------------------

KILLED = """
import os, signal
from pathlib import Path
from panel.backup import create
real = getattr(create, sys.argv[3])
def dies(*arguments):
    if sys.argv[4] == "after":
        real(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(create, sys.argv[3], dies)
create.create(s, Path(sys.argv[2]), actor)
"""


@pytest.mark.parametrize(
    ("step", "when", "done"),
    [
        ("_finish", "before", False),
        ("_verified", "before", False),
        ("_name", "before", False),
        ("_name", "after", True),
    ],
)
def test_killed_at_any_step_the_name_is_free_or_holds_the_whole_backup(
    house: House, tmp_path: Path, step: str, when: str, done: bool
) -> None:
    house.add()
    dest = tmp_path / "backups"
    dest.mkdir()
    other = in_process(house, KILLED, str(dest / "one.db"), step, when)
    assert other.wait() == -9, other.communicate()[0]
    assert (dest / "one.db").exists() is done
    if done:
        assert judge(house, dest / "one.db").databases[0].intact
    left = [path for path in dest.iterdir() if path.name != "one.db"]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in left)
    make(house, dest / "two.db")
    for path in left:
        os.utime(path, (0, 0))  # a day later
    make(house, dest / "three.db")
    assert {path.suffix for path in dest.iterdir()} == {".db"}


# -- in the shell ----------------------------------------------------------------------


def test_in_the_shell_any_name_is_taken_and_clear_passwords_are_counted_aloud(
    house: House, tmp_path: Path, cli: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    house.add()
    name = str(tmp_path / "--mit Umlaut ä und Leerzeichen.db")
    done = cli("backup", "create", "--json", "--", name)
    told = json.loads(done.stdout)
    assert (done.returncode, told["path"], told["passwords"]) == (0, name, {"sealed": 0, "clear": 1})
    assert "WARNING: 1 password in clear text in this backup" in done.stderr
    house.enable()
    done = cli("backup", "create", str(tmp_path / "two.db"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "Passwords in it: 1 encrypted and 0 in clear text" in done.stdout
    again = cli("backup", "create", str(tmp_path / "two.db"))
    assert (again.returncode, "never overwrites" in again.stderr) == (3, True)


def test_while_turning_on_is_under_way_the_warning_says_what_to_do(
    house: House, tmp_path: Path, cli: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    house.add()
    house.add()
    house.enable()
    house.sql("UPDATE endpoint SET sealed = NULL, clear = 'planted value' WHERE id = 1")
    done = cli("backup", "create", str(tmp_path / "one.db"))
    assert done.returncode == 0
    assert "1 password in clear" in done.stderr
    assert "flask encryption resume" in done.stderr
