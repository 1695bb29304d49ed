"""Promises of what a page costs: few statements of SQL, and no more of them for more mailboxes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from peewee import QueryEvent
from werkzeug.routing import Rule

from panel import db
from panel.models import Collection, SpoolCount
from tests.encryption.conftest import House
from tests.running import Environ
from tests.sign_in.browser import Browser, add_person

MOST = 8
WITHOUT = {
    "/static/<path:filename>",
    "/activity/activity.csv",
    "/accounts/export.csv",
    "/metrics",
    "/readyz",
}  # no pages


@pytest.fixture
def admin(app: Flask) -> Iterator[Browser]:
    """An administrator in front of a server whose connections are pooled, as `panel.serve` has them."""
    db.database.obj.pool_connections()
    add_person()
    browser = Browser(app)
    browser.sign_in()
    yield browser
    db.database.obj.close_idle()


def paths(app: Flask, uuid: str) -> list[str]:
    """The address of every page that there is to read."""
    rules: list[Rule] = [rule for rule in app.url_map.iter_rules() if "GET" in (rule.methods or ())]
    known = {
        "uuid": uuid,
        "number": "1",
        "person_id": "1",
        "token": "some-token",
        "name": "accounts",
        "filename": "no.png",
        "uid": "some-app",
        "app": "some-app",
        "flow": "some-flow",
    }
    return sorted(
        re.sub(r"<(?:\w+:)?(\w+)>", lambda found: known[found[1]], rule.rule)
        for rule in rules
        if rule.rule not in WITHOUT and rule.endpoint != "static"
    )


def cost(browser: Browser, path: str) -> list[str]:
    """The statements that one answer takes, once all is warm."""
    browser.get(path)
    found: list[QueryEvent] = []
    db.database.obj.query_hooks.append(found.append)
    try:
        assert browser.get(path).status_code < 500
    finally:
        db.database.obj.query_hooks.remove(found.append)
    return [event.sql for event in found]


def add(house: House, count: int) -> str:
    """So many mailboxes, the uuid of one, some of them failing."""
    with db.database.connection_context():
        rows = [house.add() for _ in range(count)]
        Collection.insert_many(
            [{"account": row.account_id, "problem": "It fails." if row.id % 3 else None} for row in rows]
        ).execute()
    return str(rows[0].account_id)


@pytest.fixture
def all_set(environ: Environ, tmp_path: Path) -> None:
    """Mail goes out to a target, whose deliverer does not run, and helpdesks send."""
    file = tmp_path / "targets.toml"
    file.write_text('default = "desk"\ndesk = { type = "command", command = ["/bin/true"] }')
    file.chmod(0o600)
    environ |= {"PANEL_TARGETS_FILE": str(file), "PANEL_SUBMISSION_BIND": "127.0.0.1:2525"}


def test_no_page_takes_more_than_eight_statements(app: Flask, house: House, admin: Browser) -> None:
    no_page_takes_more(app, admin, add(house, 3))


def test_nor_with_encryption_targets_and_submission(
    all_set: None, app: Flask, house: House, admin: Browser
) -> None:
    uuid = add(house, 3)
    with db.database.connection_context():
        house.enable()
        SpoolCount.create(account=uuid, unread=20_000, oldest_at=1, counted_at=db.now())
    no_page_takes_more(app, admin, uuid)


def no_page_takes_more(app: Flask, admin: Browser, uuid: str) -> None:
    costs = {path: cost(admin, path) for path in paths(app, uuid)}
    assert len(costs) > 20
    too_much = {path: len(statements) for path, statements in costs.items() if len(statements) > MOST}
    assert not too_much, "\n".join(["", *costs[next(iter(too_much))], str(too_much)])


def test_more_mailboxes_take_no_more_statements(app: Flask, house: House, admin: Browser) -> None:
    uuid = add(house, 3)
    before = {path: len(cost(admin, path)) for path in paths(app, uuid)}
    add(house, 60)
    assert {path: len(cost(admin, path)) for path in paths(app, uuid)} == before


def test_no_page_is_longer_for_more_mailboxes_than_one_of_the_list_holds(
    app: Flask, house: House, admin: Browser
) -> None:
    uuid = add(house, 60)
    before = {path: len(admin.get(path).data) for path in paths(app, uuid)}
    add(house, 60)
    after = {path: len(admin.get(path).data) for path in paths(app, uuid)}
    longer = {path: (before[path], after[path]) for path in before if after[path] > before[path] + 4000}
    assert not longer
