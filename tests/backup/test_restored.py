"""Promises of a restored copy: it collects nothing until somebody says that the other install is off."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask

from panel import create_app, db, identity, install
from panel.audit import Actor
from panel.backup import create, restored
from panel.collect.round import Collector
from panel.config import Settings
from panel.errors import Refused, RestoredCopy
from panel.health import checks
from panel.models import Activity, InstallCopy
from panel.serve.jobs import Jobs
from panel.vault.state import State
from panel.vault.vault import Vault
from tests.collect.conftest import PostOffice, letter, post  # noqa: F401
from tests.encryption.conftest import House, house, in_process, settings_in  # noqa: F401
from tests.running import PanelServer, environ_for, flask, wait_until
from tests.sign_in.browser import Browser, add_person, later


def carried(source: Path, target: Path) -> Settings:
    """An install whose data directory holds nothing but the database `source`."""
    settings = settings_in(target)
    settings.data_dir.mkdir(parents=True, mode=0o700)
    shutil.copy(source, settings.data_dir / "panel.db")
    return settings


def starts(settings: Settings) -> identity.Restored | None:
    """What the first start of an install finds."""
    install.prepare(settings)
    with db.database.connection_context():
        return identity.restored(settings.data_dir)


def plain_copy(house: House, path: Path) -> Path:
    """What sqlite3's .backup makes."""
    source, target = sqlite3.connect(house.data / "panel.db"), sqlite3.connect(path)
    source.backup(target)
    source.close()
    target.close()
    return path


@pytest.fixture
def closed(tmp_path: Path) -> House:
    """An install that nobody has open."""
    settings = settings_in(tmp_path)
    install.prepare(settings)
    create_app(settings)
    return House(settings, Vault.of(settings, db.database))


# -- who asks ----------------------------------------------------------------------------


def test_a_new_install_asks_nothing_at_its_first_start_nor_later(tmp_path: Path) -> None:
    for _ in range(2):
        assert starts(settings_in(tmp_path)) is None


def test_an_install_from_before_ids_were_kept_takes_one_silently_and_once(closed: House) -> None:
    with db.database.connection_context():
        closed.sql("DROP TABLE this_copy")
        closed.sql("DELETE FROM schema_migration WHERE name = '0007_restored_copy'")
    (closed.data / "copy-id").unlink()
    assert starts(closed.settings) is None
    first = (closed.data / "copy-id").read_text()
    assert starts(closed.settings) is None
    assert (closed.data / "copy-id").read_text() == first


def test_killed_between_file_and_row_the_next_start_asks_nothing(closed: House) -> None:
    with db.database.connection_context():
        closed.sql("DELETE FROM this_copy")
    assert starts(closed.settings) is None


def test_a_backup_asks_wherever_it_is_restored_also_in_its_old_place(closed: House, tmp_path: Path) -> None:
    with db.database.connection_context():
        made = create.create(closed.settings, tmp_path / "one.db", Actor())
    found = starts(carried(made.path, tmp_path / "new"))
    assert found is not None
    assert found.made_at == made.made_at
    for path in closed.data.glob("panel.db*"):
        path.unlink()
    shutil.copy(made.path, closed.data / "panel.db")
    assert starts(closed.settings) is not None


def test_a_plain_copy_asks_in_another_data_directory_and_not_in_its_own(
    closed: House, tmp_path: Path
) -> None:
    copy = plain_copy(closed, tmp_path / "copy.db")
    assert starts(carried(copy, tmp_path / "new")) is not None
    other = settings_in(tmp_path / "used")
    install.prepare(other)
    for path in other.data_dir.glob("panel.db*"):
        path.unlink()
    shutil.copy(copy, other.data_dir / "panel.db")
    assert starts(other) is not None
    for path in closed.data.glob("panel.db*"):
        path.unlink()
    shutil.copy(copy, closed.data / "panel.db")
    assert starts(closed.settings) is None


def test_a_data_directory_moved_in_one_piece_asks_nothing(closed: House, tmp_path: Path) -> None:
    (tmp_path / "moved").mkdir()
    closed.data.rename(tmp_path / "moved/data")
    assert starts(settings_in(tmp_path / "moved")) is None


@pytest.mark.parametrize("content", [None, "", "no id\n", "ab" * 15, "ü"])
def test_a_file_that_is_gone_or_damaged_asks(closed: House, content: str | None) -> None:
    path = closed.data / "copy-id"
    path.unlink() if content is None else path.write_text(content)
    assert starts(closed.settings) is not None


# -- while it asks -------------------------------------------------------------------------


def ask(house: House) -> None:
    InstallCopy.update(copy_id=None, backup_made_at=db.now()).execute()


def test_the_collector_and_the_worker_touch_no_mailbox(house: House) -> None:
    account = house.add().account
    ask(house)
    collector = Collector(house.settings, house.vault)
    for step in (collector.require_ready, lambda: collector.collect(account.uuid, force=True)):
        with pytest.raises(RestoredCopy, match="flask backup confirm"):
            step()
    house.enable()
    assert house.state is State.ON, "sweeps go on"


