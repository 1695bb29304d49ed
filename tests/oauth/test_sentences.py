"""Each refusal that is known has a sentence of its own; none shows what the provider wrote."""

from __future__ import annotations

from dataclasses import replace

import pytest

from panel.errors import AppFault, ConsentNeeded, PanelError, TokenUnavailable
from panel.models.oauth import AppPlace
from panel.oauth import sentences

APP = AppPlace(
    uid="uid", name="Helpdesk", provider="microsoft", tenant="contoso.example", issuer="", client_id="an id/?",
    scopes="", access="delegated",
)  # fmt: skip
OTHER = replace(APP, provider="issuer", issuer="https://id.example.org", tenant="")

TABLE = [
    ("invalid_grant", "", ConsentNeeded, "The provider has ended this mailbox's consent (invalid_grant). Connect it again; mail waits on the server."),
    ("invalid_grant", "AADSTS70008: expired", ConsentNeeded, "ended this mailbox's consent (AADSTS70008)"),
    ("invalid_grant", "AADSTS70043: x", ConsentNeeded, "Your tenant's sign-in rules ended the session (AADSTS70043)"),
    ("invalid_grant", "AADSTS53003: x", ConsentNeeded, "exempt this app, or use application access"),
    ("interaction_required", "AADSTS50076: x", ConsentNeeded, "sign-in rules"),
    ("invalid_client", "AADSTS7000222: x", AppFault, "“Helpdesk” has expired (AADSTS7000222). Create a new one and enter it on the app's page; nobody needs to sign in again."),
    ("invalid_client", "AADSTS7000215: x", AppFault, "Copy Value, not Secret ID"),
    ("unauthorized_client", "AADSTS700016: x", AppFault, "Client ID or tenant does not match"),
    ("invalid_request", "AADSTS90002: x", AppFault, "Client ID or tenant does not match"),
    ("invalid_grant", "AADSTS65001: x", ConsentNeeded, "https://login.microsoftonline.com/contoso.example/adminconsent?client_id=an%20id%2F%3F "),
    ("consent_required", "AADSTS90094: x", ConsentNeeded, "An administrator of your tenant must approve this app"),
    ("invalid_client", "AADSTS50011: x", AppFault, "Register exactly the one on the app's page"),
    ("invalid_scope", "", AppFault, "Check the permissions"),
    ("unauthorized_client", "", AppFault, "Check at the provider what the app may do"),
    ("unsupported_grant_type", "", AppFault, "Compare the app's page"),
    ("redirect_uri_mismatch", "", AppFault, "Register exactly the one on the app's page"),
    ("server_error", "", TokenUnavailable, "no access token (server_error)"),
    ("", "", TokenUnavailable, "no access token (unknown error)"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "description", "kind", "shown"), TABLE)
def test_a_known_refusal_has_its_own_sentence(
    error: str, description: str, kind: type[PanelError], shown: str
) -> None:
    found = sentences.refusal(APP, error, description)
    assert isinstance(found, kind)
    assert shown in str(found)


@pytest.mark.parametrize(("error", "description", "kind", "shown"), TABLE)
def test_an_error_in_other_capitals_is_the_same_one(
    error: str, description: str, kind: type[PanelError], shown: str
) -> None:
    for written in (error.title(), error.upper()):
        for of_code in (False, True):
            found = sentences.refusal(APP, written, description, of_code=of_code)
            same = sentences.refusal(APP, error, description, of_code=of_code)
            assert (type(found), str(found)) == (type(same), str(same))


def test_the_codes_of_microsoft_decide_nothing() -> None:
    for code in sentences.BY_CODE:
        described = f"AADSTS{code}: x"
        assert isinstance(sentences.refusal(APP, "temporarily_unavailable", described), TokenUnavailable)
        assert isinstance(sentences.refusal(APP, "invalid_client", described), AppFault)


def test_microsoft_as_an_issuer_of_its_own_address_is_understood_too() -> None:
    for error, described, _, _ in TABLE:
        if "65001" not in described and "90094" not in described:
            found = sentences.refusal(OTHER, error, described)
            assert str(found) == str(sentences.refusal(APP, error, described))
    approve = sentences.refusal(OTHER, "invalid_grant", "AADSTS65001: x")
    assert str(approve).endswith("Have it approved at the provider. Then connect the mailbox again.")


@pytest.mark.parametrize(
    "written", ["<script>", "a" * 100, "the refresh token", "x\x1b[1m", "ÄÖ", "{0}", "{app}"]
)
def test_what_the_provider_wrote_is_not_shown(written: str) -> None:
    for error, description in ((written, ""), ("invalid_grant", written), ("invalid_client", written)):
        assert written not in str(sentences.refusal(APP, error, description))
    assert "AADSTS123456" not in str(sentences.refusal(APP, "x", "x" * 2000 + "AADSTS123456"))


def test_a_code_of_the_browser_ends_no_consent() -> None:
    found = sentences.refusal(APP, "invalid_grant", of_code=True)
    assert (
        found.message
        == "The provider did not accept the code (invalid_grant): it was used already, or it has expired."
    )
    denied = sentences.refusal(APP, "access_denied", of_code=True)
    assert isinstance(denied, ConsentNeeded)
    assert "did not consent" in denied.message


def test_a_stored_code_is_shown_only_where_it_is_one() -> None:
    assert "(AADSTS70008)" in sentences.ended("AADSTS70008").message
    for planted in ("", "<b>", "Call 0900", "AADSTS1 and more"):
        assert "(invalid_grant)" in sentences.ended(planted).message


def test_who_may_not_open_the_mailbox_is_named() -> None:
    message, remedy = sentences.not_connected("anna@example.org", "support@example.org")
    assert message == "Signed in as anna@example.org, who may not open support@example.org."
    assert remedy == "Grant Full Access to support@example.org, or sign in as support@example.org."
