"""Real programs send through a real mail server: smtplib, swaks, msmtp and script/sendmail to Postfix."""

from __future__ import annotations

import os
import shutil
import smtplib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from panel import db
from panel.config import ROOT
from tests.encryption.conftest import House
from tests.running import Environ, wait_until
from tests.servers.certificates import Authority
from tests.submission import postfix as real
from tests.submission.conftest import ADDRESS, MESSAGE, Desk, add_mailbox, running
from tests.submission.postfix import Postfix
from tests.submission.sink import Sink

ADA, NOBODY, PASSWORD = "ada@example.net", "nobody@example.net", "provider-secret"


@pytest.fixture(scope="module")
def arrived() -> Iterator[Sink]:
    """Where Postfix hands mail on to."""
    with Sink() as sink:
        sink.think.set()
        yield sink


@pytest.fixture(scope="module")
def postfix(arrived: Sink, certificates: Authority) -> Iterator[Postfix]:
    if missing := real.missing():
        pytest.skip(f"needs a real Postfix: {missing}")
    server = Postfix(certificates.good(), PASSWORD, arrived.port)
    yield server
    server.stop()


@pytest.fixture(params=["tls", "starttls"])
def desk(environ: Environ, postfix: Postfix, arrived: Sink, request: pytest.FixtureRequest) -> Iterator[Desk]:
    environ["PANEL_MAIL_PORTS"] += f",{postfix.tls_port},{postfix.starttls_port}"
    house: House = request.getfixturevalue("house")
    port = postfix.tls_port if request.param == "tls" else postfix.starttls_port
    with db.database.connection_context():
        uuid = add_mailbox(house, ADDRESS, "localhost", port, PASSWORD, security=request.param)
    arrived.handed.clear()
    with running(house, uuid) as desk:
        desk.new_password()
        yield desk


def one_arrived(arrived: Sink) -> None:
    wait_until(lambda: arrived.handed, "the message at the next server")
    [handed] = arrived.handed
    assert (handed.sender, handed.recipients) == (ADDRESS, (ADA,))


def program(name: str) -> str:
    if shutil.which(name) is None:
        pytest.skip(f"needs {name}: apt-get install {name}")
    return name


def test_smtplib(desk: Desk, arrived: Sink) -> None:
    with desk.signed_in() as client:
        refused = client.sendmail(ADDRESS, [ADA, NOBODY], MESSAGE)
        assert refused == {NOBODY: (550, b"5.1.1 localhost refused it.")}
    one_arrived(arrived)


def test_a_large_message(desk: Desk, arrived: Sink) -> None:
    with desk.signed_in() as client:
        client.sendmail(ADDRESS, [ADA], MESSAGE + (b"x" * 998 + b"\r\n") * 10_000)
    one_arrived(arrived)
    assert arrived.handed[0].size > 10_000_000


def test_swaks(desk: Desk, arrived: Sink) -> None:
    common = [
        program("swaks"),
        "--server",
        "127.0.0.1",
        "--port",
        str(desk.port),
        "--from",
        ADDRESS,
        "--protocol",
        "ESMTPA",
    ]
    for mechanism in ("PLAIN", "LOGIN"):
        arrived.handed.clear()
        done = subprocess.run(
            [*common, "--to", ADA, "--auth", mechanism, "--auth-user", ADDRESS, "--auth-password", desk.password,
             "--pipeline", "--header", "Subject: swaks"],
            capture_output=True, text=True, timeout=120, cwd="/",
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        one_arrived(arrived)
    wrong = [*common, "--to", ADA, "--auth", "PLAIN", "--auth-user", ADDRESS, "--auth-password", "wrong"]
    assert "535 5.7.8" in subprocess.run(wrong, capture_output=True, text=True, timeout=120, cwd="/").stdout


@pytest.mark.parametrize("mechanism", ["plain", "login"])
def test_msmtp(desk: Desk, arrived: Sink, tmp_path: Path, mechanism: str) -> None:
    configuration = tmp_path / "msmtprc"
    configuration.write_text(
        f"account default\nhost 127.0.0.1\nport {desk.port}\ntls off\nauth {mechanism}\n"
        f"user {ADDRESS}\npassword {desk.password}\nfrom {ADDRESS}\n"
    )
    configuration.chmod(0o600)
    command = [program("msmtp"), "-C", str(configuration), "-t"]
    done = subprocess.run(command, input=MESSAGE, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    one_arrived(arrived)
    other = subprocess.run(
        command, input=MESSAGE.replace(b"ada@", b"nobody@"), capture_output=True, timeout=120
    )
    assert other.returncode != 0 and b"5.1.1" in other.stderr


def test_sendmail(desk: Desk, arrived: Sink, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text(f"127.0.0.1:{desk.port}\n{ADDRESS}\n{desk.password}\n")
    file.chmod(0o600)
    command = [str(ROOT / "script/sendmail"), "-C", str(file), "-t", "-oi"]
    done = subprocess.run(command, input=MESSAGE, capture_output=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, b"")
    one_arrived(arrived)
    refused = subprocess.run(
        command, input=MESSAGE.replace(b"ada@", b"nobody@"), capture_output=True, timeout=120
    )
    assert refused.returncode == 65 and os.path.basename(ADDRESS) not in refused.stderr.decode()


def test_postfix_has_the_last_word_on_who_sends(desk: Desk, arrived: Sink) -> None:
    desk.new_password("sales@example.org")  # an alias here, which the provider does not know
    with desk.signed_in() as client, pytest.raises(smtplib.SMTPRecipientsRefused, match="553"):
        client.sendmail("sales@example.org", [ADA], MESSAGE.replace(b"help@", b"sales@"))
    assert arrived.handed == []
