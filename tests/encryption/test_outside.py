"""Promises of secrets that are kept outside (panel.vault.outside)."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from panel.config import Settings
from panel.errors import BadInput, OutsideSecretError
from panel.mail.server import MailServer
from panel.vault import outside
from tests.running import environ_for

SERVER = MailServer("imap", "imap.example.org", 993, "tls", "support@example.org")
LINE = "imap.example.org 993 support@example.org"
SECRET = "outside-marker ünd 🔑  "
NOBODY = 65534


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory with one secret and its pin, as an administrator makes it."""
    secrets = tmp_path / "secrets of ours"
    secrets.mkdir(mode=0o700)
    write(secrets / "support", SECRET + "\n")
    write(secrets / "support.server", LINE + "\n")
    return secrets


@pytest.fixture
def settings(tmp_path: Path, directory: Path) -> Settings:
    (tmp_path / "data").mkdir(mode=0o700)
    return Settings.load(environ_for(tmp_path) | {"PANEL_SECRETS_DIR": str(directory)})


def write(path: Path, text: str | bytes, mode: int = 0o600) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


def read(settings: Settings, name: str = "support", server: MailServer = SERVER) -> str:
    return outside.read(name, server, settings).reveal()


def refusal(settings: Settings, name: str = "support", server: MailServer = SERVER) -> OutsideSecretError:
    """Why it is not read; what a person reads holds no secret, and what is sent as an alert no path."""
    with pytest.raises(OutsideSecretError) as refused:
        read(settings, name, server)
    assert "outside-marker" not in str(refused.value)
    assert "/" not in refused.value.message
    return refused.value


def typed(command: str) -> None:
    """Run `command` as a person types it, who is root already."""
    subprocess.run(["sh", "-c", command.replace("sudo ", "")], check=True)


def test_a_secret_is_read_as_it_stands_but_for_one_final_newline(settings: Settings, directory: Path) -> None:
    for text, secret in {
        SECRET: SECRET, SECRET + "\n": SECRET, SECRET + "\r\n": SECRET, SECRET + "\n\n": SECRET + "\n",
        "--p": "--p", " ": " ", "x" * 1024: "x" * 1024, "line\none": "line\none",
    }.items():  # fmt: skip
        write(directory / "support", text)
        assert read(settings) == secret


def test_a_changed_secret_is_read_at_the_next_use(settings: Settings, directory: Path) -> None:
    assert read(settings) == SECRET
    write(directory / "new", "another")
    (directory / "new").rename(directory / "support")
    assert read(settings) == "another"


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../support", "/etc/shadow", "support/", "Support", "sup port", "süpport", "a" * 65,
     "support\n", "support\0", "🔑", "a" * 1024],
)  # fmt: skip
def test_only_a_bare_name_is_a_name(settings: Settings, name: str) -> None:
    with pytest.raises(BadInput) as refused:
        read(settings, name)
    assert refused.value.field == "secret_name"


# -- the pin -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [{"host": "rogue.example.org"}, {"host": "imap.example.org.rogue.example"}, {"port": 143},
     {"username": "boss@example.org"}, {"username": "Support@example.org"}, {"username": "example.org"}],
)  # fmt: skip
def test_a_secret_is_not_read_for_a_server_that_its_pin_does_not_list(
    settings: Settings, directory: Path, change: dict[str, object]
) -> None:
    rogue = replace(SERVER, **change)  # type: ignore[arg-type]
    refused = refusal(settings, server=rogue)
    assert f"{rogue.host} {rogue.port} {rogue.username}" in refused.message
    assert f"| sudo tee -a '{directory}/support.server'" in refused.remedy


def test_without_a_pin_nothing_is_read(settings: Settings, directory: Path) -> None:
    (directory / "support.server").unlink()
    os.mkfifo(directory / "without-pin")  # would hang, or be opened, if anybody read it
    assert "support.server is missing" in refusal(settings).message
    assert "without-pin.server is missing" in refusal(settings, "without-pin").message


@pytest.mark.parametrize("username", ["it's us; $(id)", r"CORP\new-desk"])
def test_what_the_remedy_says_allows_the_server(settings: Settings, directory: Path, username: str) -> None:
    write(
        directory / "support.server", LINE
    )  # as an editor or Kubernetes may leave it: its line does not end
    server = replace(SERVER, host="smtp.example.org", port=465, username=username)
    command = refusal(settings, server=server).remedy.partition(": ")[2]
    typed(command + " > /dev/null")
    assert read(settings, server=server) == read(settings) == SECRET


@pytest.mark.parametrize(
    "pin",
    [LINE, LINE + "\r\n", "\ufeff" + LINE, "IMAP.Example.ORG. 993\tsupport@example.org  ",
     "other.example.org 993 x\n\n" + LINE + "\nsmtp.example.org 465 support@example.org"],
)  # fmt: skip
def test_a_pin_is_compared_as_servers_are(settings: Settings, directory: Path, pin: str) -> None:
    write(directory / "support.server", pin)
    assert read(settings) == SECRET


