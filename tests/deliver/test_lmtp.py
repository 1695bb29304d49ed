"""Promises of LMTP targets, against scripted servers and a real one."""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from panel.deliver import lmtp
from panel.deliver.message import Disposition, OutgoingMessage, TryResult
from panel.deliver.targets import LmtpTarget
from tests.deliver.conftest import MESSAGE, POLICY
from tests.running import wait_until

LHLO = "250-desk\r\n250-SIZE 1000\r\n250-8BITMIME\r\n250 DSN"
GOOD = {
    "": "220 desk",
    "LHLO": LHLO,
    "MAIL": "250 ok",
    "RCPT": "250 ok",
    "DATA": "354 go on",
    ".": "250 2.0.0 saved",
}


class Server:
    """Answers each command by its first word; what it was sent is noted."""

    def __init__(self, answers: dict[str, str], listening: socket.socket) -> None:
        self.commands: list[str] = []
        self.data = b""
        self._answers = {**GOOD, **answers}
        self._listening = listening
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        try:
            connection, _ = self._listening.accept()
        except OSError:
            return  # nobody came
        with suppress(ConnectionError), connection, connection.makefile("rb") as lines:
            connection.sendall(f"{self._answers['']}\r\n".encode())
            for line in lines:
                self.commands.append(line.decode().rstrip("\r\n"))
                word = line[:4].decode().strip()
                answer = self._answers.get(word, "500 what?")
                connection.sendall(f"{answer}\r\n".encode())
                if word == "DATA" and answer.startswith("354"):
                    for data in lines:
                        if data == b".\r\n":
                            break
                        self.data += data.removeprefix(b".")
                    connection.sendall(f"{self._answers['.']}\r\n".encode())


@contextmanager
def server(path: Path, **answers: str) -> Iterator[Server]:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        yield Server(
            {word.replace("end", ".").replace("greeting", ""): text for word, text in answers.items()},
            listening,
        )


def send(
    address: str, raw: bytes = MESSAGE, mailbox: str = "support@example.org", recipient: str = ""
) -> TryResult:
    message = OutgoingMessage(io.BytesIO(raw), len(raw), "d" * 32, mailbox, "7")
    return lmtp.deliver(LmtpTarget("desk", 60, address, recipient), message, POLICY)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lmtp"


@pytest.mark.parametrize(
    "raw",
    [MESSAGE, b"", b".", b"\r\n.\r\n", b"a\r\n" * 70_000, b"x" * 65_535 + b"\r\n.y", b"x" * 65_536 + b"\r\n"],
)
def test_a_message_arrives_byte_for_byte_but_for_an_end_of_its_last_line(path: Path, raw: bytes) -> None:
    with server(path) as desk:
        found = send(str(path), raw)
    assert found == TryResult(Disposition.DELIVERED, "250 2.0.0 saved")
    assert desk.data == (raw if raw.endswith(b"\r\n") or not raw else raw + b"\r\n")
    assert desk.commands == [
        "LHLO [127.0.0.1]", f"MAIL FROM:<> SIZE={len(raw)} BODY=8BITMIME ENVID={'d' * 32}",
        "RCPT TO:<support@example.org>", "DATA",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "raw", [b"a\n.\nMAIL FROM:<x>\n", b"a\r.\rb", b"a\n.\r\nb", b"x" * 65_535 + b"\r.\r\nb", b"a\r"]
)
def test_no_line_end_of_another_kind_ends_the_message_early(path: Path, raw: bytes) -> None:
    with server(path) as desk:
        assert send(str(path), raw).disposition is Disposition.DELIVERED
    assert len(desk.commands) == 4
    assert (
        desk.data.replace(b"\r\n", b"\n")
        == raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n").rstrip(b"\n") + b"\n"
    )


@pytest.mark.parametrize(
    ("answers", "becomes", "says"),
    [
        ({"greeting": "421 busy"}, Disposition.LATER, "421 busy"),
        ({"greeting": "554 no"}, Disposition.LATER, "554 no"),
        ({"LHLO": "500 no"}, Disposition.LATER, "500 no"),
        ({"MAIL": "550 no"}, Disposition.LATER, "550 no"),
        ({"RCPT": "450 later"}, Disposition.LATER, "450 later"),
        ({"RCPT": "550-5.1.1 no\r\n550 such user"}, Disposition.REFUSED, "550 5.1.1 no such user"),
        ({"DATA": "451 later"}, Disposition.LATER, "451 later"),
        ({"DATA": "552 too large"}, Disposition.REFUSED, "552 too large"),
        ({"DATA": "250 fine"}, Disposition.LATER, "250 fine"),
        ({"RCPT": "250 fine\r\n250 and again"}, Disposition.LATER, "250 and again"),
        ({"end": "452 full"}, Disposition.LATER, "452 full"),
        ({"end": "554 spam"}, Disposition.REFUSED, "554 spam"),
        ({"end": "nonsense"}, Disposition.LATER, "does not answer as an LMTP server"),
        ({"greeting": "\r\n".join(["220-x"] * 1000)}, Disposition.LATER, "does not answer as an LMTP server"),
        ({"greeting": "220 " + "x" * 10_000}, Disposition.LATER, "a line without an end"),
    ],
)
def test_what_each_answer_means(path: Path, answers: dict[str, str], becomes: Disposition, says: str) -> None:
    with server(path, **answers):
        found = send(str(path))
    assert found.disposition is becomes and says in found.answer


