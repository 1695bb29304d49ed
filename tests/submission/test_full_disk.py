"""A disk that is full: the helpdesk is told to come again, and nothing else happens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from panel import db
from tests import disks
from tests.encryption.conftest import House
from tests.submission.conftest import ADDRESS, MESSAGE, UPSTREAM_PASSWORD, add_mailbox, running
from tests.submission.sink import Sink

PAGE = 4096


@pytest.mark.parametrize("free", [0, PAGE, 2**20, 2**21, 2**21 - PAGE, 3 * 2**20 - PAGE])
def test_a_message_for_which_there_is_no_space_is_for_later_and_the_next_one_goes_out(
    house: House, sink: Sink, tmp_path: Path, caplog: pytest.LogCaptureFixture, free: int
) -> None:
    with db.database.connection_context():
        uuid = add_mailbox(house, ADDRESS, "127.0.0.1", sink.port, UPSTREAM_PASSWORD, security="none")
    with disks.disk(tmp_path / "full", "4m") as place:
        (place / "filler").write_bytes(bytes(2**22 - free - PAGE))
        small = House(replace(house.settings, data_dir=place), house.vault)
        with running(small, uuid) as desk:
            desk.new_password()
            with desk.signed_in() as client:
                for size in (3 * 2**20, 3 * 2**20 + 1, 3 * 2**20 + 5000):
                    client.mail(ADDRESS)
                    client.rcpt("ada@example.net")
                    code, text = client.data(MESSAGE + b"x" * 70 + b"\r\n" * ((size - len(MESSAGE)) // 2))
                    assert (code, text[:5]) == (452, b"4.3.1")
                client.sendmail(ADDRESS, ["ada@example.net"], MESSAGE)
    assert len(sink.handed) == 1 and "unknown error" not in caplog.text
