"""Promises against whoever writes the database while a person connects a mailbox: what is shown is what is
connected, and a form fills in nothing that was forged.
"""

from __future__ import annotations

import re

import pytest

from panel import db
from tests.oauth.pages.connecting import Connecting

HIDDEN = (
    "UPDATE endpoint SET host = 'mail.forged.example'",
    "UPDATE oauth_app SET name = 'Forged', provider = 'microsoft'",
    "UPDATE account SET address = 'forged@example.org'",
    "UPDATE consent SET subject = '', signs_in_as = 'forged@example.org'",
)


def test_the_page_shows_what_the_flow_was_begun_for_whatever_the_rows_say_meanwhile(
    connecting: Connecting,
) -> None:
    address = connecting.user()
    uuid = connecting.connected(address)
    begun = connecting.connect(uuid)
    page = connecting.come_back(connecting.sign_in(begun, "bob@example.org"))
    with connecting.database():
        for statement in HIDDEN:
            db.database.execute_sql(statement)
    for path in (begun.request.path, page.request.path):
        page = connecting.admin.get(path)
        assert "orged" not in page.text and address.replace("@", "@<wbr>") in page.text
    assert re.search(r"<dt>Used at</dt><dd>localhost:[0-9]+</dd>", page.text)
    assert "<dt>Through</dt><dd>Company</dd>" in page.text
    assert "This mailbox was connected as " + address.replace("@", "@<wbr>") in page.text


def test_the_shell_says_where_the_consent_is_used_before_anybody_gives_it(connecting: Connecting) -> None:
    address = connecting.user()
    connecting.waiting(address)
    for options in ((), ("--device",)):
        with connecting.shell("oauth", "connect", address, *options) as shell:
            used = connecting.line(shell, "The consent ")
            assert used.endswith(f"used at localhost:{connecting.dovecot.tls_port}, through the app Company.")
            assert connecting.line(shell, "Open this address")
            shell.kill()


FORGED_APP = {
    "the app of its consent": "UPDATE consent SET app = '{other}'",
    "whom it signs in as": "UPDATE consent SET signs_in_as = 'forged@example.org'",
    "another consent beside it": "INSERT INTO consent (uid, app, account_id, signs_in_as, subject, kind, rev, created_at)"
    " SELECT 'x', '{other}', account_id, 'forged@example.org', '', kind, rev, created_at FROM consent",
}  # fmt: skip


@pytest.mark.parametrize("forged", FORGED_APP)
def test_no_form_fills_in_an_app_or_a_person_that_sql_put_there(connecting: Connecting, forged: str) -> None:
    uuid = connecting.connected()
    other = connecting.add_app("Other", client_id="second")
    with connecting.database():
        db.database.execute_sql(FORGED_APP[forged].format(other=other))
    for page in (f"/accounts/{uuid}/edit", f"/accounts/{uuid}/sending"):
        text = connecting.admin.get(page).text
        assert f'<option value="{other}">Other' in text and "forged@" not in text, page
