"""Promises of importing in the browser: what is wrong is said by line, and no password is ever shown or kept."""

from __future__ import annotations

import io
import re

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from panel import db
from panel.accounts import importing, overview
from panel.errors import BadInput
from panel.models import Account, Activity, Endpoint
from panel.web.headers import LARGEST_FILE
from tests.accounts.conftest import secret_of
from tests.accounts.test_bulk import finished
from tests.encryption.conftest import House
from tests.sign_in.browser import Browser

SECRET = "S3kret;\" 'grün 🐑"
HEAD = "address;host;username;password;interval\n"


def row(number: int, password: str = SECRET) -> str:
    quoted = password.replace('"', '""')
    return f'box{number}@example.org;imap.example.org;;"{quoted}";300\n'


def send(
    browser: Browser, data: bytes | str, do: str = "check", *, htmx: bool = False, field: str = "file"
) -> TestResponse:
    token = re.search(r'name="csrf_token" value="([^"]+)"', browser.get("/accounts/import").text)
    assert token
    data = data.encode() if isinstance(data, str) else data
    fields: dict[str, object] = {"csrf_token": token[1], do: "1"}
    fields[field] = (io.BytesIO(data), "mailboxes.csv") if field == "file" else data.decode()
    headers = {"HX-Request": "true"} if htmx else {}
    return browser.client.post(
        "/accounts/import", data=fields, headers=headers, content_type="multipart/form-data"
    )


def addresses() -> list[str]:
    with db.database.connection_context():
        return [row.address for row in Account.select().order_by(Account.created_at, Account.address)]


@pytest.mark.parametrize("field", ["file", "text"])
@pytest.mark.parametrize("htmx", [False, True])
def test_a_check_names_each_line_and_saves_nothing(
    house: House,
    admin: Browser,
    field: str,
    htmx: bool,
) -> None:
    with db.database.connection_context():
        house.add()
    lines = [
        HEAD, row(1), "0@Example.org;imap.example.org;;x;\n", row(1), "\n", "no address;h.example;;x;\n",
        "box2@example.org;;;x;\n", "box3@example.org;h.example;;x;often\n", "a;b;c;d;e;f;g\n", row(4),
    ]  # fmt: skip
    answer = send(admin, "".join(lines), field=field, htmx=htmx)
    assert answer.status_code == 200
    found = re.findall(r'data-label="Line">(\d+)</td><td><span class="badge (\w+)">', answer.text)
    assert found == [
        ("3", "plain"), ("4", "plain"), ("6", "bad"), ("7", "bad"), ("8", "bad"), ("9", "bad"), ("2", "good"), ("10", "good"),
    ]  # fmt: skip
    assert "2 valid lines, 6 with a problem" in answer.text
    assert "“host” is missing" in answer.text and "“interval” is not a whole number" in answer.text
    assert ("choose the file again" in answer.text) is not htmx
    assert "S3kret" not in answer.text and addresses() == ["0@example.org"]


def test_valid_lines_are_imported_with_progress_and_exact_passwords(house: House, admin: Browser) -> None:
    with db.database.connection_context():
        house.enable()
    text = HEAD + "".join(row(number, f" {SECRET} {number} ") for number in range(100)) + "nonsense;;;;\n"
    answer = send(admin, text, "import")
    assert answer.status_code == 303 and answer.location == "/accounts/jobs/1"
    job = finished(1)
    assert (job.total, job.done, job.changed) == (101, 101, 100)
    page = admin.get("/accounts/jobs/1").text
    assert "101 of 101" in page and "100 mailboxes" in page and "Line 102: " in page
    assert "S3kret" not in page
    with db.database.connection_context():
        assert house.opened(Endpoint.get(Endpoint.address == "box7@example.org")) == f" {SECRET} 7 "
        assert {line.interval for line in overview.lines(house.vault)} == {300}
        assert Activity.select().where(Activity.what == "mailbox added").count() == 100


