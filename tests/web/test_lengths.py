"""Length before meaning: whatever is sent, nothing that takes more than linear time sees more than its cap.

What is costly here is normalising (NFC and its kin, which IDNA and urlsplit use too), IDNA, likeness
of words, and passwords' hashes. All of it is wrapped, and what it is handed is measured; how long it
takes says nothing on a busy machine. Regular expressions are read by tests/house/test_regexes.py.
"""

from __future__ import annotations

import difflib
import io
import pkgutil
import re
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib import import_module
from typing import Any
from urllib.parse import urlencode

import idna
import pytest
from flask import Flask
from flask.testing import FlaskClient
from wtforms import Form, FormField

import panel
from panel.accounts import importing, rules
from panel.accounts.importing import LONGEST_LINE
from panel.alerts import service as alerts
from panel.alerts import webhook
from panel.config import Settings
from panel.errors import BadInput, PanelError
from panel.mail import autoconfig
from panel.mail.server import normalise_host
from panel.oauth import app_rules, flows
from panel.people import names as people_names
from panel.people import password_rules
from panel.people import service as people
from panel.secret import Secret
from panel.setup import service as setup
from panel.sign_in import throttle
from panel.web import access
from panel.web.headers import LARGEST_REQUEST
from panel.web.text import LONGEST_FIELD, LONGEST_URL, MOST_FIELDS
from tests.sign_in.browser import Browser, add_person

MOST = 1100  # characters that anything costly is handed here

MARKS = "\u0301\u0316"  # of two classes: each pair is put into order
WORST = {
    "marks": MARKS,
    "a host of marks": f"a{MARKS}.",
    "letters beyond ASCII": "\u00fc",
    "hangul": "\u1112\u1161\u11ab",
    "what is mapped to nothing": "\u00ad",
    "digits": "9",
    "digits of another script": "\u0663",
    "spaces": " ",
    "at signs": "@",
    "dots": ".",
    "brackets": "[",
    "tags": "<",
    "quotes": '"\\',
    "per cents": "%EMAIL",
}


def worst(kind: str, length: int) -> str:
    """Text of this kind, with enough around it to pass for an address."""
    part = WORST[kind]
    return f"a{part * (length // len(part))}@{part}b.example"[:length]


@pytest.fixture(autouse=True)
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The most characters that each costly function was handed."""
    most: dict[str, int] = {}

    def wrap(owner: Any, name: str, at: int) -> None:
        inner = getattr(owner, name)

        def measured(*args: Any, **kwargs: Any) -> Any:
            most[name] = max(most.get(name, 0), len(args[at]))
            return inner(*args, **kwargs)

        monkeypatch.setattr(owner, name, measured)

    wrap(unicodedata, "normalize", 1)
    wrap(idna, "encode", 0)
    wrap(importing, "get_close_matches", 0)
    wrap(difflib, "get_close_matches", 0)
    wrap(password_rules, "is_common", 0)
    return most


def modest(seen: dict[str, int]) -> bool:
    return all(length <= MOST for length in seen.values())


# -- parsers ---------------------------------------------------------------------------


def _servers(text: str) -> list[Any]:
    escaped = text.replace("<", "&lt;")
    server = (
        f'<incomingServer type="imap"><hostname>{escaped}</hostname><port>993</port>'
        "<socketType>SSL</socketType><authentication>password-cleartext</authentication></incomingServer>"
    )
    return list(autoconfig._servers(f"<c>{server}</c>".encode(), "example.org"))


def _app(provider: str, **over: str) -> object:
    return app_rules.place("0" * 32, "x", provider, client_id="x", **over)  # type: ignore[arg-type]


PARSERS: dict[str, Any] = {
    "an address of a person": people_names.normalise_email,
    "an address to look for": people.enable,
    "an address in another case": people_names.fold_email,
    "a name": people_names.normalise_name,
    "a throttle's account": throttle._account,
    "a password": lambda text: password_rules.check(Secret(text), "dana@example.org", "Dana"),
    "an address of a mailbox": rules.address_of,
    "a folder": lambda text: rules.mailbox("a@example.org", text, 60),
    "a host": normalise_host,
    "a webhook": webhook.target,
    "a webhook's host": lambda text: webhook.target(f"https://{text}/"),
    "recipients": alerts.recipients_of,
    "a redirect": access.safe_redirect,
    "a setup token": setup.check,
    "autoconfig": _servers,
    "an address that is pasted back": flows.parse,
    "an app's tenant": lambda text: _app("microsoft", tenant=text),
    "an app's issuer": lambda text: _app("issuer", issuer=f"https://{text}"),
    "an app's scopes": lambda text: _app("issuer", issuer="https://login.example.org", scopes=text),
    "when a client secret expires": app_rules.expiry,
}


@pytest.mark.parametrize("length", [MOST, 100_000])
@pytest.mark.parametrize("kind", WORST)
def test_no_parser_hands_on_more_than_its_cap(
    app: Flask, seen: dict[str, int], kind: str, length: int
) -> None:
    with app.app_context():
        for name, parse in PARSERS.items():
            with suppress(PanelError, ValueError):
                parse(worst(kind, length))
            assert modest(seen), (name, seen)


def test_the_measuring_measures(seen: dict[str, int]) -> None:
    """The old code's way: each of these once saw all of it."""
    unicodedata.normalize("NFC", "a" * 5000)
    with pytest.raises(idna.IDNAError):
        idna.encode("\u00fc" * 5000, uts46=True)
    assert seen["normalize"] == seen["encode"] == 5000
    assert not modest(seen)


