"""Promises of connecting a mailbox in the browser, without scripts."""

from __future__ import annotations

from panel.models import Consent, Pending
from tests.oauth.pages.connecting import Connecting


def test_a_mailbox_is_added_connected_and_collected(connecting: Connecting) -> None:
    address = connecting.user()
    page = connecting.add(address)
    assert page.headers["Refresh"] == f"0; url={connecting.provider_url(page)}"
    page = connecting.come_back(connecting.sign_in(page, address))
    assert f"Signed in as {address.replace('@', '@<wbr>')}" in page.text
    assert connecting.consent(connecting.uuid(address)).connected_at is None
    assert connecting.confirm(page).status_code == 303
    consent = connecting.consent(connecting.uuid(address))
    assert (consent.connected_at is not None, consent.signs_in_as, consent.subject != "") == (
        True,
        address,
        True,
    )
    with connecting.database():
        assert not Pending.select().exists()
        assert Consent.select().count() == 1
