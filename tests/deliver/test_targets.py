"""Promises of the targets file: its owner alone decides what is run, and each mistake in it is named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from panel.deliver import targets_file
from panel.deliver.targets import CommandTarget, HttpTarget, LmtpTarget
from panel.errors import BadInput, SettingsError

COMMAND = 'type = "command"\ncommand = ["/bin/true"]\n'
HTTP = 'type = "http"\nurl = "https://desk.example.org/api?key=geheim"\n'
LMTP = 'type = "lmtp"\naddress = "/run/lmtp"\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "targets ü.toml"


def refusal(path: Path, text: str | bytes, owners: set[int] | None = None) -> str:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SettingsError) as refused:
        targets_file.read(path, owners)
    return str(refused.value)


def test_each_kind_is_read_with_what_it_does_in_words(path: Path) -> None:
    path.write_text(
        f"same_user = true\ndefault = 'rt'\nkeep_days = 0\n[rt]\n{COMMAND}timeout = 5\n[desk]\n{HTTP}"
        f"body = 'form:message'\nheaders = {{X-Team = 'a b'}}\nheader_secrets = {{X-API-Key = 'desk.key'}}\n"
        f"hmac_secret = 'desk.hmac'\n[box]\n{LMTP}recipient = 'müller@example.org'\n"
    )
    found = targets_file.read(path)
    assert (found.same_user, found.default, found.keep_days) == (True, "rt", 0)
    rt, desk, box = (found.by_name[name] for name in ("rt", "desk", "box"))
    assert rt == CommandTarget("rt", 5, ("/bin/true",))
    assert isinstance(desk, HttpTarget) and (desk.encoding, desk.form_field, desk.timeout) == (
        "form",
        "message",
        60,
    )
    assert desk.headers == {"X-Team": "a b"} and desk.header_secrets == {"X-API-Key": "desk.key"}
    assert box == LmtpTarget("box", 60, "/run/lmtp", "müller@example.org")
    assert [str(each) for each in (rt, desk, box)] == [
        "runs /bin/true", "posts to https://desk.example.org", "delivers by LMTP to /run/lmtp",
    ]  # fmt: skip
    assert "geheim" not in repr(found)


def test_without_a_file_there_is_only_the_maildir() -> None:
    found = targets_file.read(None)
    assert found.chosen("") == "maildir" and not found.by_name
    found.require("maildir")
    with pytest.raises(BadInput, match="no target “rt”"):
        found.require("rt")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = ", "not TOML"),
        ("a = " + "[" * 5000, "not TOML"),
        ("sameuser = true", "Did you mean same_user"),
        ("same_user = 1", "same_user is wrong"),
        ("keep_days = -1", "0 to 365"),
        ("keep_days = true", "0 to 365"),
        ("default = 'gone'", "default is wrong"),
        (f"[maildir]\n{COMMAND}", "always there"),
        (f"['ä b']\n{COMMAND}", "cannot be the name"),
        (f"['{'x' * 33}']\n{COMMAND}", "cannot be the name"),
        (f"['--yes']\n{COMMAND}", "cannot be the name"),
        ("[a]\n", "a.type is missing"),
        ("[a]\ntype = 'ftp'", "command, http or lmtp"),
        (f"[a]\n{COMMAND}comand = 1", "Did you mean command"),
        (f"[a]\n{COMMAND}url = 'x'", "Use one of these: command, timeout, type"),
        ("[a]\ntype = 'command'\ncommand = '/bin/true'", "a list"),
        ("[a]\ntype = 'command'\ncommand = []", "a list"),
        ("[a]\ntype = 'command'\ncommand = ['true']", "the path of a program"),
        ("[a]\ntype = 'command'\ncommand = ['/bin/true', 1]", "a list"),
        (f"[a]\n{COMMAND}timeout = 0", "1 to 3600"),
        (f"[a]\n{COMMAND}timeout = 3601", "1 to 3600"),
        ("[a]\ntype = 'http'\nurl = 'ftp://x'", "a.url is wrong. The URL does not begin with https://"),
        ("[a]\ntype = 'http'\nurl = 'http://desk.example.org/'", "a.url is wrong. Without HTTPS"),
        ("[a]\ntype = 'http'\nurl = 'https://a:b@desk.example.org/'", "a password"),
        (f"[a]\n{HTTP}body = 'form'", "form:FIELD"),
        (f"[a]\n{HTTP}body = 'form:a=b&c'", "form:FIELD"),
        (f"[a]\n{HTTP}headers = {{A = \"x\\r\\nB: y\"}}", "a.headers is wrong"),
        (f"[a]\n{HTTP}headers = {{A = \"x\\u0000\"}}", "a.headers is wrong"),
        (f"[a]\n{HTTP}headers = {{\"A: b\" = \"x\"}}", "a.headers is wrong"),
        (f"[a]\n{HTTP}headers = {{host = \"x\"}}", "that Mailkeep does not send itself"),
        (f"[a]\n{HTTP}headers = {{Content-Length = \"1\"}}", "a.headers is wrong"),
        (f"[a]\n{HTTP}headers = {{Mailkeep-Delivery-Id = \"1\"}}", "a.headers is wrong"),
        (f"[a]\n{HTTP}header_secrets = {{A = \"../key\"}}", "a.header_secrets is wrong"),
        (f"[a]\n{HTTP}hmac_secret = '/etc/shadow'", "a.hmac_secret is wrong"),
        ("[a]\ntype = 'lmtp'\naddress = 'host'", "host:port"),
        ("[a]\ntype = 'lmtp'\naddress = 'host:0'", "host:port"),
        ("[a]\ntype = 'lmtp'\naddress = 'host:65536'", "host:port"),
        (f"[a]\ntype = 'lmtp'\naddress = '/{'é' * 60}'", "host:port"),
        (f"[a]\n{LMTP}recipient = 'a> <b'", "a.recipient is wrong"),
        (f"[a]\n{LMTP}recipient = \"a\\r\\nDATA\"", "a.recipient is wrong"),
        ("\ufeff\xff".encode("utf-16"), "UTF-16"),
        ("# " + "x" * 70_000, "longer than 64 KiB"),
        ("keep_days = " + "9" * 5000, "It is not TOML"),
        ("".join(f"[t{number}]\n{COMMAND}" for number in range(101)), "more than 100"),
    ],
)  # fmt: skip
def test_a_mistake_is_named(path: Path, text: str | bytes, says: str) -> None:
    assert says in refusal(path, text)


def test_a_file_that_others_may_write_is_not_used(path: Path) -> None:
    path.write_text(f"[a]\n{COMMAND}")
    for mode in (0o666, 0o662, 0o620):
        path.chmod(mode)
        assert "Others than its owner can write" in refusal(path, f"[a]\n{COMMAND}")
    path.chmod(0o644)
    assert targets_file.read(path).by_name


@pytest.mark.parametrize("linked", [False, True])
def test_a_file_below_a_folder_that_others_may_write_is_not_used(tmp_path: Path, linked: bool) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    (folder / "etc").mkdir()
    path = folder / "etc" / "targets.toml"
    if linked:  # the link could be made to lead elsewhere
        (tmp_path / "t.toml").write_text(f"[a]\n{COMMAND}")
        path.symlink_to(tmp_path / "t.toml")
    folder.chmod(0o777)
    assert f"can write {folder}" in refusal(path, f"[a]\n{COMMAND}")
    folder.chmod(0o1777)  # as /tmp: what is another's cannot be replaced there
    assert targets_file.read(path).by_name


def test_a_file_of_another_user_is_not_used(path: Path) -> None:
    path.write_text(f"[a]\n{COMMAND}")
    assert targets_file.read(path, {os.geteuid()}).by_name
    assert "belongs to another user" in refusal(path, f"[a]\n{COMMAND}", {os.geteuid() + 1})


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name in ("fifo", ".", "missing"):
        with pytest.raises(SettingsError, match="cannot be used"):
            targets_file.read(tmp_path / name)
