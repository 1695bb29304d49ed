"""Promises about taking the key out and putting it back: nothing of it shows, nothing is overwritten, it fits."""

from __future__ import annotations

import base64
import errno
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from panel import create_app, db, install
from panel.audit import Actor
from panel.config import ROOT, Settings
from panel.crypto.keyfile import Key, KeyFile
from panel.encryption.advice import advise
from panel.encryption.exports import age, copies, export, sheet
from panel.encryption.exports.sheet_page import About
from panel.errors import BadCopy, BadInput, PanelError, Refused
from panel.models import Activity, Encryption
from panel.secret import Secret
from panel.vault import backup_proof, retired_keys, snapshot, turn_off, unfinished
from panel.vault.keystore import KeyStore
from panel.vault.state import State
from panel.vault.vault import Vault
from tests.encryption.conftest import House
from tests.encryption.test_cli import Cli
from tests.running import Environ, find_marker, process_environ

ACTOR = Actor("admin@example.org", "192.0.2.1")
ABOUT = About("https://help.example.org", "2026-11-23 20:15:04 UTC")
PASSPHRASE = "MARKER-passphrase ü 🔑 "  # ends with a space
KEY = ("encryption", "key")


@pytest.fixture
def house(settings: Settings) -> Iterator[House]:
    """Turned on, with one password; commands work on it too."""
    install.prepare(settings)
    create_app(settings)
    house = House(settings, Vault.of(settings, db.database))
    with db.database.connection_context():
        house.add("MARKER-first")
        house.enable()
        yield house


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    (tmp_path / "safe").mkdir()
    return tmp_path / "safe"


def sheet_of(house: House) -> bytes:
    return export.as_sheet(house.vault, ABOUT).content


def lose(house: House) -> bytes:
    data = house.key_file.read_bytes()
    house.key_file.unlink()
    return data


# -- the whole way -------------------------------------------------------------------