def test_shell_refuses_to_collect_and_confirm_ends_it(
    house: House, cli: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    ask(house)
    for arguments in (["--once"], []):
        done = cli("collect", *arguments)
        assert done.returncode == 3
        assert "flask backup confirm" in done.stderr
    assert "restored from a backup" in cli("doctor").stdout
    done = cli("backup", "confirm")
    assert (done.returncode, "--yes" in done.stderr) == (3, True)
    assert cli("backup", "confirm", "--yes").returncode == 0
    assert cli("collect", "--once").returncode == 0
    done = cli("backup", "confirm", "--yes")
    assert (done.returncode, "nothing to confirm" in done.stderr) == (3, True)


def test_confirming_gives_an_id_of_its_own_so_that_the_other_install_would_ask(
    house: House, tmp_path: Path
) -> None:
    before = (house.data / "copy-id").read_text()
    ask(house)
    restored.confirm(house.data, Actor("ada@example.org", "10.0.0.1"))
    assert identity.restored(house.data) is None
    assert (house.data / "copy-id").read_text() != before
    told = Activity.get(Activity.what == "restored copy confirmed")
    assert (told.who, told.address) == ("ada@example.org", "10.0.0.1")
    with pytest.raises(Refused):
        restored.confirm(house.data, Actor())


def test_killed_while_confirming_the_question_stays_open(house: House) -> None:
    ask(house)
    code = """
import os, signal
from panel import identity
from panel.backup import restored
identity._store = lambda copy_id: os.kill(os.getpid(), signal.SIGKILL)
restored.confirm(s.data_dir, actor)
"""
    assert in_process(house, code).wait() == -9
    assert identity.restored(house.data) is not None
    restored.confirm(house.data, Actor())
    assert identity.restored(house.data) is None


# -- in the browser --------------------------------------------------------------------------


def test_every_page_says_so_and_one_button_with_the_own_password_ends_it(
    app: Flask, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with db.database.connection_context():
        InstallCopy.update(copy_id=None, backup_made_at=db.now()).execute()
    add_person()
    add_person("agent@example.org", "agent")
    agent, admin = Browser(app), Browser(app)
    agent.sign_in("agent@example.org")
    admin.sign_in()
    for path in ("/", "/accounts", "/people", "/activity", "/server/encryption", "/profile"):
        assert "This is a restored copy, so it collects no mail." in admin.get(path).text, path
    page = agent.get("/status").text
    assert "An administrator must confirm" in page
    assert "/server/restored" not in page
    assert agent.get("/server/restored").status_code == 403
    assert "Is the other install switched off?" in admin.get("/server/restored").text
    later(monkeypatch, 301)
    sent = admin.post("/server/restored/confirm", on="/server/restored")
    assert "/confirm" in sent.headers["Location"]
    admin.post("/confirm", password="grün, a long enough phrase 🐑", next="/server/restored")
    assert admin.post("/server/restored/confirm", on="/server/restored").status_code == 303
    assert "restored copy" not in admin.get("/accounts").text
    with db.database.connection_context():
        assert identity.restored(settings.data_dir) is None
    assert "nothing to confirm" in admin.get("/server/restored").text


# -- the drill -------------------------------------------------------------------------------


@pytest.mark.dovecot
def test_from_two_backups_a_new_machine_collects_once_it_is_told_and_never_beside_the_old_one(
    post: PostOffice, tmp_path: Path
) -> None:
    account = post.add(letter(1))
    post.encrypt()
    post.collect(account)
    made = create.create(post.settings, tmp_path / "one.db", Actor())
    key = tmp_path / "key.bin"
    shutil.copy(post.settings.key_file, key)
    post.deliver(account, letter(2))
    post.collect(account)
    assert len(post.mail(account)) == 2

    new = {**post.environ, **environ_for(tmp_path / "new")}
    data = tmp_path / "new/data"
    data.mkdir(parents=True, mode=0o700)
    shutil.copy(made.path, data / "panel.db")
    shutil.copy(key, data / "encryption-key.bin")
    (data / "encryption-key.bin").chmod(0o600)
    server = PanelServer(new, tmp_path / "new.log")
    server.start()
    try:
        server.wait_for("Collecting is paused until you confirm")
        spool = data / "mail" / account.uuid / "new"
        refused = flask(new, "collect", "--once", "--account", account.address)
        assert refused.returncode == 3
        post.deliver(account, letter(3))
        post.collect(account)  # the old one still does: nothing was taken from it
        assert len(post.mail(account)) == 3
        assert not spool.exists()
        assert flask(new, "encryption", "verify").returncode == 0
        assert flask(new, "backup", "confirm", "--yes").returncode == 0
        wait_until(lambda: spool.exists() and len(list(spool.iterdir())) == 2, lambda: f"mail:\n{server.log}")
        # What came since the backup comes again, what was delivered before does not.
        mail = sorted(path.read_bytes() for path in spool.iterdir())
        assert mail == sorted([letter(2), letter(3)])
    finally:
        server.stop()


def test_a_task_that_was_enqueued_before_is_not_done_either(app: Flask, settings: Settings) -> None:
    jobs: Jobs = app.extensions["mailkeep.jobs"]
    with db.database.connection_context():
        house = House(settings, Vault.of(settings, db.database))
        account = house.add().account
        ask(house)
    jobs._tasks["collect_account"].call_local(account.uuid)
    jobs._tasks["tick"].call_local()
    assert not (settings.mail_spool / account.uuid).exists()
    with db.database.connection_context():
        wrong = [c.check for c in checks.run(checks.gather(settings, house.vault)) if not c.ok]
    assert "restored copy" in wrong