@pytest.mark.parametrize(
    ("says", "becomes", "answer"),
    [
        ("552 too large", Disposition.REFUSED, "552 too large"),
        ("452 full", Disposition.LATER, "452 full"),
        ("250 fine", Disposition.LATER, "closed the connection"),
    ],
)
@pytest.mark.parametrize("family", [socket.AF_UNIX, socket.AF_INET])
def test_a_server_that_hangs_up_within_a_message_may_refuse_it_only(
    path: Path, family: socket.AddressFamily, says: str, becomes: Disposition, answer: str
) -> None:
    with socket.socket(family) as listening:
        listening.bind(str(path) if family == socket.AF_UNIX else ("127.0.0.1", 0))
        listening.listen()
        address = str(path) if family == socket.AF_UNIX else f"127.0.0.1:{listening.getsockname()[1]}"

        def serve() -> None:
            connection, _ = listening.accept()
            with connection, connection.makefile("rb") as lines:
                connection.sendall(b"220 desk\r\n")
                for line in lines:
                    data = line == b"DATA\r\n"
                    connection.sendall(b"354 go on\r\n" if data else b"250 ok\r\n")
                    if data:
                        lines.read(1000)
                        connection.sendall(f"{says}\r\n".encode())
                        return

        thread = threading.Thread(target=serve)
        thread.start()
        found = send(address, b"x" * 20_000_000)
        thread.join()
    assert found.disposition is becomes and answer in found.answer


def test_a_socket_that_is_not_there_is_tried_later(path: Path) -> None:
    found = send(str(path))
    assert found.disposition is Disposition.LATER and "cannot be reached" in found.answer


@pytest.mark.parametrize("mailbox", ["a>\r\nRCPT TO:<b@example.org", "a b@example.org", "", "x" * 400])
def test_no_address_becomes_another_command(path: Path, mailbox: str) -> None:
    with server(path) as desk:
        assert send(str(path), mailbox=mailbox).disposition is Disposition.LATER
    assert desk.commands == []


def test_over_tcp_and_to_the_recipient_that_the_file_names(path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        desk = Server({}, listening)
        found = send(f"127.0.0.1:{listening.getsockname()[1]}", recipient="archive")
    assert found.disposition is Disposition.DELIVERED and "RCPT TO:<archive>" in desk.commands


DOVECOT = """
protocols = lmtp
base_dir = {here}/run
state_dir = {here}/run
log_path = {here}/log
default_internal_user = root
default_internal_group = root
default_login_user = nobody
first_valid_uid = 1
first_valid_gid = 1
ssl = no
mail_location = maildir:{here}/mail
passdb {{
  driver = static
  args = nopassword=y
}}
userdb {{
  driver = static
  args = uid=mail gid=mail home={here}/home allow_all_users=yes
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
service lmtp {{
  unix_listener {here}/lmtp {{
    mode = 0600
  }}
}}
"""


@pytest.mark.dovecot
def test_a_real_dovecot_takes_a_message_once_whatever_its_line_ends_are() -> None:
    if os.getuid() != 0 or not Path("/usr/lib/dovecot/lmtp").exists():
        pytest.skip("needs root and Debian's dovecot-lmtpd")
    with tempfile.TemporaryDirectory(prefix="mailkeep-") as here:
        place = Path(here)
        for name in ("run", "mail", "home"):
            (place / name).mkdir()
            shutil.chown(place / name, "mail")
        place.chmod(0o755)
        (place / "conf").write_text(DOVECOT.format(here=here))
        process = subprocess.Popen(["dovecot", "-F", "-c", str(place / "conf")])
        try:
            wait_until((place / "lmtp").exists, "Dovecot")
            for raw in (MESSAGE, MESSAGE.replace(b"\r\n", b"\n")):
                found = send(f"{here}/lmtp", raw)
                assert found.disposition is Disposition.DELIVERED, f"{found} {(place / 'log').read_text()}"
            taken = [path.read_bytes().replace(b"\r\n", b"\n") for path in (place / "mail/new").iterdir()]
            assert len(taken) == 2
            assert all(each.endswith(MESSAGE.replace(b"\r\n", b"\n")) for each in taken)
        finally:
            process.terminate()
            process.wait()
