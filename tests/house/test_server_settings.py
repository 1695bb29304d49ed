"""Promises of Server > Settings: everything is named with where it comes from, and no secret is shown."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from flask import Flask

from panel import create_app, install
from panel.config import NAMES, ROOT, Settings
from panel.server_settings import service
from panel.server_settings.service import ServerSettings, without_password
from tests.running import Environ
from tests.sign_in.browser import Browser, add_person

MANUAL = ROOT / "docs/settings.md"
SECRET = "MARKER" + "x" * 32


def read(environ: dict[str, str]) -> ServerSettings:
    environ = {"PANEL_ENV_FILE": "/dev/null"} | environ
    return service.read(Settings.load(environ), MANUAL)


def row(environ: dict[str, str], name: str) -> service.Setting:
    return next(row for row in read(environ).rows if row.name == name)


def test_every_setting_is_there_with_what_it_means() -> None:
    rows = read({}).rows
    assert {row.name for row in rows} == NAMES - {"PANEL_ENV_FILE"}
    for each in rows:
        assert each.meaning and not re.search(r"\]\(|`|\*\w|\*\*", each.meaning), each
        assert not each.meaning[0].islower(), each
        assert each.value and each.source == "default" and not each.is_set
        assert re.fullmatch(rf"{each.name}(_FILE)?=.+", each.line), each


def test_each_line_can_be_written_into_the_file_as_it_stands(tmp_path: Path) -> None:
    for each in read({}).rows:
        if each.line.startswith(("PANEL_MAIL_CA_FILE", "PANEL_SECRET_KEY", "PANEL_MAIL_GROUP")):
            continue  # examples of files and groups of another machine
        value = each.value if each.value != "none" else each.line.partition("=")[2]
        file = tmp_path / "mailkeep.env"
        file.write_text(f"{each.line}\n")
        environ = {"PANEL_ENV_FILE": str(file)}
        shown = next(
            row for row in service.read(Settings.load(environ), MANUAL).rows if row.name == each.name
        )
        assert (shown.value.rstrip("/"), shown.source) == (value.rstrip("/"), str(file))


def test_a_value_is_named_with_where_it_was_set(tmp_path: Path) -> None:
    file, secret = tmp_path / "mailkeep.env", tmp_path / "key"
    secret.write_text(SECRET)
    file.write_text(
        f"PANEL_CONTACT='Dana, ext. 17'\nPANEL_BIND=127.0.0.1:9000\nPANEL_SECRET_KEY_FILE={secret}\n"
    )
    environ = {"PANEL_ENV_FILE": str(file), "PANEL_BIND": "[::1]:9001"}
    assert row(environ, "PANEL_CONTACT").source == str(file)
    assert (row(environ, "PANEL_BIND").value, row(environ, "PANEL_BIND").source) == (
        "[::1]:9001",
        "environment",
    )
    assert (row(environ, "PANEL_SECRET_KEY").value, row(environ, "PANEL_SECRET_KEY").source) == (
        "set",
        str(secret),
    )
    assert row(environ, "PANEL_SECRET_KEY").line == f"PANEL_SECRET_KEY_FILE={secret}"
    assert row({"PANEL_CONTACT": ""}, "PANEL_CONTACT").source == "default"


@pytest.mark.parametrize(("url", "shown"), [
    ("postgresql://mailkeep:s3cret@db.example.org/x", "postgresql://mailkeep:***@db.example.org/x"),
    ("redis://:s3cret@127.0.0.1:6379/0", "redis://:***@127.0.0.1:6379/0"),
    ("postgresql://u:p@s3cret@host/x?sslmode=require", "postgresql://u:***@host/x?sslmode=require"),
    ("postgresql://host/x?user=a&password=s3cret", "postgresql://host/x?user=a&password=***"),
    ("sqlite:////srv/a b.db", "sqlite:////srv/a b.db"),
    ("/srv/data", "/srv/data"),
])  # fmt: skip
def test_no_password_of_an_address_is_shown(url: str, shown: str) -> None:
    assert without_password(url) == shown


@pytest.fixture
def file(environ: Environ, tmp_path: Path) -> Path:
    file = tmp_path / "mailkeep.env"
    file.write_text("PANEL_CONTACT=<b>Dana</b>, extension 17\n")
    environ |= {"PANEL_SECRET_KEY": SECRET, "PANEL_ENV_FILE": str(file)}
    return file


@pytest.fixture
def admin(file: Path, environ: Environ) -> Browser:
    settings = Settings.load(environ)
    install.prepare(settings)
    app = create_app(settings)
    app.testing = True
    add_person()
    browser = Browser(app)
    browser.sign_in()
    return browser


def test_the_page_shows_all_but_secrets(admin: Browser) -> None:
    text = admin.get("/server/settings").text
    assert "MARKER" not in text
    for name in NAMES:
        assert name in text or name == "PANEL_ENV_FILE"
    assert "&lt;b&gt;Dana&lt;/b&gt;, extension 17" in text
    assert service.BY_HAND in text
    assert "apply" not in text


def test_the_page_says_what_a_restart_would_change(admin: Browser, file: Path) -> None:
    file.write_text("PANEL_CONTACT=<b>Dana</b>, extension 17\nPANEL_ACTIVITY_DAYS=7\n")
    text = admin.get("/server/settings").text
    assert "Restart the server to apply 1 change." in text
    assert "after a restart: <code>7</code>" in text
    file.write_text("PANEL_ACTIVITY_DAYS=many\n")
    text = admin.get("/server/settings").text
    assert "The next start will fail." in text and "It takes a whole number" in text


@pytest.mark.parametrize("role", ["agent", "user"])
def test_it_is_for_administrators(app: Flask, role: str) -> None:
    add_person("ben@example.org", role)
    browser = Browser(app)
    browser.sign_in("ben@example.org")
    assert browser.get("/server/settings").status_code == 403


def test_in_a_container_that_is_what_is_restarted(admin: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_is_container", lambda: True)
    assert "Restart the container." in admin.get("/server/settings").text


def test_the_restart_is_named_as_systemd_runs_it() -> None:
    found = service.UNIT.search("0::/system.slice/mailkeep.service\n")
    assert found and found[1] == "mailkeep"
    assert service.UNIT.search("0::/user.slice/user-1000.slice/session-3.scope\n") is None


def test_the_shell_shows_the_same(app: Flask) -> None:
    runner = app.test_cli_runner()
    done = runner.invoke(args=["settings"])
    assert done.exit_code == 0, done.output
    assert "PANEL_TIMEZONE=UTC  (default)\n" in done.stdout
    assert json.loads(runner.invoke(args=["settings", "--json"]).stdout)["PANEL_METRICS"] == {
        "value": "0", "source": "default",
    }  # fmt: skip
