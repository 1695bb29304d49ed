"""Promises of static files: kept for a year under the hash of their content, small on the wire, never stale."""

from __future__ import annotations

import gzip
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask, url_for
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from panel.config import ROOT
from panel.errors import NotFound
from panel.web import static_files
from panel.web.static_files import ASK_FIRST, FOR_EVER, StaticFiles

GZIP = {"Accept-Encoding": "gzip, deflate, br, zstd"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.css").write_text(f"@font-face{{src:url(sub/f.woff2)}} {'p{margin:0}' * 90}")
    (tmp_path / "sub/f.woff2").write_bytes(b"wOF2" + bytes(400))
    (tmp_path / "note.txt").write_text("not for anybody")
    (tmp_path.parent / "outside.css").write_text("p{}")
    return tmp_path


@pytest.fixture
def small(folder: Path) -> Iterator[FlaskClient]:
    """A server of nothing but `folder`, which a test may change."""
    app = Flask("small", static_folder=None)
    static_files.init_app(app, folder)
    app.register_error_handler(NotFound, lambda error: (error.message, error.status))
    with app.test_request_context():
        yield app.test_client()


def url(name: str) -> str:
    return url_for("static", filename=name)


# -- as pages name them --------------------------------------------------------------------


def named_by(page: TestResponse) -> set[str]:
    return set(re.findall(r'(?:href|src)="(/static/[^"]+)"', page.text))


def test_every_file_that_a_page_names_is_kept_for_a_year_and_packed(app: Flask, client: FlaskClient) -> None:
    named = named_by(client.get("/login"))
    assert len(named) >= 3
    for address in named:
        assert re.search(r"\?v=[0-9a-f]{16}$", address), address
        answer = client.get(address, headers=GZIP)
        assert answer.status_code == 200, address
        assert answer.headers["Cache-Control"] == FOR_EVER
        assert "Set-Cookie" not in answer.headers
        if address.partition("?")[0].endswith((".css", ".js", ".svg")):
            assert answer.headers["Content-Encoding"] == "gzip"
            assert answer.headers["Vary"] == "Accept-Encoding"
            plain = client.get(address)
            assert "Content-Encoding" not in plain.headers
            assert gzip.decompress(answer.data) == plain.data
            assert len(answer.data) < len(plain.data)


def test_pages_are_not_packed_since_they_hold_secrets_beside_what_others_chose(client: FlaskClient) -> None:
    page = client.get("/login", headers=GZIP)
    assert "Content-Encoding" not in page.headers
    assert page.headers["Cache-Control"] == "no-store"


def test_types_are_the_same_on_every_system(client: FlaskClient) -> None:
    for path in (ROOT / "static").rglob("*"):
        name = path.relative_to(ROOT / "static").as_posix()
        answer = client.get(f"/static/{name}")
        if path.suffix in static_files.TYPES:
            assert answer.headers["Content-Type"] == static_files.TYPES[path.suffix], name
        else:
            assert answer.status_code == 404, name


@pytest.mark.parametrize(("accepted", "packed"), [
    ("gzip", True), ("GZIP;q=0.5, br", True), ("*", True), ("br", False), ("gzip;q=0", False), ("", False),
    ("identity", False), ("gzip;q=nonsense", False), ("x" * 5000, False),
])  # fmt: skip
def test_only_who_takes_gzip_gets_it(small: FlaskClient, accepted: str, packed: bool) -> None:
    answer = small.get(url("a.css"), headers={"Accept-Encoding": accepted})
    assert (answer.headers.get("Content-Encoding") == "gzip") is packed or accepted.endswith("nonsense")
    assert answer.headers["Vary"] == "Accept-Encoding"
    body = gzip.decompress(answer.data) if "Content-Encoding" in answer.headers else answer.data
    assert body.endswith(b"p{margin:0}")


def test_what_is_packed_already_is_not_packed_again(small: FlaskClient) -> None:
    answer = small.get(url("sub/f.woff2"), headers=GZIP)
    assert answer.data.startswith(b"wOF2")
    assert "Content-Encoding" not in answer.headers


def test_a_style_sheet_names_its_fonts_as_pages_do(small: FlaskClient) -> None:
    css = small.get(url("a.css")).text
    version = url("sub/f.woff2").partition("?v=")[2]
    assert f'url("sub/f.woff2?v={version}")' in css


def test_all_static_files_together_weigh_little(record_property: Callable[[str, object], None]) -> None:
    files = StaticFiles(ROOT / "static")
    names = sorted(path.relative_to(ROOT / "static").as_posix() for path in (ROOT / "static").rglob("*.*"))
    found = {name: file for name in names if (file := files.get(name))}
    sizes = {name: (len(file.content), len(file.compressed or file.content)) for name, file in found.items()}
    lines = [f"{plain:>9,} {packed:>9,}  {name}" for name, (plain, packed) in sizes.items()]
    total = sum(packed for _, packed in sizes.values())
    record_property(
        "shown", "\n".join(["static files, plain and as sent:", *lines, f"{'':>9} {total:>9,}  together"])
    )
    latin_ext = sizes["vendor/inter-latin-ext-wght-normal.woff2"][1]  # only where a text needs it
    assert total - latin_ext < 100_000


# -- what a browser or a proxy has already ------------------------------------------------------


def test_who_has_it_is_not_sent_it_again(small: FlaskClient) -> None:
    for headers in (GZIP, {}):
        first = small.get(url("a.css"), headers=headers)
        again = small.get(url("a.css"), headers=headers | {"If-None-Match": first.headers["ETag"]})
        assert (again.status_code, again.data) == (304, b"")
        for name in ("ETag", "Cache-Control", "Vary"):
            assert again.headers[name] == first.headers[name]


def test_packed_and_plain_are_told_apart(small: FlaskClient) -> None:
    packed, plain = small.get(url("a.css"), headers=GZIP), small.get(url("a.css"))
    assert packed.headers["ETag"] != plain.headers["ETag"]
    mixed = small.get(url("a.css"), headers={"If-None-Match": packed.headers["ETag"]})
    assert mixed.status_code == 200


def test_head_is_get_without_its_body(small: FlaskClient) -> None:
    got, head = (small.open(url("a.css"), method=method, headers=GZIP) for method in ("GET", "HEAD"))
    assert head.data == b""
    assert dict(head.headers) == dict(got.headers)


# -- files that change ------------------------------------------------------------------------


def test_a_file_that_changes_under_a_running_server_gets_another_address(
    small: FlaskClient, folder: Path
) -> None:
    before = url("a.css")
    (folder / "new.css").write_text("p{margin:1px}")
    os.replace(folder / "new.css", folder / "a.css")
    after = url("a.css")
    assert after != before
    assert small.get(after).text == "p{margin:1px}"
    assert small.get(after).headers["Cache-Control"] == FOR_EVER


def test_a_font_that_changes_changes_the_address_of_its_style_sheet(folder: Path, small: FlaskClient) -> None:
    before = url("a.css")
    (folder / "sub/f.woff2").write_bytes(b"wOF2 another")
    assert url("a.css") != before


@pytest.mark.parametrize("version", ["", "0123456789abcdef", "x" * 1000, "../..", "%00"])
def test_the_content_of_today_is_never_kept_under_the_address_of_another(
    small: FlaskClient, version: str
) -> None:
    answer = small.get("/static/a.css", query_string={"v": version})
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == ASK_FIRST
    assert small.get("/static/a.css").headers["Cache-Control"] == ASK_FIRST


def test_a_file_that_is_gone_is_not_found_and_its_link_leads_nowhere_worse(
    small: FlaskClient, folder: Path
) -> None:
    assert small.get(url("a.css")).status_code == 200
    (folder / "a.css").unlink()
    assert url("a.css") == "/static/a.css"
    assert small.get("/static/a.css").status_code == 404


# -- what is not served -----------------------------------------------------------------------


@pytest.mark.parametrize("name", [
    "../outside.css", "%2e%2e/outside.css", "sub/../../outside.css", "..%2foutside.css", "//etc/passwd",
    "/etc/passwd", "%00", "a.css%00", "a.css/", "a%5c..%5c..%5coutside.css", "note.txt", "sub", "sub/", "x" * 300 + ".css",
    "no.css", "a.css/x.css", "%ff.css", "A.CSS",
])  # fmt: skip
def test_nothing_else_is_served(small: FlaskClient, name: str) -> None:
    assert small.get(f"/static/{name}").status_code in (404, 308)
    assert small.get(f"/static/{name}", follow_redirects=True).status_code == 404


def test_a_missing_file_is_not_remembered_by_browsers(client: FlaskClient) -> None:
    answer = client.get("/static/no.css")
    assert (answer.status_code, answer.headers["Cache-Control"]) == (404, "no-store")


def test_no_way_of_writing_a_name_fills_the_memory(folder: Path) -> None:
    files = StaticFiles(folder)
    for name in ("a.css", "./a.css", "sub/../a.css", "sub/./../a.css", "sub//f.woff2", "no.css", "a.css\0"):
        files.get(name)
    assert set(files._read) == {"a.css", "sub/f.woff2"}  # the second is the style sheet's own
