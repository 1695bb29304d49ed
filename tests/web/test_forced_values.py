"""Promises to whoever looks at the panel after SQL put odd values into a row: pages and doctor go on."""

from __future__ import annotations

import pytest
from flask import Flask

from panel import audit, db
from panel.config import Settings
from panel.health import checks
from panel.models import Account, Collection, Consent
from panel.secret import Secret
from tests.encryption import kinds
from tests.encryption.conftest import House, new_endpoint
from tests.sign_in.browser import Browser, add_person

COLUMNS = {
    "account": ("address", "folder", "begin", "interval", "on_server", "move_to", "created_at", "paused_at"),
    "endpoint": ("rev", "host", "port", "username", "failed_rev", "failure", "address", "kind", "secret_set_at"),
    "collection": ("problem", "remedy", "leased_by", "leased_until", "next_due_at", "last_success_at", "failures"),
    "activity": ("at", "who", "what", "subject", "address", "detail"),
    "person": ("name", "created_at"),
    "person ": ("role",),
    "session": ("address", "agent", "confirmed_at"),
    "session ": ("role",),
}  # fmt: skip
PAGES = ("/", "/status", "/accounts", "/activity", "/people", "/profile")
ODD = ("x'ff'", "'abc'", "-1.5", "9e999", "9223372036854775807")


@pytest.mark.parametrize("table", COLUMNS)
def test_a_value_of_another_type_breaks_no_page_and_no_check(
    app: Flask, settings: Settings, table: str
) -> None:
    app.testing = False  # an error is a page
    add_person()
    browser = Browser(app)
    browser.sign_in()
    house = House(settings, app.extensions["mailkeep"].vault)
    with db.database.connection_context():
        house.enable()
        uuid = house.add("first").account_id
        sending = new_endpoint(Account.get_by_id(uuid), direction="out", protocol="smtp", port=465)
        sending.secret = Secret("secret")
        sending.save()
        Collection.insert(account=uuid, problem="It fails.").execute()
        audit.record("mailbox added", "x")
    columns = ", ".join(COLUMNS[table])
    for value in ODD:
        with db.database.connection_context():
            house.sql("PRAGMA ignore_check_constraints = 1")
            house.sql(f"UPDATE {table} SET ({columns}) = ({', '.join([value] * len(COLUMNS[table]))})")
            assert checks.run(checks.gather(settings, house.vault, deep=False))
        for page in (*PAGES, f"/accounts/{uuid}", f"/accounts/{uuid}/edit", f"/accounts/{uuid}/sending"):
            assert browser.client.get(page).status_code < 500, (value, page)


COMMANDS = (
    ("oauth", "list"), ("oauth", "list", "--json"), ("oauth", "show", kinds.uid("app one")), ("accounts", "list"),
    ("accounts", "list", "--json"), ("doctor", "--json"),
)  # fmt: skip


@pytest.mark.parametrize("value", ODD)
def test_nor_does_it_break_a_command(app: Flask, settings: Settings, value: str) -> None:
    house = House(settings, app.extensions["mailkeep"].vault)
    with db.database.connection_context():
        house.enable()
        kinds.add("an app")
        consent = kinds.add("a consent")
        mailbox = new_endpoint(Consent.get_by_id(consent.id).account, kind="consent", auth_method="oauth")
        mailbox.secret = Secret(kinds.uid("consent one"))
        mailbox.save()
        house.sql(f"UPDATE oauth_app SET name = {value}, secret_expires_at = {value}, problem_at = {value}")
    for command in COMMANDS:
        done = app.test_cli_runner().invoke(args=command)
        assert done.exit_code == (command[0] == "doctor") and done.output, (command, done.output)
