"""Values as long as they may be, in every list and on every page of their own: nothing leaves the window."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from panel import db
from panel.audit import Actor
from panel.models import Account, Activity, Collection, Person
from panel.models.messages import LoggedMessage
from panel.models.oauth import new_uid
from panel.oauth import app_rules, apps
from panel.secret import Secret
from tests.browser.fixtures import NARROW
from tests.browser.served import Site, served
from tests.encryption.conftest import House, new_endpoint

pytestmark = pytest.mark.browser

ADDRESS = f"{'a' * 64}@{'b' * 60}.{'c' * 60}.example"
WIDE = {"width": 1280, "height": 800}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with served(tmp_path) as site:
        with db.database.connection_context():
            fill(site.house)
        yield site


def fill(house: House) -> None:
    """A failing mailbox, its mail, an app, a person and an event, with no place to break in any of them."""
    now = db.now()
    account = Account.create(address=ADDRESS, created_at=now)
    row = new_endpoint(account, host=f"imap.{'d' * 63}.example", username="u" * 250)
    row.secret = Secret("x")
    row.save()
    house.enable()
    failing = {
        "problem": f"It said {'q' * 300}",
        "remedy": "z" * 200,
        "failures": 3,
        "failing_since": now - 9000,
    }
    Collection.insert(account=account, **failing).on_conflict_replace().execute()
    for number, (name, subject) in enumerate((("N" * 1024, "S" * 998), ("مرحبا" * 200, "🧑‍💻" * 200))):
        LoggedMessage.create(
            account=account, at=now, size=900, sender=ADDRESS, sender_name=name, subject=subject,
            uidvalidity=1, uid=number, waiting=False,
        )  # fmt: skip
    issuer = f"https://login.{'i' * 60}.example/{'r' * 100}"
    place = app_rules.place(new_uid(), "P" * 60, "issuer", issuer=issuer, client_id="K" * 200, scopes="mail")
    apps.add(house.vault, place, Secret("x"), None, Actor())
    Person.update(name="W" * 200).execute()
    Person.update(email=ADDRESS).where(Person.id == 2).execute()
    Activity.create(
        at=now, who="w" * 200, what="mailbox changed", subject=ADDRESS, detail="d" * 900, address=""
    )


def test_no_page_is_wider_than_its_window(site: Site, page: Page) -> None:
    with db.database.connection_context():
        uuid = Account.get(Account.address == ADDRESS).uuid
        [(uid,)] = site.house.sql("SELECT uid FROM oauth_app")
    mailbox = [
        f"/accounts/{uuid}{end}" for end in ("", "/edit", "/remove", "/sending", "/delivery", "/submission")
    ]
    pages = ["/", "/accounts", "/messages", "/people", "/people/2", "/activity", "/profile", *mailbox]
    pages += ["/server/oauth", f"/server/oauth/{uid}", "/server/alerts", "/server/encryption/passwords"]
    site.sign_in(page)
    too_wide = []
    for path in pages:
        for window in (NARROW, WIDE):
            page.set_viewport_size(window)  # type: ignore[arg-type]
            page.goto(site.url + path)
            page.evaluate("document.querySelectorAll('details:not(.menu)').forEach(e => (e.open = true))")
            if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
                too_wide.append((path, window["width"]))
        highest = page.evaluate(
            "Math.max(0, ...[...document.querySelectorAll('tr')].map(e => e.offsetHeight))"
        )
        assert highest < 900, f"{path}: a column is squeezed to the width of some letters"
    assert not too_wide
