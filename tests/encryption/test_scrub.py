"""Promises about old copies: removed, looked for by another process, and reported without a value."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from panel import create_app, db, install
from panel.audit import Actor
from panel.config import ROOT
from panel.encryption.leftovers import changed, scan, search
from panel.errors import PanelError, Refused
from panel.models import Account, Encryption, Endpoint, SweepReport
from panel.secret import Secret
from panel.vault import reports, scrub, sweep, turn_off, unfinished
from panel.vault.reports import Findings, Scan
from panel.vault.state import State
from panel.vault.vault import Vault
from tests.encryption.conftest import House, in_process, settings_in
from tests.running import find_marker

ANY = "MARKER-secret-4711"  # stands in all of them
OLD, GONE, NOW = f"{ANY}-old", f"{ANY}-gone", f"{ANY}-now"


def holding(house: House) -> list[str]:
    """Files of the data directory that hold one of the passwords in any form, read by another process."""
    return find_marker(house.data, ANY)


def looked(house: House, *also: Path) -> Scan:
    return scan.look(house.vault, house.settings, also)[1]


def told(house: House) -> Findings:
    """Write the report that is owed; what it says."""
    assert scan.finish_report(house.vault, house.settings)
    last = reports.last()
    assert last is not None
    return last


def replaced_and_removed(house: House) -> None:
    """A password in clear that is replaced, and another whose account is removed."""
    first, second = house.add(OLD), house.add(GONE)
    first.secret = Secret(NOW)
    first.save()
    Account.get_by_id(second.account_id).delete_instance()


@pytest.fixture
def closed(tmp_path: Path) -> House:
    """A house whose database no connection of this process holds open."""
    settings = settings_in(tmp_path)
    install.prepare(settings)
    create_app(settings)
    return House(settings, Vault.of(settings, db.database))


# -- what was replaced or removed before is gone -----------------------------------


def test_passwords_replaced_or_removed_before_enabling_are_gone_too(house: House) -> None:
    db.database.execute_sql("PRAGMA secure_delete = off")  # an older version wrote without it
    for _ in range(40):  # pages of their own, so that free ones are left behind
        house.add(OLD + "x" * 3000)
    db.database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    Account.delete().execute()
    replaced_and_removed(house)
    assert house.files_with(OLD)
    assert house.files_with(GONE)
    house.enable()
    assert house.state is State.ON
    assert holding(house) == []


def test_after_turning_off_and_on_again_nothing_is_left_either(house: House) -> None:
    house.add(NOW)
    house.enable()
    house.disable()
    replaced_and_removed(house)
    assert house.files_with(GONE)
    house.enable()
    assert holding(house) == []


def test_a_sweep_killed_in_between_and_resumed_leaves_nothing(house: House) -> None:
    replaced_and_removed(house)
    killed = in_process(house, "turn_on.turn_on(vault, BOTH, actor); sweep.run(vault); import os, signal;"
                        "os.kill(os.getpid(), signal.SIGKILL)")  # fmt: skip
    killed.wait()
    assert house.state is State.ENABLING  # all are encrypted, and removing old copies is still owed
    assert house.files_with(GONE)
    unfinished.resume(house.vault)
    assert house.state is State.ON
    assert holding(house) == []


def turned_on(house: House) -> None:
    house.enable()


def killed_and_resumed(house: House) -> None:
    in_process(house, "turn_on.turn_on(vault, BOTH, actor); sweep.run(vault); import os, signal;"
               "os.kill(os.getpid(), signal.SIGKILL)").wait()  # fmt: skip
    unfinished.resume(house.vault)


def off_and_on_again(house: House) -> None:
    house.enable()
    house.disable()
    assert house.times_stored(NOW) >= 200
    house.enable()


@pytest.mark.reliability
@pytest.mark.parametrize("way", [turned_on, killed_and_resumed, off_and_on_again])
def test_of_hundreds_of_passwords_stored_replaced_and_removed_none_is_left(
    house: House, way: Callable[[House], None], record_property: Callable[[str, object], None]
) -> None:
    for number in range(300):
        row = house.add(f"{OLD if number < 100 else NOW}-{number}")
        if number < 100:
            row.secret = Secret(f"{NOW}-{number}")
            row.save()
        elif number < 200:
            Account.get_by_id(row.account_id).delete_instance()
    before = house.times_stored(ANY)
    way(house)
    after = house.times_stored(ANY)
    assert (before > 300, after, holding(house), house.state) == (True, 0, [], State.ON)
    for column, counted in (("before", before), ("after", after)):
        row_name = f"encryption {way.__name__.replace('_', ' ')}"
        record_property(
            "reliability", {"table": "residue", "row": row_name, "column": column, "tried": counted}
        )


def test_an_open_reader_keeps_old_copies_until_it_ends_and_the_shell_says_so(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrub, "PAUSE", 0)
    replaced_and_removed(house)
    reader = sqlite3.connect(house.data / "panel.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM endpoint").fetchall()
    house.enable()
    assert house.state is State.ENABLING
    assert not scan.finish_report(house.vault, house.settings)  # the report waits for the end of the work
    assert house.files_with(GONE)
    reader.close()
    unfinished.resume(house.vault)
    assert holding(house) == []
    assert told(house).scan == looked(house)


def test_while_a_reader_keeps_old_copies_nobody_is_kept_from_saving(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrub, "TRIES", 3)
    replaced_and_removed(house)
    reader = sqlite3.connect(house.data / "panel.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM endpoint").fetchall()
    saved, refused, ended = [], [], threading.Event()

    def save() -> None:
        other = sqlite3.connect(house.data / "panel.db", isolation_level=None, timeout=2)
        while not ended.wait(0.01):
            try:
                other.execute("UPDATE account SET interval = interval")
                saved.append(1)
            except sqlite3.OperationalError as error:
                refused.append(str(error))
        other.close()

    thread = threading.Thread(target=save)
    thread.start()
    house.enable()
    ended.set()
    thread.join()
    reader.close()
    assert (refused, bool(saved)) == ([], True)


def test_a_save_that_replaces_a_clear_value_put_there_by_sql_owes_its_removal(house: House) -> None:
    planted, other = house.add(), house.add()
    house.enable()
    house.sql("UPDATE endpoint SET sealed = NULL, clear = ? WHERE id = ?", GONE, planted.id)
    for endpoint, pending in ((other, False), (planted, True)):
        fresh = Endpoint.get_by_id(endpoint.id)
        fresh.secret = Secret(NOW)
        fresh.save()
        assert (house.sql("SELECT scrub_owed FROM encryption") != [(None,)]) is pending
    unfinished.resume(house.vault)
    assert holding(house) == []


def test_a_transaction_that_was_rolled_back_leaves_nothing(house: House) -> None:
    house.add(NOW)
    db.database.execute_sql("PRAGMA cache_size = 1")  # so that it reaches the log before it is rolled back
    with db.database.atomic() as transaction:
        house.sql("UPDATE endpoint SET clear = ?", OLD)
        house.sql("CREATE TABLE big AS SELECT zeroblob(200000) AS filling")
        transaction.rollback()
    assert house.files_with(OLD) == ["panel.db-wal"]
    house.enable()
    assert holding(house) == []


def test_a_migration_that_rebuilt_the_table_leaves_nothing(house: House) -> None:
    replaced_and_removed(house)
    db.database.execute_sql("PRAGMA secure_delete = fast")
    for statement in (
        "CREATE TABLE rebuilt AS SELECT * FROM endpoint",
        f"INSERT INTO rebuilt (clear) VALUES ('{OLD}')",
        "DROP TABLE rebuilt",
    ):
        db.database.execute_sql(statement)
    assert house.files_with(OLD)
    house.enable()
    assert holding(house) == []


def test_a_database_that_was_used_with_a_rollback_journal_keeps_nothing(closed: House) -> None:
    house = closed
    with db.database.connection_context():
        replaced_and_removed(house)
    other = sqlite3.connect(house.data / "panel.db", isolation_level=None)
    assert other.execute("PRAGMA journal_mode = persist").fetchone() == ("persist",)
    other.execute("PRAGMA secure_delete = off")
    other.execute(f"UPDATE endpoint SET clear = '{GONE}'")
    other.execute(f"UPDATE endpoint SET clear = '{NOW}'")
    other.close()
    assert "panel.db-journal" in house.files_with(GONE)
    with db.database.connection_context():
        house.enable()
        assert holding(house) == []


# -- the separate reader -----------------------------------------------------------

COMMITS = """
scanning = "scan" in sys.argv
from panel.encryption.leftovers import scan as scanner
Endpoint.update(failure="before").execute()
if scanning:
    scanner.look(vault, s)
