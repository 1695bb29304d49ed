"""Promises of every address there is: nobody gets in unasked, and every answer carries the headers."""

from __future__ import annotations

import re

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.routing import Rule

from panel import create_app, db, install
from panel.config import Settings
from panel.models import Session
from panel.people import service as people
from panel.secret import Secret
from panel.web.headers import HEADERS

PUBLIC = {
    "/static/<path:filename>", "/static/<filename>", "/healthz", "/readyz", "/metrics", "/login", "/logout", "/confirm", "/setup",
    "/setup/<token>", "/setup/checks", "/setup/admin", "/invitation/<token>",
}  # fmt: skip
PASSWORD = "correct horse battery staple"


def url_of(rule: Rule) -> str:
    return re.sub(r"<[^>]+>", "some-thing", re.sub(r"<int:[^>]+>", "1", rule.rule))


def rules(app: Flask) -> list[tuple[str, str, str]]:
    return [
        (rule.rule, url_of(rule), method)
        for rule in app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) & {"GET", "POST"})
    ]


def signed_in(client: FlaskClient, role: str) -> FlaskClient:
    with db.database.connection_context():
        people.add(f"{role}@example.org", role, role, Secret(PASSWORD))
    assert (
        client.post("/login", data={"email": f"{role}@example.org", "password": PASSWORD}).status_code == 303
    )
    return client


def test_nobody_who_is_not_signed_in_gets_anything_but_the_doors(app: Flask, client: FlaskClient) -> None:
    app.config["WTF_CSRF_ENABLED"] = False
    for rule, url, method in rules(app):
        if rule in PUBLIC:
            continue
        response = client.open(url, method=method)
        assert response.status_code == 303, (method, url)
        assert response.location.startswith("/login?next="), (method, url)


@pytest.mark.parametrize("role", ["agent", "user"])
def test_agents_and_users_get_only_what_is_theirs(app: Flask, client: FlaskClient, role: str) -> None:
    app.config["WTF_CSRF_ENABLED"] = False
    signed_in(client, role)
    own = {"/", "/profile", "/help", "/help/about", "/help/some-thing", "/help/images/some-thing"}
    theirs = own | {"/server/encryption", "/status", "/messages"} if role == "agent" else own
    for rule, url, method in rules(app):
        if rule in PUBLIC or rule.startswith("/profile") or (method == "GET" and url in theirs):
            continue
        assert client.open(url, method=method).status_code == 403, (method, url)
    for url in theirs:
        assert client.get(url).status_code in (200, 303) or "some-thing" in url


def test_a_page_that_nobody_declared_answers_nobody(app: Flask, client: FlaskClient) -> None:
    app.view_functions["undeclared"] = lambda: "secret"
    app.url_map.add(Rule("/undeclared", endpoint="undeclared", methods=["GET"]))
    app.config["WTF_CSRF_ENABLED"] = False
    assert signed_in(client, "admin").get("/undeclared").status_code == 404


def test_no_post_is_taken_without_its_csrf_token(app: Flask, client: FlaskClient) -> None:
    for _rule, url, method in rules(app):
        if method == "POST":
            unknown = url.startswith("/invitation/")  # whose form would be shown again, were the link good
            assert client.post(url).status_code == (404 if unknown else 400), url


def test_every_answer_carries_the_headers_404_and_500_included(app: Flask, client: FlaskClient) -> None:
    app.config["WTF_CSRF_ENABLED"] = False
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.testing = False
    signed_in(client, "admin")

    def broken() -> str:
        raise RuntimeError("MARKER of what is inside")

    app.view_functions["home.show"] = broken
    urls = [(url, method) for _, url, method in rules(app) if not url.startswith("/logout")] + [
        ("/nowhere", "GET")
    ]
    seen = set()
    for url, method in urls:
        response = client.open(url, method=method)
        seen.add(response.status_code)
        for name, value in HEADERS.items():
            assert response.headers[name] == value, (method, url, name)
        assert "unsafe" not in response.headers["Content-Security-Policy"]
        if not url.startswith("/static"):
            assert response.headers["Cache-Control"] == "no-store"
        assert "MARKER" not in response.text
    assert {200, 404, 500} <= seen


def test_an_error_is_the_heading_of_its_page_but_not_of_the_page_that_htmx_puts_it_in(
    client: FlaskClient,
) -> None:
    assert "<h1>This page does not exist.</h1>" in client.get("/nowhere").text
    part = client.get("/nowhere", headers={"HX-Request": "true"}).text
    assert "<h2>This page does not exist.</h2>" in part and "<h1" not in part


