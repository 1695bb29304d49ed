"""Promises of the settings: each is documented, each bad value is named, nothing is guessed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from panel.config import NAMES, ROOT, Settings
from panel.errors import SettingsError


def load(**environ: str) -> Settings:
    return Settings.load({"PANEL_ENV_FILE": "/dev/null", **environ})


def test_every_setting_stands_in_the_manual_and_nothing_else_does() -> None:
    rows = re.findall(r"^\| `(PANEL_\w+)` \|", (ROOT / "docs/settings.md").read_text("utf-8"), re.MULTILINE)
    assert set(rows) == NAMES - {"PANEL_ENV_FILE"}


def test_with_nothing_set_there_is_a_default_for_everything() -> None:
    settings = load()
    assert settings.data_dir == ROOT / "data"
    assert (settings.bind_host, settings.bind_port) == ("127.0.0.1", 8000)
    assert settings.key_file == ROOT / "data" / "encryption-key.bin"
    assert 993 in settings.mail_ports


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("PANEL_KEY_FILE", "/srv/" + "k" * 147 + ".bin", "longer than 150 bytes"),
        ("PANEL_KEY_FILE", "/srv/" + "ü" * 76, "longer than 150 bytes"),
        ("PANEL_BINDD", "x", "Did you mean PANEL_BIND"),
        ("PANEL_DATADIR", "x", "Did you mean PANEL_DATA_DIR"),
        ("PANEL_BIND", "8000", "address:port"),
        ("PANEL_BIND", "127.0.0.1:99999", "1 to 65535"),
        ("PANEL_URL", "mail.example.org", "public address"),
        ("PANEL_URL", "http://[x", "public address"),
        ("PANEL_URL", "https://mail.example.org:99999/", "public address"),
        ("PANEL_URL", "https://a\u2100b/", "public address"),
        ("PANEL_DATA_DIR", "/srv/a\0b", "PANEL_DATA_DIR is"),
        ("PANEL_KEY_FILE", "~no-such-person/key", "PANEL_KEY_FILE is"),
        ("PANEL_MAIL_CA_FILE", "/srv/a\0b", "PANEL_MAIL_CA_FILE is"),
        ("PANEL_SECRET_KEY_FILE", "/srv/a\0b", "PANEL_SECRET_KEY_FILE is"),
        ("PANEL_SECRETS_DIR", "/run/a\0b", "PANEL_SECRETS_DIR is"),
        ("PANEL_TRUSTED_PROXIES", "many", "whole number"),
        ("PANEL_MESSAGE_LOG_DAYS", "401", "whole number from 0 to 400"),
        ("PANEL_IDLE_CONNECTIONS", "many", "whole number from 0 to 100000"),
        ("PANEL_MAIL_PORTS", "993,abc", "PANEL_MAIL_PORTS"),
        ("PANEL_MAIL_DENY_NETWORKS", "10.0.0.0/99", "separated by commas"),
        ("PANEL_MAIL_CA_FILE", "/nowhere/ca.pem", "cannot be read"),
        ("PANEL_LOG_FORMAT", "xml", "text or json"),
        ("PANEL_TIMEZONE", "Mars/Olympus", "Europe/Berlin"),
        ("PANEL_SECRET_KEY", "short", "openssl rand"),
        ("PANEL_SECRET_KEY", "", "openssl rand"),  # servers that are to share one would each make their own
        ("PANEL_DATABASE_URL", "postgresql://x", "sqlite:///"),
        ("PANEL_SECRET_KEY_FILE", "/nowhere/key", "cannot be read"),
    ],
)
def test_a_bad_value_is_named_with_what_it_takes(name: str, value: str, says: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load(**{name: value})
    assert says in str(refused.value)


def test_no_error_repeats_what_may_be_a_secret(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("of-another-setting")
    for name, value in {
        "PANEL_URL": "https://admin:of-another-setting@mail.example.org/",
        "PANEL_DATABASE_URL": "of-another-setting",
        "PANEL_QUEUE_URL_FILE": str(tmp_path / "secret"),
    }.items():
        with pytest.raises(SettingsError) as refused:
            load(**{name: value})
        assert "of-another-setting" not in str(refused.value)


def test_what_kubernetes_injects_is_ignored() -> None:
    load(PANEL_SERVICE_HOST="10.0.0.1", PANEL_PORT="tcp://10.0.0.1:80", PANEL_PORT_80_TCP="x")


def test_the_environment_wins_over_the_file_and_comments_are_skipped(tmp_path: Path) -> None:
    file = tmp_path / "mailkeep.env"
    file.write_text("# a comment\n\nPANEL_BIND=127.0.0.1:9000\nexport PANEL_CONTACT='Dana, +49 30 1'\n")
    settings = Settings.load({"PANEL_ENV_FILE": str(file), "PANEL_BIND": "127.0.0.1:9001"})
    assert (settings.bind_port, settings.contact) == (9001, "Dana, +49 30 1")


@pytest.mark.parametrize("line", ["PANEL_BIND", "PATH=/bin", "panel_bind=x"])
def test_a_line_that_is_no_setting_is_named_by_number(tmp_path: Path, line: str) -> None:
    file = tmp_path / "mailkeep.env"
    file.write_text(f"# first\n{line}\n")
    with pytest.raises(SettingsError, match="Line 2"):
        Settings.load({"PANEL_ENV_FILE": str(file)})


def test_a_secret_may_come_from_a_file_but_not_from_both(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("0123456789abcdef0123456789abcdef\n")
    secret_key = load(PANEL_SECRET_KEY_FILE=str(file)).secret_key
    assert secret_key is not None
    assert secret_key.reveal() == "0123456789abcdef0123456789abcdef"
    with pytest.raises(SettingsError, match="Both"):
        load(PANEL_SECRET_KEY_FILE=str(file), PANEL_SECRET_KEY="x" * 32)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", ""])
def test_one_line_break_is_no_part_of_a_setting_from_a_file(tmp_path: Path, end: str) -> None:
    file = tmp_path / "url"
    file.write_bytes(f"sqlite:////srv/a b.db{end}".encode())
    assert load(PANEL_DATABASE_URL_FILE=str(file)).database_url == "sqlite:////srv/a b.db"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\xef\xbb\xbf" + b"k" * 40, "byte order mark"),
        (("k" * 40).encode("utf-16"), "UTF-16"),
        (b"\xff" * 40, "not UTF-8"),
        (None, "longer than"),
    ],
)
def test_a_file_that_holds_no_setting_is_named(tmp_path: Path, content: bytes | None, told: str) -> None:
    file = tmp_path / "key" if content is not None else Path("/dev/zero")
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match=told) as raised:
        load(PANEL_SECRET_KEY_FILE=str(file))
    assert "PANEL_SECRET_KEY_FILE" in str(raised.value) and "kkkk" not in str(raised.value)


def test_the_settings_file_may_come_from_any_editor_that_writes_utf8(tmp_path: Path) -> None:
    file = tmp_path / "mailkeep.env"
    file.write_bytes(b'\xef\xbb\xbfPANEL_CONTACT="Dana, 12 "\r\n# more\r\nPANEL_ACTIVITY_DAYS=7\r\n')
    settings = Settings.load({"PANEL_ENV_FILE": str(file)})
    assert (settings.contact, settings.activity_days) == ("Dana, 12 ", 7)


def test_a_settings_file_that_is_none_is_named(tmp_path: Path) -> None:
    file = tmp_path / "mailkeep.env"
    for content, told in (("PANEL_METRICS=0\n".encode("utf-16"), "UTF-16"), (b"\xff", "not UTF-8")):
        file.write_bytes(content)
        with pytest.raises(SettingsError, match=told):
            Settings.load({"PANEL_ENV_FILE": str(file)})
    with pytest.raises(SettingsError, match="longer than"):
        Settings.load({"PANEL_ENV_FILE": "/dev/zero"})


def test_no_setting_that_is_secret_shows_in_a_repr() -> None:
    assert "MARKER" not in repr(load(PANEL_SECRET_KEY="MARKER" + "x" * 32))
