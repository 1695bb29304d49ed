"""What is sent to a provider, and what is taken from it."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from panel.errors import AppFault, BadInput, ConsentNeeded, MailError, Refused, TokenUnavailable
from panel.mail import https
from panel.mail.policy import Policy
from panel.models.oauth import AppPlace
from panel.oauth import claims, client, providers
from panel.oauth.client import Device, StillPending, Tokens
from panel.secret import Secret
from tests.oauth.conftest import PANEL
from tests.servers.certificates import Authority
from tests.servers.issuer import CLIENTS, Issuer
from tests.servers.rogue_issuer import DISCOVERY, RogueIssuer

POLICY = Policy(frozenset())
REDIRECT = PANEL.redirects[0]
VERIFIER = "verifier-of-forty-three-characters-at-least-0"
TOKEN = {"access_token": "an-access-token", "token_type": "Bearer", "refresh_token": "a-refresh-token"}


def app_at(url: str, **over: str) -> AppPlace:
    values = {
        "uid": "app", "name": "App", "provider": "issuer", "tenant": "", "issuer": url,
        "client_id": PANEL.id, "scopes": "mail", "access": "delegated",
    }  # fmt: skip
    return AppPlace(**{**values, **over})


MICROSOFT = app_at("", provider="microsoft", tenant="contoso.example", client_id="an-id")
GOOGLE = app_at("", provider="google", client_id="an-id.apps.example")


@pytest.fixture
def rogue() -> Iterator[RogueIssuer]:
    server = RogueIssuer()
    yield server
    server.stop()


def parameters(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


@pytest.mark.parametrize(
    ("app", "step", "remedy"),
    [
        (MICROSOFT, "name", "DNS and firewall"),
        (GOOGLE, "connect", "DNS and firewall"),
        (MICROSOFT, "tls", "typed"),
    ],
)
def test_nobody_is_told_to_correct_a_name_that_only_the_code_has(
    monkeypatch: pytest.MonkeyPatch, app: AppPlace, step: str, remedy: str
) -> None:
    def fetch(*_: object, **__: object) -> None:
        raise MailError(step, "It failed.", "Correct what was typed.")

    monkeypatch.setattr(https, "fetch", fetch)
    with pytest.raises(TokenUnavailable, match=r"It failed\.") as failed:
        client.refresh(app, Secret("s"), Secret("r"), POLICY)
    assert remedy in failed.value.remedy


# -- where the browser goes ---------------------------------------------------------------------


def test_microsoft_is_asked_at_its_own_address_for_the_tenant_of_the_app() -> None:
    url = client.authorization_url(MICROSOFT, VERIFIER, "state", REDIRECT, "a@example.org", POLICY)
    assert url.startswith("https://login.microsoftonline.com/contoso.example/oauth2/v2.0/authorize?")
    sent = parameters(url)
    assert sent["code_challenge_method"] == "S256"
    assert VERIFIER not in url
    assert (sent["login_hint"], sent["prompt"], sent["state"]) == ("a@example.org", "select_account", "state")
    assert "https://outlook.office.com/IMAP.AccessAsUser.All" in sent["scope"].split()
    assert {"offline_access", "openid", "email"} <= set(sent["scope"].split())


def test_a_tenant_leads_nowhere_else() -> None:
    for tenant in ("../evil", "a?b=c", "a#b", "a@evil.example", "//evil.example"):
        url = providers.endpoints(app_at("", provider="microsoft", tenant=tenant), POLICY).token
        assert urlsplit(url).hostname == "login.microsoftonline.com"
        assert urlsplit(url).path.endswith("/oauth2/v2.0/token")
        assert urlsplit(url).path.count("/") == 4
    with pytest.raises(BadInput):
        providers.endpoints(app_at("", provider="microsoft"), POLICY)
    with pytest.raises(BadInput):
        providers.endpoints(app_at("", provider="evil"), POLICY)


def test_google_is_asked_for_offline_access() -> None:
    url = client.authorization_url(GOOGLE, VERIFIER, "state", REDIRECT, "", POLICY)
    sent = parameters(url)
    assert url.startswith("https://accounts.google.com/")
    assert (sent["access_type"], sent["prompt"]) == ("offline", "select_account consent")
    assert sent["scope"] == "https://mail.google.com/ openid email"
    assert "login_hint" not in sent


# -- four ways to a token, at a real provider --------------------------------------------------------


def test_a_person_consents_in_the_browser(issuer: Issuer) -> None:
    app, secret = app_at(issuer.url), Secret(PANEL.secret)
    url = client.authorization_url(app, VERIFIER, "state", REDIRECT, "anna@example.org", POLICY)
    back = parameters(issuer.sign_in(url, "anna@example.org"))
    assert (back["state"], back["iss"]) == ("state", issuer.url)
    tokens = client.redeem_code(app, secret, back["code"], VERIFIER, REDIRECT, back["iss"], POLICY)
    assert tokens.id_claims.shown == "anna@example.org"
    assert tokens.refresh is not None
    assert tokens.expires_in == 3600
    renewed = client.refresh(app, secret, tokens.refresh, POLICY)
    assert renewed.refresh is not None
    assert renewed.access.reveal() != tokens.access.reveal()


def test_a_code_is_redeemed_once_and_by_the_browser_that_began(issuer: Issuer) -> None:
    app, secret = app_at(issuer.url), Secret(PANEL.secret)
    code, verifier = issuer.consent("anna@example.org")
    with pytest.raises(ConsentNeeded, match="did not accept the code"):
        client.redeem_code(app, secret, code, VERIFIER, REDIRECT, issuer.url, POLICY)
    code, verifier = issuer.consent("anna@example.org")
    client.redeem_code(app, secret, code, verifier, REDIRECT, issuer.url, POLICY)
    with pytest.raises(ConsentNeeded, match="did not accept the code"):
        client.redeem_code(app, secret, code, verifier, REDIRECT, issuer.url, POLICY)


@pytest.mark.parametrize("iss", [None, "", "http://127.0.0.1:1", "https://evil.example.org"])
def test_a_code_that_another_provider_may_have_sent_goes_nowhere(issuer: Issuer, iss: str | None) -> None:
    code, verifier = issuer.consent("anna@example.org")
    with pytest.raises(ConsentNeeded, match="own provider"):
        client.redeem_code(app_at(issuer.url), Secret(PANEL.secret), code, verifier, REDIRECT, iss, POLICY)
    assert issuer.log() == []


def test_no_refresh_token_is_refused_with_what_to_do(issuer: Issuer) -> None:
    issuer.set(refresh=False)
    code, verifier = issuer.consent("anna@example.org")
    with pytest.raises(ConsentNeeded, match=r"no offline access\. Allow it and connect again"):
        client.redeem_code(
            app_at(issuer.url), Secret(PANEL.secret), code, verifier, REDIRECT, issuer.url, POLICY
        )


def test_an_issuer_that_granted_less_than_it_was_asked_for_is_refreshed_all_the_same(issuer: Issuer) -> None:
    app, secret = app_at(issuer.url), Secret(PANEL.secret)
    code, verifier = issuer.consent("anna@example.org", scope="openid offline_access")
    tokens = client.redeem_code(app, secret, code, verifier, REDIRECT, issuer.url, POLICY)
    assert tokens.refresh is not None
    assert client.refresh(app, secret, tokens.refresh, POLICY).access.reveal()
    first, second = (entry["form"] for entry in issuer.log()[1:])
    assert (first["scope"], "scope" in second) == ("openid email offline_access mail", False)


def test_a_device_code_is_entered_elsewhere(issuer: Issuer) -> None:
    app, secret = app_at(issuer.url), Secret(PANEL.secret)
    device = client.start_device(app, secret, POLICY)
    assert device.verification_uri == f"{issuer.url}/device"
    assert client.poll_device(app, secret, device.code, device.interval, POLICY) == StillPending(5)
    issuer.enter(device.user_code, "anna@example.org")
    tokens = client.poll_device(app, secret, device.code, device.interval, POLICY)
    assert isinstance(tokens, Tokens)
    assert tokens.id_claims.email == "anna@example.org"


def test_an_app_signs_in_by_itself(issuer: Issuer) -> None:
    app = app_at(issuer.url, access="application")
    tokens = client.application_token(app, Secret(PANEL.secret), POLICY)
    assert (tokens.refresh, tokens.id_claims.shown) == (None, "")
    with pytest.raises(AppFault, match="client ID or secret"):
        client.application_token(app, Secret("wrong"), POLICY)


@pytest.mark.parametrize("which", [0, 1, 2], ids=["basic", "post", "public"])
def test_each_kind_of_client_authenticates_as_it_is_registered(issuer: Issuer, which: int) -> None:
    registered = CLIENTS[which]
    app = app_at(issuer.url, client_id=registered.id)
    code, verifier = issuer.consent("anna@example.org", client=registered.id)
    tokens = client.redeem_code(app, Secret(registered.secret), code, verifier, REDIRECT, issuer.url, POLICY)
    assert tokens.refresh is not None


def test_nothing_secret_is_logged(issuer: Issuer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    app, secret = app_at(issuer.url), Secret(PANEL.secret)
    code, verifier = issuer.consent("anna@example.org")
    tokens = client.redeem_code(app, secret, code, verifier, REDIRECT, issuer.url, POLICY)
    assert tokens.refresh is not None
    renewed = client.refresh(app, secret, tokens.refresh, POLICY)
    with pytest.raises(ConsentNeeded) as error:
        client.refresh(app, secret, tokens.refresh, POLICY)
    shown = f"{caplog.text}{tokens}{renewed}{error.value!r}{vars(error.value)}{error.value.__context__}"
    for one in (secret, tokens.access, tokens.refresh, renewed.access, Secret(code), Secret(verifier)):
        assert one.reveal() not in shown


# -- providers that lie -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "over",
    [
        {"issuer": "https://elsewhere.example.org"},
        {"issuer": None},
        {"token_endpoint": None},
        {"token_endpoint": ""},
        {"token_endpoint": ["http://127.0.0.1/token"]},
        {"token_endpoint": "https://evil.example.org/token"},
        {"token_endpoint": "http://evil.example.org/token"},
        {"token_endpoint": "file:///etc/passwd"},
        {"token_endpoint": "http://user:pass@127.0.0.1/token"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": "http://127.0.0.1/" + "x" * 2000},
        {"device_authorization_endpoint": 7},
    ],
    ids=str,
)
def test_an_issuer_that_describes_itself_wrongly_is_sent_nothing(
    rogue: RogueIssuer, over: dict[str, Any]
) -> None:
    rogue.describe(**over)
    app, secret = app_at(rogue.url), Secret("the-secret")
    with pytest.raises(TokenUnavailable):
        client.refresh(app, secret, Secret("the-refresh-token"), POLICY)
    assert [path for path, _, _ in rogue.received] == [DISCOVERY]


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"{", b"\xff", b"[" * 100_000, b'{"issuer": 1}', b" " * 200_000], ids=repr
)
def test_a_discovery_document_that_makes_no_sense_is_refused(rogue: RogueIssuer, body: bytes) -> None:
    rogue.answer(DISCOVERY, body)
    with pytest.raises(TokenUnavailable):
        providers.discover(rogue.url, POLICY)


def test_an_issuer_may_name_another_server_that_is_public_but_none_in_our_network(rogue: RogueIssuer) -> None:
    rogue.describe(token_endpoint=f"http://localhost:{rogue.port}/token")
    rogue.answer("/token", TOKEN)
    with pytest.raises(TokenUnavailable, match="denied network"):
        client.refresh(app_at(rogue.url), Secret(""), Secret("the-refresh-token"), POLICY)
    assert rogue.sent_to("/token") == []
    at_home = "https://login.example.org"
    assert providers.is_internal(app_at(at_home), f"{at_home}:8443/token")
    assert not providers.is_internal(app_at(at_home), "https://intranet.example.org/token")


@pytest.mark.parametrize(
    "url", ["http://example.org", "ftp://example.org", "https://example.org/?a=b", "https://", "x"]
)
def test_an_issuer_has_an_https_address(url: str) -> None:
    with pytest.raises(BadInput):
        providers.discover(url, POLICY)


def test_an_issuer_is_verified_by_its_certificate(certificates: Authority) -> None:
    policy = Policy(frozenset(), ca_file=certificates.ca_file)
    for certificate, trusted in (
        (certificates.good(), True), (certificates.wrong_name(), False),
        (certificates.expired(), False), (certificates.self_signed(), False),
    ):  # fmt: skip
        rogue = RogueIssuer(certificate=certificate)
        rogue.answer("/token", TOKEN)
        try:
            if trusted:
                assert client.refresh(app_at(rogue.url), Secret("s"), Secret("old"), policy).access
                rogue.describe(token_endpoint=f"http://localhost:{rogue.port}/token")
                with pytest.raises(TokenUnavailable, match="does not describe itself"):
                    client.refresh(app_at(rogue.url), Secret("s"), Secret("old"), policy)
                continue
            with pytest.raises(TokenUnavailable, match="certificate"):
                client.refresh(app_at(rogue.url), Secret("s"), Secret("old"), policy)
            assert rogue.received == []
        finally:
            rogue.stop()


def test_redirects_of_a_token_endpoint_are_not_followed(rogue: RogueIssuer) -> None:
    rogue.answer("/token", b"", 307, Location=f"{rogue.url}/elsewhere")
    with pytest.raises(TokenUnavailable):
        client.refresh(app_at(rogue.url), Secret("the-secret"), Secret("the-refresh-token"), POLICY)
    assert rogue.sent_to("/elsewhere") == []


def test_tokens_may_be_long(rogue: RogueIssuer) -> None:
    long = {"access_token": "a" * client.LONGEST_ACCESS, "refresh_token": "r" * client.LONGEST_REFRESH}
    rogue.answer("/token", {**TOKEN, **long})
    tokens = client.refresh(app_at(rogue.url), Secret(""), Secret("r" * client.LONGEST_REFRESH), POLICY)
    assert len(tokens.access.reveal()) == 16384
    assert tokens.refresh is None  # the one that was sent
    for name in long:
        rogue.answer("/token", {**TOKEN, **long, name: "x" * (len(long[name]) + 1)})
        with pytest.raises(TokenUnavailable, match="no token"):
            client.refresh(app_at(rogue.url), Secret(""), Secret("old"), POLICY)


@pytest.mark.parametrize(
    "over",
    [
        {"access_token": ""}, {"access_token": "a\x01b"}, {"access_token": "ä"}, {"access_token": "a\r\nb"},
        {"error": {"code": 400}}, {"refresh_token": "a b"}, {"token_type": "mac"}, {"access_token": None},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_token_is_not_taken(rogue: RogueIssuer, over: dict[str, Any]) -> None:
    rogue.answer("/token", {**TOKEN, **over})
    with pytest.raises(TokenUnavailable):
        client.refresh(app_at(rogue.url), Secret(""), Secret("old"), POLICY)


@pytest.mark.parametrize("over", [{"refresh_token": ""}, {"error": None}, {"error": ""}], ids=str)
def test_what_is_empty_did_not_come(rogue: RogueIssuer, over: dict[str, Any]) -> None:
    rogue.answer("/token", {**TOKEN, **over})
    tokens = client.refresh(app_at(rogue.url), Secret(""), Secret("old"), POLICY)
    assert tokens.access.reveal() == TOKEN["access_token"]
    if "refresh_token" in over:
        assert tokens.refresh is None, "the old one stays"
        with pytest.raises(ConsentNeeded, match="no offline access"):
            client.redeem_code(app_at(rogue.url), Secret(""), "code", VERIFIER, REDIRECT, None, POLICY)


def test_every_character_that_a_token_may_have_arrives(rogue: RogueIssuer) -> None:
    every = "".join(chr(code) for code in range(0x21, 0x7F))
    rogue.answer("/token", {**TOKEN, "access_token": every, "refresh_token": every[::-1]})
    rogue.describe(token_endpoint_auth_methods_supported=["client_secret_post"])
    app = app_at(rogue.url, client_id=every)
    tokens = client.refresh(app, Secret(every + "ä😀"), Secret(every), POLICY)
    assert (tokens.access.reveal(), tokens.refresh and tokens.refresh.reveal()) == (every, every[::-1])
    client.redeem_code(app, Secret(every), every, VERIFIER, REDIRECT, None, POLICY)
    refreshed, redeemed = rogue.sent_to("/token")
    assert (refreshed["refresh_token"], refreshed["client_secret"]) == (every, every + "ä😀")
    assert (redeemed["code"], redeemed["client_id"]) == (every, every)


@pytest.mark.parametrize("where", ["/token", DISCOVERY])
@pytest.mark.parametrize(("said", "obeyed"), [("7", 7), ("86400", 3600), ("soon", None), ("-1", None)])
def test_a_provider_is_left_alone_as_long_as_it_wants_but_an_hour_at_most(
    rogue: RogueIssuer, where: str, said: str, obeyed: int | None
) -> None:
    rogue.answer(where, b"", 429, **{"Retry-After": said})
    with pytest.raises(TokenUnavailable) as error:
        client.refresh(app_at(rogue.url), Secret(""), Secret("old"), POLICY)
    assert error.value.retry_after == obeyed


@pytest.mark.parametrize("wrong", ["x", "a.b.c", "a.W10.c", "." * 20_000, 7])
def test_an_id_token_that_is_wrong_connects_nothing_and_costs_no_refresh(
    rogue: RogueIssuer, wrong: object
) -> None:
    rogue.answer("/token", {**TOKEN, "id_token": wrong})
    app = app_at(rogue.url)
    if wrong != 7:  # which is none
        with pytest.raises(TokenUnavailable):
            client.redeem_code(app, Secret(""), "code", VERIFIER, REDIRECT, None, POLICY)
    tokens = client.refresh(app, Secret(""), Secret("old"), POLICY)
    assert tokens.refresh is not None
    assert tokens.id_claims.shown == ""


@pytest.mark.parametrize(
    ("life", "seconds"),
    [
        (7, 7),
        ("7", 7),
        (7.9, 7),
        (0, 0),
        (None, 3600),
        (-1, 3600),
        ("x", 3600),
        (True, 3600),
        (1e99, 86400),
        ([], 3600),
    ],
)
def test_the_life_of_a_token_is_a_number_of_seconds(rogue: RogueIssuer, life: object, seconds: int) -> None:
    rogue.answer("/token", {**TOKEN, "expires_in": life})
    assert client.refresh(app_at(rogue.url), Secret(""), Secret("old"), POLICY).expires_in == seconds


def test_a_device_code_at_an_address_that_is_none_is_refused(rogue: RogueIssuer) -> None:
    good = {"device_code": "code", "user_code": "USER", "verification_uri": "https://example.org/device"}
    rogue.answer("/device", good)
    found = client.start_device(app_at(rogue.url), Secret(""), POLICY)
    assert isinstance(found, Device)
    assert (found.interval, found.expires_in) == (5, 3600)
    for over in ({"verification_uri": "javascript:x"}, {"user_code": "a" * 65}, {"device_code": None}):
        rogue.answer("/device", {**good, **over})
        with pytest.raises(TokenUnavailable):
            client.start_device(app_at(rogue.url), Secret(""), POLICY)


@pytest.mark.parametrize(("wanted", "seconds"), [(0, 1), (-1, 5), ("x", 5), (60, 60), (1e9, 60)])
def test_a_device_is_asked_for_within_a_minute_whatever_its_provider_wants(
    rogue: RogueIssuer, wanted: object, seconds: int
) -> None:
    address = "https://example.org/device"
    rogue.answer(
        "/device", {"device_code": "c", "user_code": "U", "verification_uri": address, "interval": wanted}
    )
    assert client.start_device(app_at(rogue.url), Secret(""), POLICY).interval == seconds


def test_a_provider_elsewhere_sends_nobody_to_what_listens_on_their_own_machine(
    certificates: Authority,
) -> None:
    rogue = RogueIssuer(certificate=certificates.good())
    policy = Policy(frozenset(), ca_file=certificates.ca_file)
    try:
        for address, ok in (("https://localhost/device", True), ("http://localhost:631/device", False)):
            rogue.answer("/device", {"device_code": "c", "user_code": "U", "verification_uri": address})
            with nullcontext() if ok else pytest.raises(TokenUnavailable):
                client.start_device(app_at(rogue.url), Secret(""), policy)
    finally:
        rogue.stop()


def test_who_asks_too_often_for_a_device_waits_longer(rogue: RogueIssuer) -> None:
    app = app_at(rogue.url)
    rogue.answer("/token", {"error": "slow_down"}, 400)
    assert client.poll_device(app, Secret(""), Secret("code"), 5, POLICY) == StillPending(10)
    rogue.answer("/token", {"error": "authorization_pending"}, 400)
    assert client.poll_device(app, Secret(""), Secret("code"), 10, POLICY) == StillPending(10)
    for error in ("access_denied", "authorization_declined", "expired_token", "invalid_grant"):
        rogue.answer("/token", {"error": error}, 400)
        with pytest.raises(ConsentNeeded):
            client.poll_device(app, Secret(""), Secret("code"), 5, POLICY)


def test_an_error_of_a_token_is_understood_in_any_capitals(rogue: RogueIssuer) -> None:
    app = app_at(rogue.url)
    for error, pause in (("Slow_Down", 10), ("AUTHORIZATION_PENDING", 5)):
        rogue.answer("/token", {"error": error}, 400)
        assert client.poll_device(app, Secret(""), Secret("code"), 5, POLICY) == StillPending(pause)
    for error in ("Authorization_Declined", "Expired_Token"):
        rogue.answer("/token", {"error": error}, 400)
        with pytest.raises(ConsentNeeded):
            client.poll_device(app, Secret(""), Secret("code"), 5, POLICY)
    rogue.answer("/token", {"error": "Invalid_Scope"}, 400)
    with pytest.raises(AppFault):
        client.refresh(app, Secret(""), Secret("old"), POLICY)
    first, second = [form.get("scope") for path, _, form in rogue.received if path == "/token"][-2:]
    assert first and not second  # asked again without one


def test_google_and_others_without_a_device_code_say_so(rogue: RogueIssuer) -> None:
    rogue.describe(device_authorization_endpoint="")
    for app in (GOOGLE, app_at(rogue.url)):
        with pytest.raises(Refused, match="no device code"):
            client.start_device(app, Secret(""), POLICY)


def test_the_secret_is_not_in_the_body_where_basic_will_do(rogue: RogueIssuer) -> None:
    rogue.answer("/token", TOKEN)
    client.refresh(app_at(rogue.url), Secret("sec:ret+ /ä"), Secret("old"), POLICY)
    _, headers, form = rogue.received[-1]
    assert (
        base64.b64decode(headers["Authorization"].removeprefix("Basic ")) == b"panel:sec%3Aret%2B+%2F%C3%A4"
    )
    assert "client_secret" not in form
    rogue.describe(token_endpoint_auth_methods_supported=["client_secret_post", "private_key_jwt"])
    client.refresh(app_at(rogue.url), Secret("sec:ret+ /ä"), Secret("old"), POLICY)
    _, headers, form = rogue.received[-1]
    assert (form["client_secret"], "Authorization" in headers) == ("sec:ret+ /ä", False)


# -- who signed in ----------------------------------------------------------------------------------------


def id_token(**payload: object) -> str:
    body = base64.urlsafe_b64encode(json.dumps(payload).encode()).decode().rstrip("=")
    return f"e30.{body}.c2lnbmF0dXJl"


def test_the_person_is_named_by_what_the_provider_says() -> None:
    iss = "https://login.microsoftonline.com/a-tenant/v2.0"
    base = {"iss": iss, "aud": "an-id", "tid": "a-tenant", "oid": "an-object", "sub": "a-subject"}
    found = claims.read(id_token(**base, preferred_username="anna@contoso.example"), MICROSOFT)
    assert found is not None
    assert (found.subject, found.shown) == ("a-tenant:an-object", "anna@contoso.example")
    for wrong in ({"iss": "https://evil.example"}, {"aud": "other"}, {"aud": None}, {"tid": "another"}):
        assert claims.read(id_token(**{**base, **wrong}), MICROSOFT) is None
    google = {
        "iss": "https://accounts.google.com",
        "aud": [GOOGLE.client_id],
        "sub": "1",
        "email": "a@b.example",
    }
    found = claims.read(id_token(**google), GOOGLE)
    assert found is not None
    assert (found.subject, found.shown) == ("1", "a@b.example")


@pytest.mark.parametrize(
    ("app", "over", "shown"),
    [
        (MICROSOFT, {"preferred_username": "eve@contoso.example"}, "eve@contoso.example"),
        (MICROSOFT, {}, "boss@example.org"),
        (app_at("https://i.example"), {"email_verified": False, "preferred_username": "eve"}, "eve"),
        (app_at("https://i.example"), {"email_verified": False}, "a-subject"),
        (app_at("https://i.example"), {"email_verified": True, "preferred_username": "eve"}, "boss@example.org"),
    ],
)  # fmt: skip
def test_nobody_is_named_by_an_address_that_they_may_have_chosen_themselves(
    app: AppPlace, over: dict[str, object], shown: str
) -> None:
    iss = "https://login.microsoftonline.com/t/v2.0" if app is MICROSOFT else app.issuer
    token = id_token(iss=iss, aud=app.client_id, tid="t", sub="a-subject", email="boss@example.org", **over)
    found = claims.read(token, app)
    assert found is not None
    assert found.shown == shown


@pytest.mark.parametrize("value", ["a\nb", "x" * 321, 7, None, ["a"], "a\x1b[1m"])
def test_a_claim_that_is_no_plain_line_is_dropped(value: object) -> None:
    found = claims.read(
        id_token(iss="https://i.example", aud=PANEL.id, email=value), app_at("https://i.example")
    )
    assert found == claims.Claims()
