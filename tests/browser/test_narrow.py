"""Promises of a phone's width: what is to be read and pressed is whole, on an install that is in use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page

from panel import db
from panel.models import Alert
from tests.browser.fixtures import NARROW
from tests.browser.lived_in import fill, settings
from tests.browser.served import Site, served

pytestmark = pytest.mark.browser

ROOM = """(input) => {
  const style = getComputedStyle(input), brush = document.createElement("canvas").getContext("2d");
  brush.font = `${style.fontWeight} ${getComputedStyle(input, "::placeholder").fontSize} ${style.fontFamily}`;
  const inside = input.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
  return inside - brush.measureText(input.placeholder).width;
}"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    with served(directory, **settings(directory)) as site:
        with db.database.connection_context():
            fill(site.house)
            Alert.update(resolved_at=db.now()).where(Alert.condition == "delivery-stopped").execute()
        yield site


@pytest.mark.parametrize("role", ["admin", "agent"])
def test_what_may_be_searched_for_is_read_whole(site: Site, page: Page, role: str) -> None:
    page.set_viewport_size(NARROW)  # type: ignore[arg-type]
    site.sign_in(page, role)
    of_admins = ["/accounts", "/people", "/activity", "/server/alerts", "/server/encryption/passwords"]
    for path in ["/messages", "/help", *(of_admins if role == "admin" else ["/status"])]:
        page.goto(site.url + path)
        page.evaluate("document.fonts.ready")
        field = page.get_by_role("searchbox").first
        assert field.evaluate(ROOM) >= 0, path
        submit = page.locator("main form[role=search] button[type=submit]").first
        box = submit.bounding_box()
        assert box and min(box["width"], box["height"]) >= 44, path


def test_the_two_buttons_of_an_alert_stand_beside_each_other(site: Site, page: Page) -> None:
    page.set_viewport_size(NARROW)  # type: ignore[arg-type]
    site.sign_in(page)
    page.goto(f"{site.url}/server/alerts")
    rows = page.locator("section[aria-labelledby=open] .actions")
    assert rows.count() > 2
    for row in rows.all():
        tops = {box["y"] for each in row.locator(".button").all() if (box := each.bounding_box())}
        assert len(tops) == 1, row.inner_text()
