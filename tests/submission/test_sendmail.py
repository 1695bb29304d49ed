"""script/sendmail: for any Unix user with a password file of their own."""

from __future__ import annotations

import email
import os
import pwd
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from panel import db
from panel.audit import Actor
from panel.config import ROOT
from panel.submission import passwords
from tests.servers.smtp import SmtpServer
from tests.submission.conftest import ADDRESS, UPSTREAM_PASSWORD, Desk, add_mailbox

TEXT = b'To: Ada <ada@example.net>,\n "Bob, B." <bob@example.net>\nCc: carl@example.net\nBcc: dora@example.net,\n\teva@example.net\nSubject: Re: printer\n\nIt is on.\n.dot\n'
Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture
def file(desk: Desk, tmp_path: Path) -> Path:
    path = tmp_path / "sendmail file"
    path.write_text(f"127.0.0.1:{desk.port}\n{ADDRESS}\n{desk.password}\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def run(file: Path) -> Run:
    def run(
        *arguments: str, text: bytes = TEXT, path: object = file, **environ: str
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [ROOT / "script/sendmail", "-C", str(path), *arguments], input=text, capture_output=True, timeout=120,
            env={"PATH": os.environ["PATH"], **environ},
        )  # fmt: skip

    return run


def test_recipients_come_from_the_header_and_bcc_goes(run: Run, smtp: SmtpServer) -> None:
    done = run("-t", "-i")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    [taken] = smtp.taken
    assert taken.recipients == [f"{name}@example.net" for name in ("ada", "bob", "carl", "dora", "eva")]
    assert taken.sender == ADDRESS
    message = email.message_from_bytes(taken.data)
    assert message["From"] == ADDRESS and message["Date"] and message["Message-ID"] and message["Bcc"] is None
    assert message.get_payload() == "It is on.\r\n.dot\r\n" and message["To"].endswith("<bob@example.net>")


@pytest.mark.parametrize(
    "arguments",
    [["-i", "ada@example.net"], ["-oi", "--", "ada@example.net"], ["-oi", "-oem", "-odb", "-f", ADDRESS, "ada@example.net"],
     ["-f" + ADDRESS, "-F", "Hülfe", "-N", "never", "-bm", "-v", "-i", "ada@example.net"], ["-ti", "-r", ADDRESS]],
)  # fmt: skip
def test_the_options_of_other_sendmails_are_taken(run: Run, smtp: SmtpServer, arguments: list[str]) -> None:
    done = run(*arguments, text=b"From: help@example.org\nTo: ada@example.net\n\nhi\n.\nmore\n")
    assert done.returncode == 0, done.stderr
    assert [taken.recipients for taken in smtp.taken] == [["ada@example.net"]]
    assert smtp.taken[0].data.endswith(b"\r\n\r\nhi\r\n.\r\nmore\r\n")


def test_a_dot_ends_the_message_as_a_terminal_would(run: Run, smtp: SmtpServer) -> None:
    assert run("ada@example.net", text=b"Subject: x\n\nhi\n.\nmore\n").returncode == 0
    assert smtp.taken[0].data.endswith(b"hi\r\n")


@pytest.mark.parametrize(
    "text", [b"no header at all\n", b"", b"\nbody", b"From x@y.z Mon\nSubject: x\n\nhi", b"Subject: x"]
)
def test_an_odd_message_is_sent_whole(run: Run, smtp: SmtpServer, text: bytes) -> None:
    assert run("-i", "ada@example.net", text=text).returncode == 0
    assert (
        smtp.taken[0]
        .data.rstrip()
        .endswith(text.strip().splitlines()[-1] if text.strip() and b": " not in text else b"")
    )
    assert email.message_from_bytes(smtp.taken[0].data)["From"] == ADDRESS


def test_the_null_sender_is_that_of_bounces(run: Run, smtp: SmtpServer) -> None:
    assert run("-t", "-oi", "-f", "<>").returncode == 0
    assert run("-t", "-oi", "-f", "").returncode == 0
    assert [taken.sender for taken in smtp.taken] == ["<>", "<>"]


def test_all_recipients_get_it_or_none(run: Run, smtp: SmtpServer) -> None:
    smtp.refused.add("carl@example.net")
    done = run("-t")
    assert done.returncode == 65 and b"carl@example.net: 550 5.1.1" in done.stderr and smtp.taken == []


@pytest.mark.parametrize(
    ("arguments", "text", "status"),
    [
        (["-bs"], b"", 64), (["-Z"], b"", 64), (["-f"], b"", 64),
        (["-t"], b"Subject: x\n\nhi", 65), (["-t"], b"To: \"x <y\n\nhi", 65),
        (["-f", "boss@example.org", "ada@example.net"], b"hi", 77), (["ada@example.net"], b"From: boss@example.org\n\nhi", 77),
    ],
)  # fmt: skip
def test_the_exit_status_says_why(
    run: Run, smtp: SmtpServer, arguments: list[str], text: bytes, status: int
) -> None:
    done = run(*arguments, text=text)
    assert (done.returncode, bool(done.stderr)) == (status, True) and b"Traceback" not in done.stderr
    assert smtp.taken == []


def test_bcc_goes_also_where_recipients_are_arguments(run: Run, smtp: SmtpServer) -> None:
    text = b"To: ada@example.net\nBcc: boss@example.net\nResent-Bcc: boss@example.net\n\nhi"
    assert run("-i", "ada@example.net", text=text).returncode == 0
    [taken] = smtp.taken
    assert taken.recipients == ["ada@example.net"] and b"boss" not in taken.data


@pytest.mark.parametrize(
    "header",
    [b"To: undisclosed-recipients:;\nBcc: ada@example.net", b"To: Ada <ada@example.net>,\nCc: \nBcc:",
     b"To: nobody: ;, ada@example.net, none:;", b"To: Team: ada@example.net;", b'To: "x:;" <ada@example.net>',
     b"To: " + b"many words\n " * 20_000 + b"<ada@example.net>"],
)  # fmt: skip
def test_groups_and_empty_fields_name_whoever_is_in_them(run: Run, smtp: SmtpServer, header: bytes) -> None:
    done = run("-t", "-i", text=header + b"\n\nhi")
    assert done.returncode == 0, done.stderr
    assert [taken.recipients for taken in smtp.taken] == [["ada@example.net"]]


def test_without_an_input_and_with_an_odd_port_it_says_what_is_wrong(run: Run, file: Path) -> None:
    command = ["/bin/sh", "-c", f'"{ROOT}/script/sendmail" -t -C "{file}" <&-']
    done = subprocess.run(command, capture_output=True, timeout=120)
    assert (done.returncode, done.stderr) == (65, b"sendmail: there is no recipient\n")
    file.write_text(file.read_text().replace("127.0.0.1:", "127.0.0.1:9"))
    assert run("-t").returncode in (75, 77)


@pytest.mark.parametrize("address", ["b\N{LATIN SMALL LETTER U WITH DIAERESIS}ro@example.org"])
def test_a_mailbox_whose_address_is_not_ascii_signs_in(
    desk: Desk, run: Run, file: Path, smtp: SmtpServer, address: str
) -> None:
    with db.database.connection_context():
        uuid = add_mailbox(
            desk.house, address, "localhost", smtp.tls_port, UPSTREAM_PASSWORD, username=ADDRESS
        )
        password = passwords.create(uuid, [], Actor()).reveal()
    file.write_text(f"127.0.0.1:{desk.port}\n{address}\n{password}\n")
    done = run("-i", "-f", "<>", "ada@example.net", text=b"Subject: x\n\nhi")
    assert b"Sign in" not in done.stderr and b"5.7.8" not in done.stderr and b"codec" not in done.stderr
    assert done.returncode in (0, 65, 75), done.stderr


def test_a_wrong_password_or_an_unsafe_file_is_77_and_nobody_there_75(
    run: Run, file: Path, tmp_path: Path, desk: Desk
) -> None:
    file.chmod(0o640)
    assert run("-t").returncode == 77
    file.chmod(0o600)
    (tmp_path / "link").symlink_to(file)
    assert run("-t", path=tmp_path / "link").returncode == 77
    done = run("-t", path=tmp_path / "none")
    assert done.returncode == 77 and b"sendmail --help says what belongs there" in done.stderr
    done = run("--help")
    assert done.returncode == 0 and b"holds three lines" in done.stdout
    assert run("-t", path="/dev/null").returncode == 77
    good = file.read_text()
    file.write_text(good.replace(desk.password, "wrong"))
    done = run("-t")
    assert done.returncode == 77 and b"wrong" not in done.stderr.replace(b"wrong password", b"")
    file.write_text("127.0.0.1:1\n" + good.split("\n", 1)[1])
    assert run("-t").returncode == 75
    file.write_text("nonsense")
    assert run("-t").returncode == 77


def test_a_provider_that_wants_to_wait_is_75(run: Run, smtp: SmtpServer) -> None:
    smtp.users.clear()
    assert run("-t").returncode == 75


@pytest.mark.skipif(os.getuid() != 0, reason="becomes another user")
def test_another_user_needs_the_script_and_a_file_alone(desk: Desk, smtp: SmtpServer) -> None:
    place = Path("/var/tmp") / f"mailkeep-sendmail-{os.getpid()}"
    user = pwd.getpwnam("nobody")
    place.mkdir()
    place.chmod(0o755)
    try:
        shutil.copy(ROOT / "script/sendmail", place / "sendmail")
        (place / "sendmail").chmod(0o755)
        (place / "file").write_text(f"127.0.0.1:{desk.port}\n{ADDRESS}\n{desk.password}\n")
        (place / "file").chmod(0o600)
        os.chown(place / "file", user.pw_uid, user.pw_gid)
        done = subprocess.run(
            ["/usr/bin/python3", place / "sendmail", "-t"], input=TEXT, capture_output=True, timeout=120, cwd="/",
            user=user.pw_uid, group=user.pw_gid, extra_groups=[], env={"MAILKEEP_SENDMAIL": str(place / "file")},
        )  # fmt: skip
    finally:
        shutil.rmtree(place)
    assert (done.returncode, done.stderr) == (0, b"") and len(smtp.taken) == 1
