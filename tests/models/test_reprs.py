"""A password is in no repr, no str, no log line of an object that holds it, and in no pickle."""

from __future__ import annotations

import copy
import logging
import pickle
from typing import Any

import pytest

from panel.mail.server import MailServer
from panel.models import Endpoint
from panel.models.secret_fields import Clear, Sealed, StoredClear, StoredRecord
from panel.secret import Secret
from panel.vault import credential
from panel.vault.credential import Credential
from tests.encryption.conftest import House, house  # noqa: F401

AUTHORIZATION_FILE = "MARKER-in-no-repr"


def holders(house: House) -> list[Any]:
    endpoint = house.add(AUTHORIZATION_FILE)
    row = Endpoint.get_by_id(endpoint.id)
    waiting = Endpoint.get_by_id(endpoint.id)
    waiting.secret = Secret(AUTHORIZATION_FILE)
    server = MailServer("imap", "imap.example.org", 993, "tls", "me")
    return [
        Secret(AUTHORIZATION_FILE), Clear(Secret(AUTHORIZATION_FILE)), StoredClear(AUTHORIZATION_FILE), Sealed(AUTHORIZATION_FILE.encode()), StoredRecord(AUTHORIZATION_FILE.encode()),
        Credential(server, Secret(AUTHORIZATION_FILE)), credential.open_for(row, house.vault), row, row.clear, waiting,
        Endpoint.select().where(Endpoint.id == endpoint.id),
    ]  # fmt: skip


def test_no_object_shows_it(house: House, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        for holder in holders(house):
            logging.getLogger("test").info("%s %r", holder, holder)
            assert AUTHORIZATION_FILE not in f"{holder} {holder!r} {[holder]} { ({'k': holder}) }"
    assert AUTHORIZATION_FILE not in caplog.text


def test_peewee_logs_no_parameters_even_where_everything_is_logged(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        house.add(AUTHORIZATION_FILE)
    assert AUTHORIZATION_FILE not in caplog.text


@pytest.mark.parametrize("take", [pickle.dumps, copy.copy, copy.deepcopy, hash, lambda s: s == Secret("x")])
def test_a_secret_is_not_pickled_copied_hashed_or_compared(take: Any) -> None:
    with pytest.raises(TypeError):
        take(Secret(AUTHORIZATION_FILE))