def test_only_what_is_broken_is_red(app: Flask, client: FlaskClient) -> None:
    app.config["WTF_CSRF_ENABLED"] = False
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.testing = False
    signed_in(client, "admin")
    app.view_functions["home.show"] = lambda: str(1 // 0)
    answers = [client.get(url) for url in ("/nowhere", "/logout", "/")]
    assert [answer.status_code for answer in answers] == [404, 405, 500]
    assert ['class="problem"' in answer.text for answer in answers] == [False, False, True]


def test_a_public_address_makes_cookies_secure_and_other_hosts_refused(environ: dict[str, str]) -> None:
    settings = Settings.load(environ | {"PANEL_URL": "https://mail.example.org"})
    install.prepare(settings)
    client = create_app(settings).test_client()
    assert client.get("/login", headers={"Host": "evil.example.org"}).status_code == 421
    response = client.get("/login", base_url="https://mail.example.org")
    cookie = response.headers["Set-Cookie"]
    assert cookie.startswith("__Host-mailkeep=")
    for flag in ("Secure", "HttpOnly", "SameSite=Lax", "Path=/"):
        assert flag in cookie
    assert "Strict-Transport-Security" in response.headers


def test_plain_http_off_loopback_works_under_a_red_banner(client: FlaskClient) -> None:
    assert "This connection is not encrypted" in client.get("/login", headers={"Host": "mail.lan:8000"}).text
    assert "This connection is not encrypted" not in client.get("/login").text


def test_forwarded_headers_are_believed_only_from_trusted_proxies(environ: dict[str, str]) -> None:
    for hops, secure in (("0", False), ("1", True)):
        settings = Settings.load(environ | {"PANEL_TRUSTED_PROXIES": hops})
        install.prepare(settings)
        client = create_app(settings).test_client()
        page = client.get("/login", headers={"Host": "mail.lan", "X-Forwarded-Proto": "https"}).text
        assert ("This connection is not encrypted" not in page) is secure


def test_healthz_answers_and_readyz_says_nothing_about_the_key(client: FlaskClient) -> None:
    assert (client.get("/healthz").status_code, client.get("/readyz").text) == (200, "ready\n")


# -- HEAD is GET without a body (RFC 9110, 9.3.2) ------------------------------------------


@pytest.mark.filterwarnings("error")  # of a stream that nobody ended
@pytest.mark.parametrize("role", ["", "admin", "agent", "user"])
@pytest.mark.parametrize("htmx", [False, True])
def test_head_is_get_without_a_body_everywhere(
    app: Flask, client: FlaskClient, role: str, htmx: bool
) -> None:
    if role:
        app.config["WTF_CSRF_ENABLED"] = False
        signed_in(client, role)
        Session.update(confirmed_at=0).execute()
    headers = {"HX-Request": "true"} if htmx else {}
    for _, url, method in rules(app):
        if method != "GET":
            continue
        for query in ("", "?next=/people&came_from=/x"):
            got = client.get(url + query, headers=headers)
            got.get_data()
            head = client.head(url + query, headers=headers)
            assert head.status_code == got.status_code, url
            assert head.get_data() == b"", url
            for name in (
                "Location",
                "HX-Redirect",
                "Content-Type",
                "Content-Security-Policy",
                "Cache-Control",
            ):
                assert head.headers.get(name) == got.headers.get(name), (url, name)


@pytest.mark.parametrize(
    "url", ["/logout", "/accounts/test", "/people/1/disable", "/server/encryption/enable"]
)
def test_what_takes_post_alone_takes_no_head(app: Flask, client: FlaskClient, url: str) -> None:
    assert client.head(url).status_code == client.get(url).status_code in (303, 404, 405)


# -- where the panel lies is PANEL_URL's to say alone ---------------------------------------

EVIL = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Port": "666", "X-Forwarded-Server": "evil.example",
        "X-Original-URL": "/evil.example", "X-Rewrite-URL": "/evil.example", "X-Script-Name": "/evil.example",
        "X-Host": "evil.example", "Forwarded": "host=evil.example", "X-Forwarded-For": "192.0.2.1"}  # fmt: skip


@pytest.mark.parametrize("url", ["", "https://mail.example.org", "https://mail.example.org/mail"])
@pytest.mark.parametrize("hops", ["0", "1", "2"])
@pytest.mark.parametrize(
    "prefix",
    ["//evil.example", "/evil.example", "https://evil.example", "/evil.example/..", "%2F%2Fevil.example"],
)
def test_no_header_says_where_the_panel_lies(
    environ: dict[str, str], url: str, hops: str, prefix: str
) -> None:
    settings = Settings.load(environ | {"PANEL_TRUSTED_PROXIES": hops, "PANEL_URL": url})
    install.prepare(settings)
    client = create_app(settings).test_client()
    path = url.removeprefix("https://mail.example.org")
    headers = {"Host": "mail.example.org", "X-Forwarded-Prefix": prefix, "X-Forwarded-Proto": "https", **EVIL}
    for page in ("/login", "/accounts", "/nowhere", "/static/panel.css", "/logout"):
        answer = client.get(page, headers=headers)
        assert answer.status_code in (200, 303, 404, 405), page
        assert "evil" not in answer.text + str(answer.headers), page
    assert client.get("/accounts", headers=headers).location == f"{path}/login?next=/accounts"


def test_a_proxy_that_keeps_the_host_to_itself_is_told_by_panel_url(environ: dict[str, str]) -> None:
    settings = Settings.load(
        environ | {"PANEL_TRUSTED_PROXIES": "1", "PANEL_URL": "https://mail.example.org"}
    )
    install.prepare(settings)
    client = create_app(settings).test_client()
    with db.database.connection_context():
        people.add("ada@example.org", "Ada", "admin", Secret(PASSWORD))
    through = {"Host": "127.0.0.1:8000", "X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https"}
    page = client.get("/login", headers=through)
    assert "https://mail.example.org/" in page.text
    token = re.search(r'name="csrf_token" value="([^"]+)"', page.text)
    assert token is not None
    typed = {"csrf_token": token[1], "email": "ada@example.org", "password": PASSWORD}
    referer = {
        "Referer": "https://mail.example.org/login",
        "Cookie": page.headers["Set-Cookie"].split(";")[0],
    }
    assert client.post("/login", data=typed, headers=through | referer).status_code == 303
    assert client.get("/login", headers=through | {"Host": "evil.example"}).status_code == 421
