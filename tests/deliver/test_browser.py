"""The pages of delivery in a browser: what axe finds, wide and narrow, and a target chosen and tested by hand."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from panel import db
from panel.audit import Actor
from panel.deliver import mailboxes, spool
from panel.mail.maildir import Maildir
from panel.models import Account, SpoolCount
from tests.browser.fixtures import CheckAxe
from tests.browser.served import served

pytestmark = pytest.mark.browser
TARGETS = """
default = "helpdesk"
[helpdesk]
type = "command"
command = ["/usr/local/bin/take-mail"]
[forum]
type = "http"
url = "https://forum.example.org/admin/email/handle_mail"
[rt]
type = "command"
command = ["/usr/bin/rt-mailgate"]
"""


def test_targets_and_a_mailbox_with_every_kind_of_trouble(page: Page, tmp_path: Path, axe: CheckAxe) -> None:
    file = tmp_path / "targets.toml"
    file.write_text(TARGETS)
    with served(tmp_path, PANEL_TARGETS_FILE=str(file)) as site:
        settings, now = site.house.settings, int(time.time())
        with db.database.connection_context():
            one, two = Account.select().order_by(Account.address)
            mailboxes.choose(settings, one.uuid, "rt", Actor("a"))
            Account.update(deliver_to="gone").where(Account.uuid == two.uuid).execute()
            SpoolCount.create(account=one, unread=12, oldest_at=now - 4000, counted_at=now)
            maildir = Maildir(settings.mail_spool / one.uuid)
            name = maildir.unique_name(1, 1)
            spool.beside(settings.mail_spool, one.uuid, "aside", name).write_bytes(b"x")
            told = {
                "head": "x", "attempts": 4, "answer": "Exit status 75. RT server error", "next_at": now + 200,
                "delivered_at": now - 9000, "delivered": "ok Ticket 7",
                "aside": [{"name": name, "at": now - 5000, "answer": "Exit status 65."}],
            }  # fmt: skip
            spool.write(spool.beside(settings.mail_spool, "state", f"{one.uuid}.json"), told, 0o600)
            rt = {
                "since": now - 4000,
                "failures": 9,
                "answer": "Exit status 75. RT server error",
                "delivered_at": now - 9000,
            }
            report = {"at": now, "problem": "", "targets": {"rt": rt, "forum": {"delivered_at": now - 60}}}
            spool.write(spool.beside(settings.mail_spool, "state", "deliverer.json"), report, 0o600)
        site.sign_in(page)
        page.goto(f"{site.url}/server/delivery")
        expect(page.locator("main")).to_contain_text("not in the targets file: mail waits")
        expect(page.locator("main")).to_contain_text("RT server error")
        axe(page)
        page.goto(f"{site.url}/accounts/{one.uuid}/delivery")
        expect(page.locator("#aside")).to_contain_text("Exit status 65.")
        axe(page)
        page.get_by_label("Deliver to").select_option("forum")
        page.get_by_role("button", name="Save").click()
        expect(page.locator("body")).to_contain_text("goes out to forum now")
        page.goto(f"{site.url}/accounts/{two.uuid}/delivery")
        expect(page.locator("main")).to_contain_text("“gone” is not in the targets file")
        axe(page)
        page.goto(f"{site.url}/server/delivery")
        page.get_by_role("button", name="Send sample to forum").click()
        expect(page.locator("main")).to_contain_text("on its way")
        axe(page)
        page.goto(f"{site.url}/accounts/{one.uuid}")
        expect(page.locator("main")).to_contain_text("Goes out to")
        axe(page)