else:
    open(s.data_dir / "panel.db", "rb").close()  # what must never be done here
print("looked", flush=True)
sys.stdin.readline()
Endpoint.update(failure="committed afterwards").execute()
print("committed", flush=True)
sys.stdin.readline()
import os; os._exit(0)
"""


@pytest.mark.parametrize(("how", "survives"), [("scan", True), ("by hand", False)])
def test_a_commit_after_the_scan_survives_another_process_that_closes_the_database(
    closed: House, how: str, survives: bool
) -> None:
    """`by hand` is the counter-proof: read in the server's own process the commit is lost."""
    with db.database.connection_context():
        closed.add(NOW)
    server = in_process(closed, COMMITS, how)
    assert server.stdout is not None
    assert server.stdin is not None
    assert server.stdout.readline() == "looked\n"
    another = sqlite3.connect(closed.data / "panel.db")  # the last one out removes the log, if it may
    another.execute("SELECT count(*) FROM endpoint").fetchall()
    another.close()
    server.stdin.write("\n")
    server.stdin.flush()
    assert server.stdout.readline() == "committed\n"
    server.kill()
    server.wait()
    with db.database.connection_context():
        found = closed.sql("SELECT failure FROM endpoint")
    assert (found == [("committed afterwards",)]) is survives


def test_passwords_reach_the_reader_by_its_pipe_alone(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.add(NOW)
    seen: list[tuple[object, object]] = []
    run = subprocess.run

    def watched(command: list[str], **options: object) -> object:
        seen.append((command, options["env"]))
        return run(command, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "run", watched)
    before = {path: path.stat().st_mtime_ns for path in house.data.rglob("*")}
    looked(house)
    assert len(seen) == 1
    assert NOW not in repr(seen)
    assert seen[0][1] == {}
    assert {path: path.stat().st_mtime_ns for path in house.data.rglob("*")}.keys() == before.keys()


# -- what is searched, and for what ------------------------------------------------

FORMS: dict[str, Callable[[str], bytes]] = {
    "utf-8": str.encode,
    "base64": lambda text: base64.b64encode(text.encode()),
    "base64 behind one byte": lambda text: base64.b64encode(b"\0" + text.encode() + b"\0more"),
    "base64 behind two bytes": lambda text: base64.b64encode(b"\0u" + text.encode() + b"m"),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(b"\0" + text.encode()),
    "JSON": lambda text: json.dumps({"password": text}).encode(),
    "JSON with umlauts": lambda text: json.dumps(text, ensure_ascii=False).encode(),
    "PHP's JSON": lambda text: json.dumps(text).replace("/", "\\/").encode(),
    "a URL": lambda text: f"imap://u:{quote(text, safe='')}@h".encode(),
    "an SQL dump": lambda text: f"VALUES('{text.replace(chr(39), chr(39) * 2)}')".encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_password_is_found_in_every_form(house: House, form: str) -> None:
    password = "pä/ss\"wo'r\\d ÿ?>"
    house.add(password)
    house.add("somebody else's")
    house.enable()
    (house.data / "left-over.txt").write_bytes(b"begin " + FORMS[form](password) + b" end")
    assert [(f.name, f.accounts) for f in looked(house).found] == [("left-over.txt", ("0@example.org",))]


def test_every_kind_of_file_is_searched_and_links_and_keys_are_not(house: House, tmp_path: Path) -> None:
    house.add(NOW)
    house.enable()
    outside = tmp_path / "backups"
    for path in (
        house.data / "panel.db.bak", house.data / "panel.db-journal", house.data / "queue.db",
        house.data / "queue.db-wal", house.data / "before-restore" / "panel.db", house.data / "tmpx8",
        outside / "deep" / "dump.sql", house.data / "mail" / "0" / "new" / "1",
    ):  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(NOW.encode())
    (house.data / "link").symlink_to(outside)
    (house.data / "packed.sql.gz").write_bytes(gzip.compress(NOW.encode()))
    os.mkfifo(house.data / "pipe")
    found = looked(house, outside)
    assert {(each.name, each.kind) for each in found.found} == {
        ("panel.db.bak", "data"), ("panel.db-journal", "database"), ("queue.db", "queue"),
        ("queue.db-wal", "queue"), ("before-restore/panel.db", "data"), ("tmpx8", "data"),
        (str(outside / "deep" / "dump.sql"), "also"),
    }  # fmt: skip
    assert "panel.db" in found.searched
    assert not [name for name in found.searched if "encryption-key.bin" in name]
    assert "collected mail" in found.not_visible
    assert set(found.skipped) == {
        ("pipe", "not a regular file"), ("link", "a link"), ("packed.sql.gz", "an archive (gzip)"),
    }  # fmt: skip


NOTHING = [
    "abc", "seven77", "äöüäöüä", "password", "Password2024!", "P@ssw0rd", "qwertyuiop", "abababab", "12345678",
    "0@example.org", "Example.org", "imap.example.org", "IMAP.EXAMPLE.ORG", "example.org", "9@example",
    "smtp-user-of-3", "user-of-3", "endpoint", "token_url", "not_visible",  # the last three Mailkeep writes itself
]  # fmt: skip


@pytest.mark.parametrize("password", NOTHING)
def test_a_password_whose_find_would_say_nothing_is_counted_and_never_found(
    house: House, password: str
) -> None:
    house.add(password)
    house.add(NOW)
    house.add(NOW, direction="out", username="smtp-user-of-3")
    house.enable()
    (house.data / "left-over").write_text(password)
    found = looked(house)
    assert (found.found, found.looked_for, found.not_looked_for) == ((), 2, 1)
    assert "Searched for 2 of 3 passwords" in found.verdict
    (house.data / "left-over").write_text(f"{password} {NOW}")
    assert [each.accounts for each in looked(house).found] == [("1@example.org", "2@example.org")]


@pytest.mark.parametrize(
    "password", ["a1b2c3d4", "eight ch", "Kaffeetasse", "0@example.org!", "pässwörter-4"]
)
def test_a_password_that_means_something_is_looked_for(house: House, password: str) -> None:
    house.add(password)
    house.enable()
    assert looked(house).is_green
    (house.data / "left-over").write_text(f"x{password}x")
    assert [each.accounts for each in looked(house).found] == [("0@example.org",)]


def test_where_nothing_could_be_looked_for_nothing_is_promised(house: House) -> None:
    house.enable()
    assert not looked(house).is_green and looked(house).verdict == "No password was searched for."
    house.add("abc")
    found = looked(house)
    assert not found.is_green and found.verdict.startswith(
        "No password was searched for. Searched for 0 of 1 passwords"
    )


def test_one_password_of_several_accounts_is_reported_for_all_of_them(house: House) -> None:
    for password in (NOW, NOW, "inner", f"x{NOW}x"):
        house.add(password)
    house.enable()
    (house.data / "left-over").write_text(f"x{NOW}x")
    assert [each.accounts for each in looked(house).found] == [
        ("0@example.org", "1@example.org", "3@example.org")
    ]


def test_a_password_across_two_reads_and_a_long_one_split_over_pages_are_found() -> None:
    searcher = search.Searcher([NOW])
    for at in range(search.BLOCK - len(NOW) - 5, search.BLOCK + 5):
        assert searcher.secrets_in(io.BytesIO(bytes(at) + NOW.encode() + bytes(99))) == {0}, at
        assert searcher.secrets_in(io.BytesIO(bytes(at) + NOW.encode())) == {0}, at
    token = base64.b64encode(os.urandom(2000)).decode()
    searcher = search.Searcher([token])
    split = token[:1300].encode() + bytes(60) + token[1300:].encode()
    assert searcher.secrets_in(io.BytesIO(split)) == {0}
    assert searcher.secrets_in(io.BytesIO(os.urandom(100_000))) == set()


def test_10_000_passwords_take_one_pass_and_little_memory(tmp_path: Path) -> None:
    big = tmp_path / "big"
    with big.open("wb") as file:
        for _ in range(8):
            file.write(os.urandom(1 << 20) + b"support@example.org imap.example.org " * 28_000)
        file.write(b"password number 9999")
    request = {
        "files": [str(big)],
        "secrets": [f"password number {n:04}" for n in range(10_000)],
    }
    code = (
        "import resource, sys; sys.argv = [sys.argv[1]]; import runpy; runpy.run_path(sys.argv[0], run_name='__main__');"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    done = subprocess.run(
        # By way of a shell: what the kernel counts begins with the size of the process that starts it.
        ["sh", "-c", '"$0" "$@" && :', sys.executable, "-c", code, str(search.__file__)],
        input=json.dumps(request).encode(), capture_output=True, check=True,
    )  # fmt: skip
    answer, kilobytes = done.stdout.splitlines()
    assert json.loads(answer) == [[9999]]
    assert int(kilobytes) < 200_000


# -- the report --------------------------------------------------------------------


def test_after_enabling_a_report_says_what_was_done_searched_and_cannot_be_seen(house: House) -> None:
    for _ in range(3):
        house.add(NOW)
    house.enable()
    report = told(house)
    assert (report.kind, report.moved, report.opened, report.failed) == ("enable", 3, 3, ())
    assert report.scan is not None
    assert {"panel.db", "secret-key"} <= set(report.scan.searched)
    assert (report.scan.found, bool(report.scan.not_visible)) == ((), True)
    assert report.verdict.startswith("No leftovers in clear text found in ")
    assert not scan.finish_report(house.vault, house.settings)


def test_a_report_is_owed_until_it_is_done_whatever_is_killed(house: House) -> None:
    house.add(NOW)
    house.enable()
    killed = in_process(
        house,
        "from panel.encryption.leftovers import scan, search; import os, signal;"
        "scan._run = lambda *a: os.kill(os.getpid(), signal.SIGKILL); scan.finish_report(vault, s)",
    )
    assert killed.wait() == -9
    assert reports.last() is None
    assert told(house).kind == "enable"


def test_rotating_counts_what_moved_and_names_what_does_not_open(house: House) -> None:
    house.add(NOW)
    broken = house.add("broken")
    house.enable()
    told(house)
    house.rotate()
    house.sql("UPDATE endpoint SET host = 'evil.example' WHERE id = ?", broken.id)
    report = told(house)
    assert (report.kind, report.moved, report.opened) == ("rotate", 2, 1)
    assert [address for address, _ in report.failed] == ["1@example.org"]
    assert report.counts == "2 passwords encrypted. 1 of 2 can be decrypted."


def test_disabling_says_plainly_that_passwords_are_in_clear(house: House) -> None:
    house.add(NOW)
    house.enable()
    house.disable()
    report = told(house)
    assert (report.kind, report.moved, report.opened, report.scan) == ("disable", 1, 1, None)
    assert "in clear text in the database" in report.verdict


def test_turning_off_that_was_cancelled_is_never_reported_as_done(house: House) -> None:
    house.add(NOW)
    house.enable()
    told(house)
    turn_off.turn_off(house.vault, Actor(), in_shell=True)
    sweep.run(house.vault)
    turn_off.cancel(house.vault, Actor())
    unfinished.resume(house.vault)
    report = told(house)
    assert (report.kind, report.scan is not None and report.scan.found) == ("cancel", ())


def test_what_was_found_in_clear_and_encrypted_has_a_report_of_its_own(house: House) -> None:
    house.add(NOW)
    house.enable()
    told(house)
    house.sql("UPDATE endpoint SET sealed = NULL, clear = ?", OLD)
    unfinished.resume(house.vault)
    report = told(house)
    assert (report.kind, report.moved, report.scan is not None and report.scan.found) == ("found", 1, ())


def test_no_report_is_written_of_a_state_that_changed_meanwhile(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.add(NOW)
    house.enable()
    ask = scan._run

    def and_disable(*arguments: object) -> object:
        monkeypatch.undo()
        house.disable()
        return ask(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(scan, "_run", and_disable)
    assert not scan.finish_report(house.vault, house.settings)
    assert told(house).kind == "disable"


def test_what_is_found_in_the_database_is_removed_once_more_when_asked(house: House) -> None:
    house.add(NOW)
    house.enable()
    told(house)
    other = sqlite3.connect(house.data / "panel.db", isolation_level=None)
    other.execute("PRAGMA secure_delete = off")
    other.execute("CREATE TABLE aside AS SELECT ? AS text", (NOW,))
    other.execute("DROP TABLE aside")
    other.close()
    scan.check(house.vault, house.settings)
    last = reports.last()
    assert last is not None
    assert last.scan is not None
    assert last.scan.in_database
    assert last.verdict.startswith("Leftovers in clear text were found in ")
    scan.again(house.vault)
    unfinished.resume(house.vault)
    report = told(house)
    assert (report.kind, report.scan is not None and report.scan.found) == ("check", ())


def test_looking_again_is_refused_while_passwords_are_in_clear(house: House) -> None:
    with pytest.raises(Refused):
        scan.again(house.vault)


def test_reports_hold_no_value_and_only_the_newest_are_kept(house: House) -> None:
    house.add(NOW)
    house.enable()
    (house.data / "left-over").write_text(NOW)
    for _ in range(reports.MOST_REPORTS + 5):
        reports.keep_check(1, (), Scan())
    told(house)
    scan.check(house.vault, house.settings)
    assert SweepReport.select().count() == reports.MOST_REPORTS
    assert NOW not in repr(list(SweepReport.select().tuples()))


@pytest.mark.parametrize("result", ["", "{}", "[1]", '{"failed": 1, "scan": {}}', None, b"\xff"])
def test_a_report_that_was_edited_is_not_shown_and_breaks_nothing(house: House, result: object) -> None:
    reports.keep_check(1, (), Scan())
    house.sql("UPDATE sweep_report SET result = ?", result)
    assert reports.last() is None


def test_a_reader_that_dies_is_an_error_with_what_to_do(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.add(NOW)
    house.enable()
    monkeypatch.setattr(scan, "SEARCH", house.data / "none.py")
    with pytest.raises(PanelError, match="nothing is known about them"):
        scan.finish_report(house.vault, house.settings)
    assert reports.pending() is not None


def test_a_fresh_install_is_searched_in_well_below_a_second(house: House) -> None:
    house.add(NOW)
    house.enable()
    before = os.times()
    told(house)
    after = os.times()
    # CPU, not the clock: other tests run beside. The reader imports nothing of the panel.
    assert sum(after[:4]) - sum(before[:4]) < 0.6


# -- the checklist -----------------------------------------------------------------


@pytest.fixture
def on_since(house: House) -> Iterator[int]:
    since = db.now() - 1000
    for name, entered in (("b@example.org", -5), ("a@example.org", 7), ("c@example.org", 0)):
        account = Account.create(address=name, created_at=since - 10)
        box = {"account": account, "direction": "in", "protocol": "imap", "host": "h", "port": 993, "security": "tls",
               "username": "u", "auth_method": "plain", "token_url": "", "address": name, "kind": "password", "secret_set_at": since + entered}  # fmt: skip
        endpoint = Endpoint(**box)
        endpoint.secret = Secret(NOW)
        endpoint.save()
    house.enable()
    Encryption.update(enabled_at=since).execute()
    yield since


def test_the_checklist_names_what_was_not_entered_since_encryption_was_turned_on(on_since: int) -> None:
    boxes = changed.since(on_since)
    assert [box.address for box in boxes.unchanged] == ["b@example.org", "c@example.org"]
    assert [(box.address, box.changed_at, box.added) for box in boxes.changed] == [
        ("a@example.org", on_since + 7, False)
    ]
    assert changed.since(None).total == 0


def test_an_account_that_came_later_never_stood_in_clear(house: House, on_since: int) -> None:
    endpoint = house.add(NOW)
    Endpoint.update(secret_set_at=db.now()).where(Endpoint.id == endpoint.id).execute()
    assert [box.added for box in changed.since(on_since).changed] == [True, False]


# -- words -------------------------------------------------------------------------


def test_nobody_promises_that_anything_is_clean() -> None:
    """A search says what it saw. Only names in the code may use the word."""
    promised = re.compile(r"\b(clean|cleaned|cleanly|residue-free|spotless)\b", re.IGNORECASE)
    texts = [*(ROOT / "templates").rglob("*.html"), *(ROOT / "docs").rglob("*.md")]
    for path in texts:
        assert not promised.search(path.read_text("utf-8")), path
    for path in (ROOT / "panel").rglob("*.py"):
        for line in path.read_text("utf-8").splitlines():
            for said in re.findall(r'"([^"]*)"', line.split("#")[0]):
                assert " " not in said or not promised.search(said), f"{path}: {line}"