@pytest.mark.parametrize(
    "pin",
    ["", "\n", "imap.example.org 993", "imap.example.org", "* 993 support@example.org", LINE.replace(" ", ":"),
     "imap.example.org 0993 support@example.org", "x" * 20_000, b"\xff\xfe" + LINE.encode("utf-16-le"),
     f"{LINE}\0", "http://imap.example.org/ 993 support@example.org"],
)  # fmt: skip
def test_a_pin_that_is_none_allows_nothing(settings: Settings, directory: Path, pin: str | bytes) -> None:
    write(directory / "support.server", pin)
    assert "support.server" in refusal(settings).message


def test_an_international_name_and_a_username_with_spaces_are_pinned(
    settings: Settings, directory: Path
) -> None:
    server = replace(SERVER, host="xn--mller-kva.example", username="DOMAIN\\Frau Müller")
    write(directory / "support.server", "müller.example 993 DOMAIN\\Frau Müller\n")
    assert read(settings, server=server) == SECRET
    around = replace(server, username=f" {server.username} ")
    assert read(settings, server=around) == SECRET, "no line could say where a username begins"


def test_a_secret_that_is_pinned_anew_while_it_is_read_is_not_used(
    settings: Settings, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kubernetes exchanges both files at once: the old pin must not let the new secret through."""
    read_secret = outside._secret

    def exchanged_first(*arguments: object) -> object:
        write(directory / "support.server", "other.example.org 993 other")
        write(directory / "support", "outside-marker of another server")
        return read_secret(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(outside, "_secret", exchanged_first)
    refusal(settings)


# -- what others could have written --------------------------------------------------------


def others_may_write(path: Path) -> None:
    path.chmod(path.stat().st_mode | 0o002)


def group_may_write(path: Path) -> None:
    path.chmod(path.stat().st_mode | 0o020)


def sticky_for_all(path: Path) -> None:
    path.chmod(0o1777)


def anothers(path: Path) -> None:
    os.chown(path, NOBODY, NOBODY)


@pytest.mark.parametrize("spoil", [others_may_write, group_may_write, anothers, sticky_for_all])
@pytest.mark.parametrize("name", [".", "support", "support.server"])
def test_what_another_user_could_change_is_not_read(
    settings: Settings, directory: Path, spoil: Callable[[Path], None], name: str
) -> None:
    if spoil is anothers and os.geteuid():
        pytest.skip("needs root")
    spoil(directory / name)
    refused = refusal(settings)
    typed(refused.remedy.removeprefix("Run: "))  # and what it says helps
    assert read(settings) == SECRET


@pytest.mark.parametrize("spoil", [others_may_write, group_may_write, anothers])
def test_nor_where_another_user_could_put_another_directory_in_its_place(
    settings: Settings, directory: Path, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    if spoil is anothers and os.geteuid():
        pytest.skip("needs root")
    linked = tmp_path / "linked" / "to ours"
    linked.parent.mkdir(mode=0o700)
    linked.symlink_to(directory)
    through = replace(settings, secrets_dir=linked)
    for folder in (linked.parent, tmp_path):
        spoil(folder)
        refused = refusal(through)
        typed(refused.remedy.removeprefix("Move it, or run: "))
        assert read(through) == SECRET
    sticky_for_all(tmp_path)
    assert read(settings) == SECRET


def test_files_that_others_may_read_are_read(settings: Settings, directory: Path) -> None:
    """Docker mounts its secrets with mode 0444."""
    for path in (directory, directory / "support", directory / "support.server"):
        path.chmod(0o755 if path.is_dir() else 0o444)
    assert read(settings) == SECRET


# -- links ---------------------------------------------------------------------------------


def as_kubernetes_writes_it(directory: Path) -> Path:
    """Move the files below `..DATE`, which `..data` links to; the directory with the files."""
    inner = directory / "..2026_11_27_14_00_00.123456789"
    inner.mkdir(mode=0o755)
    for name in ("support", "support.server"):
        (directory / name).rename(inner / name)
        (directory / name).symlink_to(f"..data/{name}")
    (directory / "..data").symlink_to(inner.name)
    return inner


def test_links_inside_the_directory_are_followed(settings: Settings, directory: Path) -> None:
    as_kubernetes_writes_it(directory)
    assert read(settings) == SECRET


def test_each_directory_that_a_link_leads_through_counts(settings: Settings, directory: Path) -> None:
    inner = as_kubernetes_writes_it(directory)
    others_may_write(inner)
    refused = refusal(settings)
    assert "A directory that the link support" in refused.message
    assert inner.name in refused.remedy


def test_the_directory_itself_may_be_a_link(settings: Settings, directory: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(directory)
    assert read(replace(settings, secrets_dir=tmp_path / "link")) == SECRET


@pytest.mark.parametrize(
    "target", ["../elsewhere/support", "{base}/elsewhere/support", "/etc/passwd", "/dev/zero"]
)
@pytest.mark.parametrize("name", ["support", "support.server"])
def test_a_link_that_leads_out_is_not_followed(
    settings: Settings, directory: Path, tmp_path: Path, target: str, name: str
) -> None:
    (tmp_path / "elsewhere").mkdir()
    write(tmp_path / "elsewhere/support", "outside-marker elsewhere")
    (directory / name).unlink()
    (directory / name).symlink_to(target.format(base=tmp_path))
    assert "leads out" in refusal(settings).message


def test_a_directory_whose_name_only_begins_alike_is_outside(settings: Settings, directory: Path) -> None:
    beside = directory.with_name(directory.name + "-more")
    beside.mkdir()
    write(beside / "support", "outside-marker beside")
    (directory / "support").unlink()
    (directory / "support").symlink_to(f"../{beside.name}/support")
    assert "leads out" in refusal(settings).message


@pytest.mark.parametrize("target", ["gone", "support"])
def test_a_link_to_nothing_or_to_itself_is_said(settings: Settings, directory: Path, target: str) -> None:
    (directory / "support").unlink()
    (directory / "support").symlink_to(target)
    assert "support" in refusal(settings).message


# -- what is no file -------------------------------------------------------------------------


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    if os.geteuid():
        pytest.skip("needs root")
    os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))  # /dev/zero


def folder(path: Path) -> None:
    path.mkdir()


def bound_socket(path: Path) -> None:
    folder = os.open(path.parent, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(f"/proc/self/fd/{folder}/{path.name}")  # its path may be longer than 107 bytes
    os.close(folder)


@pytest.mark.parametrize("make", [pipe, device, folder, bound_socket])
@pytest.mark.parametrize("name", ["support", "support.server"])
def test_what_is_no_file_is_refused_at_once(
    settings: Settings, directory: Path, make: Callable[[Path], None], name: str
) -> None:
    (directory / name).unlink()
    make(directory / name)
    assert "not a regular file" in refusal(settings).message


@pytest.mark.parametrize(
    ("text", "says"),
    [("", "empty"), ("\n", "empty"), ("a\0b", "NUL"), (b"\xff\xfea\0", "UTF-16"), (b"caf\xe9", "not UTF-8"),
     ("\ufeffx", "byte order mark"), ("x" * 70_000, "longer than 65536")],
)  # fmt: skip
def test_what_is_no_secret_is_said(settings: Settings, directory: Path, text: str | bytes, says: str) -> None:
    write(directory / "support", text)
    assert says in refusal(settings).message


def test_a_huge_file_costs_no_memory(settings: Settings, directory: Path) -> None:
    with open(directory / "support", "wb") as file:
        file.truncate(2**40)
    began = time.process_time()
    assert "longer" in refusal(settings).message
    assert time.process_time() - began < 1


# -- where nothing is to be seen ---------------------------------------------------------------


def test_a_missing_secret_is_named(settings: Settings, directory: Path) -> None:
    (directory / "support").unlink()
    refused = refusal(settings)
    assert refused.message == "The secret support is missing in PANEL_SECRETS_DIR."
    assert str(directory / "support") in refused.remedy


def test_without_the_setting_nothing_is_read(settings: Settings) -> None:
    refused = refusal(replace(settings, secrets_dir=None))
    assert "PANEL_SECRETS_DIR is not set" in refused.message
    assert "/dev/null" in refused.remedy  # the file of settings of this test


def test_a_directory_that_this_process_cannot_see_is_said(settings: Settings, tmp_path: Path) -> None:
    refused = refusal(replace(settings, secrets_dir=tmp_path / "of-the-server"))
    assert "cannot be opened here (no such file or directory)" in refused.message
    assert "this shell cannot see it" in refused.remedy


def test_nothing_stays_open(settings: Settings, directory: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    read(settings)
    refusal(settings, "absent")
    (directory / "support").unlink()
    pipe(directory / "support")
    refusal(settings)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_volume_of_kubernetes_is_read(
    settings: Settings, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its root has mode 1777, and is mounted read-only."""
    as_kubernetes_writes_it(directory)
    sticky_for_all(directory)
    assert "1777" in refusal(settings).message
    found = os.statvfs(directory)
    read_only = os.statvfs_result((*found[:8], found.f_flag | os.ST_RDONLY, *found[9:]))
    monkeypatch.setattr(os, "fstatvfs", lambda fd: read_only)
    assert read(settings) == SECRET
    others_may_write(directory / "..data/support")  # a file gains nothing by it
    assert "0602" in refusal(settings).message


def test_a_file_that_mailkeep_may_not_read_says_whom_it_must_belong_to(
    settings: Settings, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may read everything, so the system's answer to another user stands in."""

    def denied(fd: int, most: int) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(outside, "_bytes", denied)
    remedy = refusal(settings).remedy
    assert f"sudo chown {os.geteuid()} '{directory}/support.server'" in remedy