def test_composing_shortens_no_address_that_is_one() -> None:
    """The cap is on what is typed; an address of full length may be typed in pieces."""
    assert (
        people_names.normalise_email("\u1112\u1161\u11ab" * 240 + "@example.org")
        == "\ud55c" * 240 + "@example.org"
    )
    assert people_names.normalise_email(f"  {'e' + chr(0x301)}@example.org ") == "\u00e9@example.org"


# -- autoconfig ------------------------------------------------------------------------


def document(servers: Iterable[str]) -> bytes:
    return f"<clientConfig>{''.join(servers)}</clientConfig>".encode()


def server(host: str) -> str:
    return (
        f'<incomingServer type="imap"><hostname>{host}</hostname><port>993</port>'
        "<socketType>SSL</socketType><authentication>password-cleartext</authentication></incomingServer>"
    )


def test_of_thousands_of_servers_the_first_are_read(
    seen: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[str] = []
    monkeypatch.setattr(autoconfig, "normalise_host", lambda host: looked_at.append(host) or host)
    found = list(
        autoconfig._servers(document(server(f"m{n}.example.org") for n in range(1500)), "example.org")
    )
    assert len(found) == len(looked_at) == autoconfig.MOST_SERVERS
    assert found[0].host == "m0.example.org"


# -- imports ---------------------------------------------------------------------------

LINES = {
    "brackets": b"[" * 60_000,
    "braces": b'{"a":' * 10_000,
    "a long line": b'{"address": "' + b"a" * LONGEST_LINE + b'"}',
    "digits": b'{"address": "a@example.org", "host": "h", "password": "p", "port": ' + b"9" * 60_000 + b"}",
    "a number": b'{"address": "a@example.org", "host": "h", "password": "p", "port": ' + b"9" * 4000 + b"}",
    "a name": b'{"' + b"addres" * 9000 + b'": 1}',
    "marks": ('{"address": "a@b.example", "password": "p", "host": "' + MARKS * 9000 + '"}').encode(),
}


@pytest.mark.parametrize("kind", LINES)
def test_a_line_of_an_import_is_refused_in_words(kind: str, settings: Settings, seen: dict[str, int]) -> None:
    try:
        [refused] = importing.read(io.BytesIO(LINES[kind]), settings).bad
        assert refused.line == 1
    except BadInput as error:
        assert error.message.startswith("Line 1: ")
    assert modest(seen)


# -- the browser -----------------------------------------------------------------------


def forms() -> Iterator[type[Form]]:
    """Every form of the panel, also one that is written tomorrow."""
    for module in pkgutil.walk_packages(panel.__path__, "panel."):
        if module.name.endswith((".forms", ".fields")):
            for found in vars(import_module(module.name)).values():
                if isinstance(found, type) and issubclass(found, Form) and found.__module__ == module.name:
                    yield found


def names(app: Flask) -> list[str]:
    """The name of every field of every form, those of forms in forms included; and what is read without one."""
    found = {"came_from", "account", "replaces", "next", "csrf_token"}
    with app.test_request_context():
        for form in forms():
            for field in form():
                inner = [each.name for each in field.form] if isinstance(field, FormField) else []
                found |= {field.name, *inner}
    return sorted(found)


def test_there_are_forms_to_look_at(app: Flask) -> None:
    assert {"email", "host", "sending-host", "recipients", "answer", "rev"} <= set(names(app))


def posts(app: Flask) -> list[str]:
    """The address of every page that a form is sent to."""
    rules_ = [rule for rule in app.url_map.iter_rules() if "POST" in (rule.methods or ())]
    return sorted({re.sub(r"<[^>]*>", "unknown", rule.rule) for rule in rules_})


@pytest.mark.parametrize("kind", ["marks", "a host of marks", "digits", "what is mapped to nothing"])
def test_every_field_of_every_page(app: Flask, seen: dict[str, int], kind: str) -> None:
    """All fields at once, as long as a request may make them: half of them at a time."""
    app.config["WTF_CSRF_ENABLED"] = False
    add_person()
    browser = Browser(app)
    assert browser.sign_in().status_code == 303
    client = browser.client
    fields = names(app)
    each = LARGEST_REQUEST // len(urlencode({"": worst(kind, 1000)})) * 1000 // (len(fields) // 2 + 2)
    for path in posts(app):
        if path in ("/logout", "/profile/sessions"):
            continue
        for some in (fields[::2], fields[1::2]):
            answer = client.post(path, data={name: worst(kind, each) for name in some})
            assert answer.status_code < 500, path
    assert modest(seen), seen


@pytest.mark.parametrize("path", ["/login", "/setup/admin", "/nowhere"])
@pytest.mark.parametrize("kind", WORST)
def test_a_long_field_is_refused_before_it_is_read(
    client: FlaskClient, seen: dict[str, int], path: str, kind: str
) -> None:
    for length in (LONGEST_FIELD + 1, 80_000):
        sent = {"email": worst(kind, length), "password": worst(kind, length)}
        assert client.post(path, data=sent).status_code == 413
    assert modest(seen)


def test_many_fields_are_refused(client: FlaskClient) -> None:
    many = {f"f{n}": "" for n in range(MOST_FIELDS + 1)}
    assert client.post("/login", data=many).status_code == 413
    assert (
        client.post(
            "/login", data="a&" * 40_000, content_type="application/x-www-form-urlencoded"
        ).status_code
        == 413
    )
    assert client.get("/login", query_string=many).status_code == 413
    assert client.post("/login", data=many, content_type="multipart/form-data").status_code == 413


def test_long_addresses_are_refused(client: FlaskClient, seen: dict[str, int]) -> None:
    for path in (
        f"/people/{MARKS * LONGEST_URL}/disable",
        f"/login?next=/{'a' * LONGEST_URL}",
        "/" + "a/" * LONGEST_URL,
    ):
        assert client.get(path).status_code == 414
    assert client.get("/login?next=/" + "a" * (LONGEST_FIELD - 1)).status_code == 200
    assert client.get(f"/activity?page={'9' * 4000}").status_code in (200, 303)
    assert modest(seen)


@pytest.mark.parametrize("number", [2**63 - 1, 2**63, 10**30, "9" * 5000, "\u0665"])
def test_a_number_that_no_row_can_have_is_a_page_that_does_not_exist(app: Flask, number: int | str) -> None:
    add_person()
    browser = Browser(app)
    browser.sign_in()
    rules = [rule for rule in app.url_map.iter_rules() if "<int:" in rule.rule]
    assert len(rules) > 5
    page = browser.get("/people/1").text
    token = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert token
    for rule in rules:
        path = re.sub("<int:[^>]*>", str(number), rule.rule).replace("<action>", "pause")
        if "GET" in (rule.methods or ()):
            assert browser.get(path).status_code == 404, path
        if "POST" in (rule.methods or ()):
            answer = browser.client.post(path, data={"csrf_token": token[1]})
            assert answer.status_code in (303, 404, 405, 409, 422), (path, answer.status_code)


@pytest.mark.parametrize(
    "host", ["a" * 64, "a" * 30_000, "\u00fc" * 30_000, ".." * 9, "a" * 64 + ".example.org"]
)
def test_a_host_that_is_no_name_gets_an_answer(client: FlaskClient, host: str) -> None:
    assert client.get("/login", headers={"Host": host}).status_code in (200, 400, 404)


@pytest.mark.parametrize("value", ["a" * 30_000, ";" * 30_000, '"' * 30_000, "a;q=" * 7_000, "-." * 15_000])
def test_headers_of_any_length_are_read(client: FlaskClient, seen: dict[str, int], value: str) -> None:
    for name in (
        "Cookie",
        "User-Agent",
        "Accept",
        "Accept-Language",
        "If-None-Match",
        "Referer",
        "X-Forwarded-For",
        "HX-Request",
    ):
        sent = f"mailkeep={value}" if name == "Cookie" else value
        assert client.get("/login", headers={name: sent}).status_code == 200
    assert modest(seen)