def test_no_password_lies_in_any_file_afterwards(
    house: House, admin: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    with db.database.connection_context():
        house.enable()
    send(admin, HEAD + row(1) + row(1) + "x;y;;S3kretX;5\n")
    send(admin, HEAD + row(1) + row(1) + "x;y;;S3kretX;5\n", "import")
    finished(1)
    assert addresses() == ["box1@example.org"]
    assert house.times_stored("S3kret") == 0 and "S3kret" not in caplog.text


def test_importing_again_adds_only_what_is_missing(house: House, admin: Browser) -> None:
    send(admin, HEAD + row(1), "import")
    finished(1)
    send(admin, HEAD + row(1) + row(2), "import")
    assert finished(2).changed == 1
    assert send(admin, HEAD + row(1) + row(2), "import").status_code == 422
    assert addresses() == ["box1@example.org", "box2@example.org"]


def test_what_is_no_list_is_refused_with_what_to_do(house: House, admin: Browser) -> None:
    for data, said in {
        b"": "No file was chosen",
        b" \n": "No file was chosen",
        HEAD.encode(): "There is no mailbox in it",
        b"addr;host\nx;y\n": "does not name the columns",
        b"address;hosst\nx;y\n": "“hosst” is an unknown column",
        "address;host;password\nbü@x.example;h;ü\n".encode("latin-1"): "The file is not UTF-8",
        "address;host\n".encode("utf-16"): "The file is in UTF-16",
        b"address,host,password,password\na@x.example,h.example,old,new\n": "“password” stands there twice",
        b"address,host,password\ra@x.example,h.example,p\r": "first line is not valid CSV",
        b'"address,host,password\n': "first line is not valid CSV",
        b'"address"x,host,password\n': "first line is not valid CSV",
        b"\0\0\0": "does not name the columns",
        b"address,password\n" + b"x" * 300_000: "longer than",
    }.items():
        answer = send(admin, data)
        assert answer.status_code == 422 and said in answer.text, (data[:20], answer.text[-900:])
    assert send(admin, b"x" * (LARGEST_FILE + 1)).status_code == 413
    assert addresses() == []


def test_a_form_that_is_out_of_date_imports_nothing(house: House, admin: Browser) -> None:
    fields = {"csrf_token": "stale", "import": "1", "text": HEAD + row(1)}
    answer = admin.client.post("/accounts/import", data=fields, content_type="multipart/form-data")
    assert answer.status_code == 400 and "out of date" in answer.text
    assert "S3kret" not in answer.text and addresses() == []


@pytest.mark.parametrize("text", [
    "address,host,password\na@x.example,h.example,p\n",
    "\ufeffaddress;host;password\r\n\r\na@x.example;h.example;p\r\n",
    "Address\tHost\tPassword\na@x.example\th.example\tp",
    ' "address" , "host","password"\na@x.example,h.example,p\n'.replace(" ", ""),
    '\n\n{"address": "a@x.example", "host": "h.example", "password": "p"}\n',
    "password,address,host,port,begin,folder\np,a@x.example,h.example,993,all,\n",
])  # fmt: skip
def test_csv_of_any_kind_and_json_lines_say_the_same(app: Flask, text: str) -> None:
    settings = app.extensions["mailkeep"].settings
    [one] = importing.read(io.BytesIO(text.encode()), settings).wanted
    assert (one.box.address, one.login.server.host, one.login.server.port, secret_of(one)) == (
        "a@x.example",
        "h.example",
        993,
        "p",
    )


def test_broken_quotes_are_an_error_of_their_line(app: Flask) -> None:
    settings = app.extensions["mailkeep"].settings
    lines = importing.read(
        io.BytesIO(b'address,host,password\na@x.example,h.example,"p"x\nb@x.example,h.example,p\n'), settings
    )
    assert [each.line for each in lines.bad] == [2] and [each.line for each in lines.wanted] == [3]
    with pytest.raises(BadInput, match="Line 2"):
        importing.read(io.BytesIO(b"address\n\xff\n"), settings)


def test_the_export_holds_no_secret_and_no_formula(house: House, admin: Browser) -> None:
    with db.database.connection_context():
        first, _ = house.add(password="S3kret"), house.add(host="imap.two.example")
        Account.update(address="=cmd|' /C calc'!A0@x.example").where(
            Account.uuid == first.account_id
        ).execute()
    answer = admin.get("/accounts/export.csv")
    assert answer.mimetype == "text/csv" and "S3kret" not in answer.text
    assert answer.text.splitlines()[2].startswith("'=cmd")
    assert "not encrypted" in answer.text and len(answer.text.splitlines()) == 3
    assert len(admin.get("/accounts/export.csv?q=imap.two").text.splitlines()) == 2
    assert len(admin.get("/accounts/export.csv?state=paused").text.splitlines()) == 1
