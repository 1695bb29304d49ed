"""Promises of `deliver again`, where a member of PANEL_MAIL_GROUP has been in the folders beside the Maildir."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from panel import db
from panel.audit import Actor
from panel.config import Settings
from panel.deliver import http, mailboxes, spool, targets_file
from panel.errors import BadInput, SettingsError, SpoolError
from panel.mail.maildir import Maildir, make_folder
from panel.models import Account

UUID = "0e8aa9e3-0f0c-4d3c-9a53-8d4c2f9b1a11"


@pytest.fixture
def beside(app: Flask, settings: Settings) -> Iterator[Path]:
    """The folders beside the Maildir of an install's one mailbox."""
    del app
    with db.database.connection_context():
        Account.create(uuid=UUID, address="support@example.org", created_at=db.now())
        Maildir(settings.mail_spool / UUID).create()
        path = spool.beside(settings.mail_spool, UUID)
        path.mkdir(parents=True)
        for name in ("sent", "aside"):
            make_folder(path / name, 0o700, None)
        yield path


def again(settings: Settings) -> int:
    return mailboxes.again(settings, UUID, 0, only_aside=False, actor=Actor("a@example.org"))


@pytest.mark.parametrize("folder", ["sent", "aside"])
def test_a_link_in_the_place_of_a_folder_takes_nothing_out_of_another(
    beside: Path, settings: Settings, folder: str
) -> None:
    before = sorted(path.name for path in settings.data_dir.iterdir())
    (beside / folder).rmdir()
    (beside / folder).symlink_to(settings.data_dir)
    with pytest.raises(SpoolError):
        again(settings)
    assert sorted(path.name for path in settings.data_dir.iterdir()) == before
    assert spool.names(settings.mail_spool / UUID / "new") == []


def test_what_is_no_mail_of_ours_is_not_put_back_and_holds_nothing_up(
    beside: Path, settings: Settings
) -> None:
    secret = settings.data_dir / "secret-key"
    (beside / "aside" / "1.link").symlink_to(secret)
    (beside / "aside" / "2.hard").hardlink_to(secret)
    os.mkfifo(beside / "aside" / "3.fifo")
    (beside / "aside" / "4.folder").mkdir()
    (beside / "sent" / "5.mail").write_bytes(b"Subject: x\r\n\r\n")
    assert again(settings) == 1
    [name] = spool.names(settings.mail_spool / UUID / "new")
    assert name.startswith("5.mail")
    assert secret.lstat().st_nlink == 2


def test_folders_in_the_place_of_files_cost_no_open_file(beside: Path) -> None:
    def opened() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    (beside / "state.json").mkdir()
    before = opened()
    for _ in range(20):
        assert spool.read(beside / "state.json") == {}
        with pytest.raises(SettingsError):
            targets_file.read(beside / "state.json")
        with pytest.raises(BadInput):
            http.secret(beside, "state.json")
    assert opened() == before


def test_a_name_that_cannot_be_shown_is_escaped_where_its_file_stops_the_work(
    beside: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    (beside / "sent" / os.fsdecode(b"5.\xff\x1b[31m")).write_bytes(b"Subject: x\r\n\r\n")

    def full(name: str, *_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", name)

    monkeypatch.setattr("os.rename", full)
    with pytest.raises(SpoolError) as found:
        again(settings)
    assert str(found.value).isascii() and str(found.value).isprintable()
