"""The promise after a lost key: what is printed then brings a connected mailbox back, in the order it is printed."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

from tests.oauth.pages.connecting import CLIENT_SECRET, Connecting

Cli = Callable[..., subprocess.CompletedProcess[str]]


def test_the_commands_that_are_printed_connect_the_mailbox_again(cli: Cli, connecting: Connecting) -> None:
    address = connecting.user()
    uuid = connecting.connected(address)
    connecting.house.key_file.unlink()
    printed = cli("encryption", "forget-lost-key", "--confirm", "forget 3 secrets").stdout
    lines = [line.split("bin/flask ")[1] for line in printed.splitlines() if line.startswith("  ")]
    assert lines == [
        "encryption enable --understand-key-loss --backup-prepared", "oauth set-secret Company",
        f"accounts edit {address}  (server, and how it signs in)", f"oauth connect {address}",
    ]  # fmt: skip
    assert cli(*lines[0].split()).returncode == 0
    assert "No consent is stored." in connecting.admin.get(f"/accounts/{uuid}").text
    assert "enter its server again, and how it signs in" in cli("accounts", "list").stdout
    assert "Enter it again." in connecting.admin.get(f"/server/oauth/{connecting.uid}").text
    done = cli(*lines[1].split(), "--client-secret-file", "-", stdin=CLIENT_SECRET)
    assert done.returncode == 0, done.stderr
    done = cli(
        "accounts", "edit", address, "--protocol", "imap", "--host", "localhost", "--security", "tls",
        "--port", str(connecting.dovecot.tls_port), "--username", address, "--app", "Company",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with connecting.shell(*lines[3].split()) as shell:
        ended_at = connecting.issuer.sign_in(connecting.line(shell, connecting.issuer.url), address)
        out, errors = shell.communicate(f"{ended_at}\n", timeout=120)
    assert shell.returncode == 0, (out, errors)
    assert cli("collect", "--once").returncode == 0
