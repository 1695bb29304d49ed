"""Promises to whoever waits for mail: an account whose server SQL removed is named, and can be removed."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from panel import db
from panel.models import Account
from tests.accounts.conftest import form
from tests.encryption.conftest import House
from tests.sign_in.browser import Browser

GONE = (
    "DELETE FROM endpoint",
    "UPDATE endpoint SET direction = x'696e'",
    "UPDATE endpoint SET direction = 'In'",
)


@pytest.mark.parametrize("statement", GONE)
def test_it_is_named_and_can_be_removed(
    admin: Browser, house: House, cli: Callable[..., subprocess.CompletedProcess[str]], statement: str
) -> None:
    admin.post("/accounts/new", **form())
    with db.database.connection_context():
        house.sql(statement)
        uuid = Account.get().uuid
    message = "support@example.org has no mail server in the database"
    assert message in cli("doctor").stdout
    assert message in admin.get("/").text
    assert admin.post(f"/accounts/{uuid}/remove").status_code == 303
    assert admin.post("/accounts/new", **form()).status_code == 303
    with db.database.connection_context():
        house.sql(statement)
    assert cli("accounts", "remove", "support@example.org", "--yes").returncode == 0
