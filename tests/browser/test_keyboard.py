"""Promises for who uses no mouse: every page is walked by Tab, in order, with a focus that is seen; nothing moves unasked."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from panel import db
from panel.models import Account
from tests.browser.conftest import Open
from tests.browser.served import Site

pytestmark = pytest.mark.browser

PAGES = (
    "/", "/accounts", "/accounts/new", "/accounts/UUID", "/accounts/UUID/edit", "/accounts/UUID/sending", "/accounts/UUID/remove",
    "/server/encryption", "/people", "/people/new", "/people/1", "/activity", "/profile", "/status", "/confirm", "/nowhere",
)  # fmt: skip
# What Tab must reach, in the order of the page: of the radio buttons of one name, one.
REACHABLE = """() => {
  const seen = new Set();
  window.reachable = [...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary")]
    .filter((each) => each.checkVisibility({ contentVisibilityAuto: true }) && !each.disabled)
    .filter((each) => each.type !== "radio" || (each.checked || !document.querySelector(`[name="${each.name}"]:checked`)) && !seen.has(each.name) && seen.add(each.name));
  return window.reachable.length;
}"""
HERE = """() => {
  const here = document.activeElement, style = getComputedStyle(here), box = here.getBoundingClientRect();
  return {
    index: window.reachable.indexOf(here),
    html: here.outerHTML.slice(0, 120),
    outlined: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
    inside: box.width > 0 && box.right > 0 && box.left < innerWidth && box.bottom > 0 && box.top < innerHeight,
  };
}"""


def walk(page: Page) -> None:
    """Tab through the whole page, and fail where something is left out, out of order or not to be seen."""
    count = page.evaluate(REACHABLE)
    for index in range(count):
        page.keyboard.press("Tab")
        here: dict[str, Any] = page.evaluate(HERE)
        assert here["index"] == index, f"{page.url}: Tab {index} leads to {here}"
        assert here["outlined"] and here["inside"], f"{page.url}: the focus is not seen on {here}"
    page.keyboard.press("Tab")
    assert page.evaluate(HERE)["index"] in (-1, 0), f"{page.url}: Tab does not leave the page"


def test_every_page_is_walked_by_tab(site: Site, open_as: Open) -> None:
    with db.database.connection_context():
        uuid = Account.get().uuid
    page = open_as("admin", "/profile")
    for path in PAGES:
        page.goto(site.url + path.replace("UUID", uuid))
        page.evaluate("document.activeElement.blur()")
        page.evaluate("getSelection().collapse(document.body, 0)")  # where Tab goes on from
        walk(page)


def test_the_first_stop_skips_the_navigation(open_as: Open) -> None:
    page = open_as("admin", "/accounts")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Import")).to_be_focused()


def test_boxes_links_and_buttons_answer_to_space_and_enter(open_as: Open) -> None:
    page = open_as("admin", "/server/encryption")
    first, second = page.get_by_role("checkbox").all()
    first.focus()
    page.keyboard.press("Space")
    expect(first).to_be_checked()
    page.keyboard.press("Tab")
    expect(second).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Generate Key File")).to_be_focused()
    page.keyboard.press("Enter")
    problem = page.get_by_role("alert").filter(has_text="There is a problem")
    expect(problem).to_be_focused()
    page.get_by_role("alert").get_by_role("link").focus()
    page.keyboard.press("Enter")
    expect(second).to_be_focused()
    expect(first).to_be_checked()


def test_what_is_folded_opens_by_enter(open_as: Open) -> None:
    page = open_as("admin", "/accounts/new")
    summary = page.locator("summary", has_text="After collecting")
    summary.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Check every … seconds")).to_be_visible()


def test_nothing_is_animated_where_less_motion_is_wanted(site: Site, open_as: Open) -> None:
    moving = """() => {
      for (const button of document.querySelectorAll("button")) button.ariaBusy = "true";
      return document.getAnimations().length + [...document.querySelectorAll("*")].filter((each) =>
        parseFloat(getComputedStyle(each).transitionDuration) > 0).length;
    }"""
    assert open_as("admin", "/people/new").evaluate(moving) > 0, "a busy button is to be seen to work"
    page = open_as("admin", "/", reduced_motion="reduce")
    for path in ("/", "/people/new", "/accounts/new", "/server/encryption"):
        page.goto(site.url + path)
        assert page.evaluate(moving) == 0, path