def on_a_terminal(environ: Environ, *arguments: str) -> str:
    """What `flask ARGUMENTS` shows on a terminal."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "flask", *arguments]
    process = subprocess.Popen(
        command, cwd=ROOT, env=process_environ(environ), stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown = read_all(ours)
    assert process.wait(60) == 0, shown
    return shown


def read_all(terminal: int) -> str:
    shown = b""
    try:
        while part := os.read(terminal, 4096):
            shown += part
    except OSError as error:  # Linux says EIO when the other side is closed
        assert error.errno == errno.EIO
    os.close(terminal)
    return shown.decode()


def asked_on_a_terminal(environ: Environ, passphrase: str, *command: str) -> str:
    """What a command shows that asks for a passphrase on its terminal, as `age -d` does and nowhere else."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execvpe(command[0], command, environ)  # noqa: S606 - pty.fork gives it the terminal
    shown = b""
    while b"passphrase" not in shown.lower():
        shown += os.read(terminal, 4096)
    os.write(terminal, passphrase.encode() + b"\n")
    rest = read_all(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, rest
    return rest


def test_an_age_file_with_a_passphrase_of_ours_is_proved_restored_by_age_and_imported(
    cli: Cli, house: House, environ: Environ, elsewhere: Path
) -> None:
    target, words, wrong = elsewhere / "-- my key ü.age", elsewhere / "passphrase", elsewhere / "wrong"
    shown = on_a_terminal(environ, *KEY, "export", "--to", str(target))
    found = re.search(r"shown only this once\): ((?:[0-9a-z]{5}-){5}[0-9a-z]{5})\r\n", shown)
    assert found, shown
    words.write_text(f"{found[1]}\n")
    wrong.write_text(f"{found[1]} \n")
    assert target.stat().st_mode & 0o777 == 0o600
    assert house.vault.latest().times.backup_proved_at is None, "made is not proved"
    key = house.key_file.read_bytes()
    if shutil.which("age"):
        by_age = elsewhere / "restored"
        asked_on_a_terminal(process_environ({}), found[1], "age", "-d", "-o", str(by_age), "--", str(target))
        assert by_age.read_bytes() == key
    refused = cli(*KEY, "check", str(target))
    assert (refused.returncode, "--passphrase-file" in refused.stderr) == (3, True)
    refused = cli(*KEY, "check", str(target), "--passphrase-file", str(wrong))
    assert (refused.returncode, "the passphrase is wrong" in refused.stderr) == (1, True)
    command = (sys.executable, "-m", "flask", *KEY, "check", str(target))
    assert "the copy equals the key file" in asked_on_a_terminal(process_environ(environ), found[1], *command)
    assert house.vault.latest().times.backup_proved_at is not None
    house.key_file.unlink()
    done = cli(*KEY, "import", "-", "--passphrase-file", str(words), stdin=target.read_text())
    assert done.returncode == 0, done.stderr
    assert "The key file is back." in done.stdout
    assert "Encryption: on." in done.stdout
    assert (house.key_file.read_bytes(), house.key_file.stat().st_mode & 0o777) == (key, 0o600)
    assert find_marker(house.data, found[1]) == []


def test_a_sheet_is_printed_typed_proved_and_imported(cli: Cli, house: House, elsewhere: Path) -> None:
    target, typed = elsewhere / "sheet.html", elsewhere / "typed.txt"
    done = cli(*KEY, "export", "--sheet", "--to", str(target))
    assert done.returncode == 0, done.stderr
    assert "then delete the file" in done.stdout
    key = house.key_file.read_bytes()
    for line in sheet.lines(key):
        assert line.encode() in target.read_bytes()
        assert line not in done.stdout + done.stderr
    typed.write_text("\n".join(sheet.lines(key)).lower().replace("1", "l"))
    assert cli(*KEY, "check", str(typed)).returncode == 0
    house.key_file.unlink()
    lines = typed.read_text().split("\n")
    lines[3] = lines[3][:-2] + "zz"  # 1023: a check is below 1021
    typed.write_text("\n".join(lines))
    wrong = cli(*KEY, "import", str(typed))
    assert (wrong.returncode, "Line 4 has a wrong character" in wrong.stderr) == (3, True)
    assert not house.key_file.exists()
    assert "Encryption: on." in cli(*KEY, "import", str(target)).stdout
    assert house.key_file.read_bytes() == key
    again = cli(*KEY, "import", str(target))
    assert (again.returncode, "in place already" in again.stdout) == (0, True)


def test_the_given_passphrase_is_taken_byte_for_byte_and_neither_it_nor_the_key_shows(
    cli: Cli, house: House, elsewhere: Path
) -> None:
    done = cli(*KEY, "export", "--to", "-", "--passphrase-file", "-", stdin=f"{PASSPHRASE}\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("-----BEGIN AGE ENCRYPTED FILE-----\n")
    assert done.stdout.endswith("-----END AGE ENCRYPTED FILE-----\n")
    assert age.unseal(done.stdout.encode(), Secret(PASSPHRASE)) == house.key_file.read_bytes()
    assert find_marker(house.data, PASSPHRASE) == []
    for word in str(list(Activity.select().dicts())).split():
        assert not any(line in word for line in sheet.lines(house.key_file.read_bytes()))
    noted = Activity.get(Activity.what == export.EXPORTED)
    assert (noted.subject, noted.detail) == (house.vault.latest().found, "age file")
    assert noted.who.startswith("shell (")


@pytest.mark.parametrize("passphrase", ["x", "ä€🔑 " * 256], ids=["1 character", "1,024 characters"])
def test_passphrases_of_every_length_open_again(passphrase: str) -> None:
    assert age.unseal(age.seal(b"bytes", Secret(passphrase)), Secret(passphrase)) == b"bytes"


def test_a_file_that_takes_a_busy_server_too_long_is_not_called_damaged() -> None:
    armored = age.seal(b"bytes", Secret("x"))
    binary = base64.b64decode(b"".join(armored.splitlines()[1:-1]))
    slower = re.sub(rb"(-> scrypt \S+) \d+\n", rb"\1 40\n", binary)
    with pytest.raises(Refused, match="would take this server minutes"):
        age.unseal(slower, Secret("x"))


@pytest.mark.parametrize(
    ("passphrase", "says"),
    [("short 1234", "at least 12"), ("aaaaaaaaaaaaaaaa", "5 of them different"), ("", "at least 12"),
     ("x1y2z3" * 200, "longer than 1024"), ("one line\nand another", "cannot be typed")],
)  # fmt: skip
def test_a_passphrase_that_is_guessed_or_cannot_be_typed_is_refused(
    house: House, passphrase: str, says: str
) -> None:
    with pytest.raises(BadInput, match=says) as refused:
        export.as_age(house.vault, Secret(passphrase))
    assert refused.value.remedy
    assert not passphrase or passphrase not in str(refused.value)


def test_generated_passphrases_differ_and_are_strong() -> None:
    made = {age.generate().reveal() for _ in range(100)}
    assert len(made) == 100
    for each in made:
        age.require_strong(Secret(each))


def test_wrong_use_is_told_and_makes_no_file(cli: Cli, house: House, elsewhere: Path) -> None:
    target = str(elsewhere / "key")
    no_words = cli(*KEY, "export", "--to", target)
    assert (no_words.returncode, "--passphrase-file" in no_words.stderr) == (2, True)
    assert cli(*KEY, "export", "--sheet", "--to", "-").returncode == 2
    both = cli(*KEY, "export", "--sheet", "--to", target, "--passphrase-file", "-", stdin="x")
    assert (both.returncode, "takes no passphrase" in both.stderr) == (2, True)
    twice = cli(*KEY, "check", "-", "--passphrase-file", "-", stdin="x")
    assert (twice.returncode, "cannot be both" in twice.stderr) == (2, True)
    assert list(elsewhere.iterdir()) == []
    assert Activity.select().where(Activity.what == export.EXPORTED).count() == 0


# -- where it is written ----------------------------------------------------------------


def test_what_is_there_is_never_overwritten_not_even_through_a_link(house: House, elsewhere: Path) -> None:
    made = export.as_sheet(house.vault, ABOUT)
    (elsewhere / "file").write_text("mine")
    (elsewhere / "link").symlink_to(elsewhere / "nothing yet")
    for name in ("file", "link"):
        with pytest.raises(Refused, match="is not overwritten"):
            export.hand_out(made, elsewhere / name, ACTOR)
    assert (elsewhere / "file").read_text() == "mine"
    assert not (elsewhere / "nothing yet").exists()
    assert Activity.select().where(Activity.what == export.EXPORTED).count() == 0


def test_where_it_cannot_be_written_that_is_said(house: House, elsewhere: Path) -> None:
    made = export.as_sheet(house.vault, ABOUT)
    for target in (elsewhere / "none/key", Path("/proc/key"), Path("/dev/null/key")):
        with pytest.raises(Refused, match="could not be written") as refused:
            export.hand_out(made, target, ACTOR)
        assert refused.value.remedy


def test_on_a_full_disk_nothing_stays_and_nothing_is_noted(
    house: House, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = export.as_sheet(house.vault, ABOUT)

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Refused, match="no space left on device"):
        export.hand_out(made, elsewhere / "key", ACTOR)
    assert list(elsewhere.iterdir()) == []
    assert Activity.select().where(Activity.what == export.EXPORTED).count() == 0


def test_it_is_not_put_beside_the_database_the_key_or_the_mail(
    house: House, elsewhere: Path, settings: Settings
) -> None:
    (elsewhere / "link").symlink_to(house.data)
    (house.data / "deep").mkdir()
    for place in (house.data, house.data / "deep", elsewhere / "link", elsewhere / "../data"):
        with pytest.raises(Refused, match="with the database or the key file"):
            export.require_apart(place / "key", house.vault, settings)
    apart = Vault(db.database, KeyStore(elsewhere / "mount/encryption-key.bin", house.data))
    with pytest.raises(Refused):
        export.require_apart(elsewhere / "mount/export", apart, settings)
    export.require_apart(elsewhere / "export", house.vault, settings)


# -- what can be exported ------------------------------------------------------------------


def broken(house: House) -> None:
    house.key_file.write_bytes(house.key_file.read_bytes()[:-1])


def foreign(house: House) -> None:
    house.key_file.write_bytes(KeyFile.generate(b"x" * 16).to_bytes())


def turning_off(house: House) -> None:
    turn_off.turn_off(house.vault, ACTOR, in_shell=True)


NO_KEY: dict[str, tuple[Callable[[House], object], str]] = {
    "none": (lose, "no key file here"),
    "damaged": (broken, "no intact key file"),
    "open to all": (lambda h: h.key_file.chmod(0o644), "can be read or written by other users"),
    "another install's": (foreign, "belongs to another install"),
    "being turned off": (turning_off, "being turned off"),
}


@pytest.mark.parametrize(("make", "says"), NO_KEY.values(), ids=NO_KEY)
def test_without_a_good_key_file_nothing_is_exported(
    house: House, make: Callable[[House], object], says: str
) -> None:
    make(house)
    for step in (lambda: sheet_of(house), lambda: export.as_age(house.vault, Secret("a b c d e f g h"))):
        with pytest.raises(Refused, match=says) as refused:
            step()
        assert refused.value.remedy


def test_without_the_extra_it_is_said_what_to_type_and_a_sheet_still_comes_back(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    html = sheet_of(house)
    monkeypatch.setitem(sys.modules, "pyrage", None)
    monkeypatch.setitem(sys.modules, "segno", None)
    for step in (
        lambda: sheet_of(house),
        lambda: export.as_age(house.vault, Secret("a b c d e f g h")),
        lambda: copies.read(age.ARMOR, Secret("x")),
    ):
        with pytest.raises(Refused) as refused:
            step()
        assert "pip install --require-hashes -r requirements/export.txt" in refused.value.remedy
    assert copies.read(html, None) == house.key_file.read_bytes()
    assert (ROOT / "requirements/export.txt").is_file()


# -- putting it back -----------------------------------------------------------------------


def test_putting_it_back_is_noted_and_proves_the_copy(house: House) -> None:
    key = lose(house)
    assert house.state is State.KEY_MISSING
    assert export.put_back(house.vault, key, ACTOR)
    assert house.state is State.ON
    assert Activity.get(Activity.what == export.IMPORTED).who == ACTOR.who
    assert house.vault.latest().times.backup_proved_at is not None


def test_a_key_file_that_is_there_is_never_touched(house: House) -> None:
    older = house.key_file.read_bytes()
    house.rotate()
    present = house.key_file.read_bytes()
    with pytest.raises(Refused, match="not touched") as refused:
        export.put_back(house.vault, older, ACTOR)
    assert "flask encryption key add FILE" in refused.value.remedy
    with pytest.raises(BadCopy, match="another install"):
        export.put_back(house.vault, KeyFile.generate(b"x" * 16).to_bytes(), ACTOR)
    assert not export.put_back(house.vault, present, ACTOR)
    assert house.key_file.read_bytes() == present
    broken(house)
    damaged = house.key_file.read_bytes()
    with pytest.raises(Refused, match="no intact key file") as refused:
        export.put_back(house.vault, present, ACTOR)
    assert "mv " in refused.value.remedy
    assert house.key_file.read_bytes() == damaged


BAD: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "of another install": (lambda key: KeyFile.generate(b"x" * 16).to_bytes(), "another install"),
    "without the key in use": (
        lambda key: KeyFile.generate(KeyFile.from_bytes(key).instance_id).to_bytes(), "it lacks key"),
    "damaged": (lambda key: key[:70] + bytes([key[70] ^ 1]) + key[71:], "damaged"),
    "a sheet with a line missing": (lambda key: "\n".join(sheet.lines(key)[:-1]).encode(), "Line 7 is missing"),
    "something else": (lambda key: b"dear diary", "does not begin like a key file"),
    "empty": (lambda key: b"", "it is empty"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "says"), BAD.values(), ids=BAD)
def test_a_bad_copy_is_named_for_what_it_is_and_not_put_in_place(
    house: House, make: Callable[[bytes], bytes], says: str
) -> None:
    key = lose(house)
    with pytest.raises(BadCopy, match=says) as bad:
        export.put_back(house.vault, copies.read(make(key), None), ACTOR)
    assert bad.value.remedy
    assert not house.key_file.exists()
    assert house.state is State.KEY_MISSING


def test_where_encryption_is_off_no_key_comes_in_by_the_back_door(house: House) -> None:
    key = house.key_file.read_bytes()
    house.disable()
    with pytest.raises(Refused, match="Encryption is off"):
        export.put_back(house.vault, key, ACTOR)
    assert not house.key_file.exists()


def test_a_copy_brings_its_keys_but_never_its_flag(house: House) -> None:
    turning_off(house)
    flagged = lose(house)
    assert KeyFile.from_bytes(flagged).decrypt_id is not None
    export.put_back(house.vault, flagged, ACTOR)
    assert KeyFile.from_bytes(house.key_file.read_bytes()).decrypt_id is None
    unfinished.resume(house.vault)
    assert house.state is State.ON
    assert house.opened(house.add("second")) == "second"


def test_with_a_damaged_state_row_nothing_is_put_in_place(house: House) -> None:
    key = lose(house)
    Encryption.delete().execute()
    with pytest.raises(PanelError, match="exactly one encryption row"):
        export.put_back(house.vault, key, ACTOR)
    assert not house.key_file.exists()


def test_an_older_key_may_be_added_from_its_sheet(cli: Cli, house: House) -> None:
    old = sheet_of(house).decode()
    house.rotate()
    retired_keys.prune(house.vault, ACTOR)
    done = cli(*KEY, "add", "-", stdin=old)
    assert (done.returncode, "Added: " in done.stdout) == (0, True), done.stderr


# -- due again ---------------------------------------------------------------------------


def add_an_older_key(house: House) -> None:
    file = KeyFile.from_bytes(house.key_file.read_bytes())
    retired_keys.add(house.vault, KeyFile(file.instance_id, (Key.generate(),)).to_bytes(), ACTOR)


def test_each_change_of_the_key_file_makes_the_proof_due_again(house: House) -> None:
    steps = (House.rotate, add_an_older_key, lambda h: retired_keys.prune(h.vault, ACTOR))
    for step in steps:
        backup_proof.check(house.vault, house.key_file.read_bytes(), ACTOR)
        assert not house.vault.latest().backup_due
        step(house)
        assert house.vault.latest().backup_due
    backup_proof.check(house.vault, house.key_file.read_bytes(), ACTOR)
    house.disable()
    house.enable()
    assert house.vault.latest().backup_due


def test_no_rotation_slips_in_between_the_comparison_and_its_note(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a copy of before would count as the proof of the file of after."""
    copy, answer = house.key_file.read_bytes(), backup_proof.answer_for("n", house.key_file.read_bytes())
    looked: list[bool] = []
    read = snapshot.read

    def watched(*arguments: Any, **options: Any) -> snapshot.Snapshot:
        looked.append(db.database.in_transaction())
        return read(*arguments, **options)

    monkeypatch.setattr(snapshot, "read", watched)
    backup_proof.check(house.vault, copy, ACTOR)
    backup_proof.verify(house.vault, "n", answer, ACTOR)
    assert looked == [True, True]


# -- the printed page ---------------------------------------------------------------------


@pytest.mark.browser
@pytest.mark.parametrize("count", [1, 12], ids=["1 key", "12 keys"])
def test_the_codes_on_the_print_hold_the_same_lines(
    house: House, page: Page, elsewhere: Path, count: int
) -> None:
    file = KeyFile.from_bytes(house.key_file.read_bytes())
    for _ in range(count - 1):
        file = file.with_primary(Key.generate()).retire_others()
    Encryption.update(active_key_id=file.primary.id).execute()
    house.key_file.write_bytes(file.to_bytes())
    html = elsewhere / "sheet.html"
    html.write_bytes(sheet_of(house))
    page.emulate_media(media="print")
    page.goto(html.as_uri())
    if count == 1:
        for size in ("A4", "Letter"):
            pdf = page.pdf(format=size, prefer_css_page_size=True)
            assert len(re.findall(rb"/Type\s*/Page\b(?!s)", pdf)) == 1, f"{size}: one page"
    if shutil.which("zbarimg") is None:
        pytest.skip("zbarimg is not installed")
    said = b""
    for number, code in enumerate(page.locator("svg").all()):
        picture = elsewhere / f"{number}.png"
        code.screenshot(path=picture, scale="device")
        said += subprocess.run(
            ["zbarimg", "--quiet", "--raw", picture], capture_output=True, check=True
        ).stdout
    assert copies.read(said, None) == file.to_bytes()


def test_a_copy_from_while_encryption_was_being_turned_off_has_its_mend_on_the_page(house: House) -> None:
    endpoint = house.add("kept")
    house.enable()
    turn_off.turn_off(house.vault, ACTOR, in_shell=True)
    flagged = house.key_file.read_bytes()
    turn_off.cancel(house.vault, ACTOR)
    unfinished.resume(house.vault)
    house.key_file.write_bytes(flagged)
    now = house.vault.latest()
    assert now.state is State.KEY_WRONG
    assert advise(now, house.vault).remedy.endswith(f"flask encryption key import {house.key_file}.away")
    house.key_file.rename(f"{house.key_file}.away")
    assert export.put_back(house.vault, flagged, ACTOR)
    unfinished.resume(house.vault)
    assert house.state is State.ON
    assert house.opened(endpoint) == "kept"
