"""Promises about the deliverer as the helpdesk's Unix user: what it can do, and what nobody can do through it.

Real parts: a user and a group made for this test, `flask deliver run` from cold, an install with a key.
"""

from __future__ import annotations

import grp
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from panel import create_app, db, install
from panel.audit import Actor
from panel.config import ROOT, Settings
from panel.deliver import mailboxes, spool, status, targets_file
from panel.mail.maildir import Maildir
from panel.models import Account
from panel.vault import turn_on, unfinished
from panel.vault.vault import Vault
from tests.deliver.conftest import letter
from tests.installs import BOTH
from tests.running import Environ, process_environ, wait_until

TRIES = """#!/bin/sh
# A parser that was taken over: whatever it gets at goes into a file.
cat >/dev/null
for path in $(cat {place}/secrets); do
    cat "$path" >>{out} 2>/dev/null && echo "READ $path" >>{out}
    echo x 2>/dev/null >>"$path" && echo "WROTE $path" >>{out}
done
for path in {spool}/.delivery/mailboxes.json {place}/targets.toml; do
    echo x 2>/dev/null >>"$path" && echo "WROTE $path" >>{out}
    mv "$path" "$path.gone" 2>/dev/null && echo "MOVED $path" >>{out}
done
mv {spool}/.delivery {spool}/gone 2>/dev/null && echo MOVED >>{out}
ln -s {place} {spool}/.delivery/requests/x 2>/dev/null && echo PLANTED >>{out}
for pid in $(ls /proc | grep '^[0-9]*$'); do
    tr '\\0' '\\n' 2>/dev/null </proc/$pid/environ | grep -a "^PANEL_SECRET" >>{out} && echo "ENVIRON of $pid" >>{out}
done
id -un >>{out}
exit 0
"""


@dataclass
class Desk:
    """The install, the helpdesk's user, and the deliverer that runs as him."""

    place: Path
    settings: Settings
    vault: Vault
    user: str
    group: str
    accounts: list[Account] = field(default_factory=list)

    @property
    def spool(self) -> Path:
        return self.settings.mail_spool

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, capture_output=True, text=True, cwd="/", timeout=120, **self._as_user()
        )

    def _as_user(self) -> Any:
        return {"user": self.user, "group": self.user, "extra_groups": [grp.getgrnam(self.group).gr_gid]}

    def start(self, **environ: str) -> subprocess.Popen[str]:
        """`flask deliver run`, with nothing but where spool and targets file are."""
        program, found = _flask_for(self.user)
        found |= {"PANEL_MAIL_SPOOL": str(self.spool), "PANEL_TARGETS_FILE": str(self.targets)} | environ
        with (self.place / "log").open("a") as log:
            process: subprocess.Popen[str] = subprocess.Popen(
                [*program, "deliver", "run"], cwd=ROOT, env=found, text=True, stdout=log, stderr=log,
                **self._as_user(),
            )  # fmt: skip
        return process

    @property
    def targets(self) -> Path:
        return self.place / "targets.toml"

    @property
    def log(self) -> str:
        return (self.place / "log").read_text()

    def target(self, script: str) -> None:
        path = self.place / "helpdesk.sh"
        path.write_text(script)
        path.chmod(0o755)
        self.targets.write_text(f'[desk]\ntype = "command"\ncommand = ["{path}"]\n')
        self.targets.chmod(0o644)

    def mailbox(self) -> Maildir:
        account = Account.create(
            address=f"u{len(self.accounts)}@example.org", created_at=db.now(), deliver_to="desk"
        )
        self.accounts.append(account)
        mailboxes.publish(self.settings)
        maildir = Maildir(self.spool / account.uuid, self.group)
        maildir.create()
        return maildir

    def put(self, maildir: Maildir, raw: bytes) -> str:
        name = maildir.unique_name(len(raw), 1)
        maildir.write(name, raw)
        maildir.publish([name])
        return name

    def waiting(self, maildir: Maildir) -> list[str]:
        return spool.names(maildir.path / "new")


def _flask_for(user: str) -> tuple[list[str], Environ]:
    """`.venv/bin/flask`; where that user cannot run its Python, the system's on the same packages."""
    flask, path = str(ROOT / ".venv/bin/flask"), os.environ["PATH"]
    with suppress(PermissionError):
        if subprocess.run([flask, "--version"], user=user, cwd=ROOT, capture_output=True).returncode == 0:
            return [flask], {"PATH": path}
    system, version = "/usr/bin/python3", f"{sys.version_info.major}.{sys.version_info.minor}"
    shown = (
        subprocess.run([system, "--version"], capture_output=True, text=True).stdout
        if Path(system).exists()
        else ""
    )
    if not shown.startswith(f"Python {version}."):
        pytest.skip("another user can run neither the Python of .venv nor the system's")
    return [system, "-m", "flask"], {"PATH": path, "PYTHONPATH": sysconfig.get_path("purelib")}


@pytest.fixture
def desk(environ: Environ) -> Iterator[Desk]:
    if os.getuid() != 0 or shutil.which("useradd") is None:
        pytest.skip("needs root and useradd: the deliverer is a second Unix user")
    if subprocess.run(["cat", str(ROOT / "app.py")], user="nobody", capture_output=True).returncode:
        pytest.skip("another user cannot read the folder of the code")
    place = Path(tempfile.mkdtemp(prefix="mailkeep-"))
    place.chmod(0o755)
    name = f"mk{secrets.token_hex(4)}"
    subprocess.run(["groupadd", f"{name}g"], check=True)
    subprocess.run(["useradd", "--no-create-home", "--user-group", "--groups", f"{name}g", name], check=True)
    environ |= {
        "PANEL_DATA_DIR": str(place / "data"), "PANEL_MAIL_SPOOL": str(place / "spool"),
        "PANEL_MAIL_GROUP": f"{name}g", "PANEL_TARGETS_FILE": str(place / "targets.toml"),
    }  # fmt: skip
    settings = Settings.load(environ)
    install.prepare(settings)
    create_app(settings)
    try:
        with db.database.connection_context():
            yield Desk(place, settings, Vault.of(settings, db.database), name, f"{name}g")
    finally:
        gone = ["userdel", name]  # refused as long as one of the user's processes is ending
        wait_until(lambda: subprocess.run(gone, stderr=subprocess.DEVNULL).returncode == 0, "userdel")
        subprocess.run(["groupdel", f"{name}g"], check=True)
        shutil.rmtree(place)


@pytest.fixture
def running(desk: Desk) -> Iterator[subprocess.Popen[str]]:
    """The deliverer at work, with a helpdesk that keeps what it gets."""
    out = desk.place / "out"
    out.mkdir()
    shutil.chown(out, desk.user)
    desk.target(f'#!/bin/sh\ncat >"{out}/$MAILKEEP_DELIVERY_ID"\n')
    desk.mailbox()
    process = desk.start()
    wait_until(lambda: status.outgoing(desk.settings).problem == "", lambda: f"the deliverer:\n{desk.log}")
    yield process
    process.terminate()
    assert process.wait(60) == 0, desk.log


def taken(desk: Desk) -> list[bytes]:
    return sorted(path.read_bytes() for path in (desk.place / "out").iterdir())


def test_it_delivers_as_that_user_and_the_panel_reads_how(desk: Desk, running: subprocess.Popen[str]) -> None:
    maildir = desk.mailbox()
    desk.put(maildir, letter("one"))
    wait_until(lambda: taken(desk) == [letter("one")], lambda: desk.log)
    uuid = maildir.path.name
    wait_until(lambda: status.mailbox(desk.settings, uuid, "desk").delivered_at, "the state")
    found = status.mailbox(desk.settings, uuid, "desk")
    assert (found.target, found.problem, found.aside) == ("desk", "", [])
    assert desk.waiting(maildir) == []
    assert mailboxes.again(desk.settings, uuid, 0, only_aside=False, actor=Actor()) == 1
    wait_until(lambda: len(taken(desk)) == 2, lambda: desk.log)  # under another id


def test_it_has_nothing_of_database_and_key_in_its_process(
    desk: Desk, running: subprocess.Popen[str]
) -> None:
    proc = Path(f"/proc/{running.pid}")
    assert f"Uid:\t{shutil._get_uid(desk.user)}" in (proc / "status").read_text()  # type: ignore[attr-defined]
    maps = (proc / "maps").read_text()
    assert not [word for word in ("_sqlite3", "libsqlite", "cffi", "cryptography", "peewee") if word in maps]
    opened = {os.readlink(path) for path in (proc / "fd").iterdir()}
    assert not [path for path in opened if path.startswith(str(desk.settings.data_dir))]
    modules = subprocess.run(
        [ROOT / ".venv/bin/python", "-c", "import sys, panel.deliver.__main__; print(*sys.modules)"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert not {
        "peewee",
        "sqlite3",
        "flask",
        "click",
        "huey",
        "panel.db",
        "panel.models",
        "panel.vault",
    } & set(modules)


def test_a_parser_that_is_taken_over_gets_at_neither_key_nor_database_nor_targets(desk: Desk) -> None:
    turn_on.turn_on(desk.vault, BOTH, Actor("admin@example.org"))
    unfinished.resume(desk.vault)
    out = desk.place / "out"
    out.touch()
    shutil.chown(out, desk.user)
    private = [path for path in desk.settings.data_dir.rglob("*") if path.is_file()]
    assert {"panel.db", "encryption-key.bin", "secret-key"} <= {path.name for path in private}
    (desk.place / "secrets").write_text("\n".join(map(str, private)))
    desk.target(TRIES.format(place=desk.place, out=out, spool=desk.spool))
    maildir = desk.mailbox()
    desk.put(maildir, letter("malicious"))
    with subprocess.Popen(["sleep", "30"], env={"PANEL_SECRET_KEY": "s" * 40}) as panel:
        process = desk.start()
        wait_until(lambda: not desk.waiting(maildir), lambda: desk.log)
        process.terminate()
        assert process.wait(60) == 0
        panel.kill()
    assert out.read_text() == f"{desk.user}\n"


def test_a_member_of_the_group_cannot_have_anything_else_posted(
    desk: Desk, running: subprocess.Popen[str]
) -> None:
    maildir, other = desk.mailbox(), desk.mailbox()
    new, beside = maildir.path / "new", spool.beside(desk.spool, maildir.path.name)
    secret = desk.place / "secret"
    secret.write_text("not mail")
    secret.chmod(0o644)
    hard = desk.put(other, letter("theirs"))
    wait_until(lambda: not desk.waiting(other), lambda: desk.log)
    taken_before = taken(desk)
    planted = f"""
        ln -s {secret} {new}/100.M000001P1Q1R00000000.h
        ln -s /dev/zero {new}/100.M000002P1Q1R00000000.h
        mkfifo {new}/100.M000003P1Q1R00000000.h
        mkdir {new}/100.M000004P1Q1R00000000.h
        echo own >{new}/100.M000005P1Q1R00000000.h
        (umask 777; echo closed >{new}/100.M000008P1Q1R00000000.h)
        ln {spool.beside(desk.spool, other.path.name)}/sent/{hard} {new}/100.M000006P1Q1R00000000.h
        ln -s {secret} {beside}/sent/old
        touch -h -d '30 days ago' {beside}/sent/old
        cp /bin/true {new}/'100.M000007P1Q1R00000000.h
:2,S'
    """
    done = desk.run("sh", "-c", planted)
    assert done.returncode == 0, done.stderr
    desk.put(maildir, letter("mine"))
    wait_until(lambda: letter("mine") in taken(desk), lambda: desk.log)
    assert taken(desk) == sorted([*taken_before, letter("mine")])
    wait_until(lambda: len(desk.waiting(maildir)) <= 8, lambda: desk.log)  # its own message is filed
    wait_until(lambda: status.mailbox(desk.settings, maildir.path.name, "desk").problem, "the problem")
    assert "not a file" in status.mailbox(desk.settings, maildir.path.name, "desk").problem
    assert len(desk.waiting(maildir)) == 8  # none of it was removed either
    assert secret.read_text() == "not mail" and (beside / "sent/old").is_symlink()


def test_a_member_of_the_group_cannot_choose_a_target(desk: Desk, running: subprocess.Popen[str]) -> None:
    maildir = desk.mailbox()
    listed = spool.beside(desk.spool, "mailboxes.json")
    assert desk.run("cat", str(listed)).returncode == 0
    for attack in (
        f"echo '{{}}' >{listed}", f"rm -f {listed}", f"mv {spool.beside(desk.spool)} {desk.spool}/x",
        f"mkdir {desk.spool}/x", f"ln -s / {spool.beside(desk.spool)}/x", f"touch {spool.beside(desk.spool, 'requests')}/x",
        f"mv {maildir.path}/new {maildir.path}/x",
        f"mv {spool.beside(desk.spool, maildir.path.name)}/aside {desk.place}/out/x",
        f"ln -s / {spool.beside(desk.spool, maildir.path.name)}/x",
    ):  # fmt: skip
        assert desk.run("sh", "-c", attack).returncode != 0, attack
    assert json.loads(listed.read_text())[maildir.path.name]["target"] == "desk"


def test_a_targets_file_that_this_user_could_write_is_used_only_if_it_is_his(
    desk: Desk, running: subprocess.Popen[str]
) -> None:
    maildir = desk.mailbox()
    shutil.chown(desk.targets, "nobody")
    wait_until(lambda: "belongs to another user" in status.outgoing(desk.settings).problem, lambda: desk.log)
    desk.put(maildir, letter("waits"))
    shutil.chown(desk.targets, desk.user)
    wait_until(lambda: not desk.waiting(maildir), lambda: desk.log)


def test_another_command_says_who_may_type_it(desk: Desk) -> None:
    """The panel's files are closed to this user, so that nothing of the install can be read to say so."""
    program, found = _flask_for(desk.user)
    found |= {"PANEL_DATA_DIR": str(desk.settings.data_dir), "PANEL_ENV_FILE": "/dev/null"}
    command = ["env", "-i", "-C", str(ROOT), *(f"{name}={value}" for name, value in found.items())]
    done = desk.run(*command, *program, "people", "list")
    assert done.returncode == 3
    assert "Run it as that user: sudo -u root " in done.stderr and done.stderr.endswith(" people list\n")


def test_settings_of_the_panel_need_not_be_readable(desk: Desk) -> None:
    private = desk.place / "mailkeep.env"
    private.write_text("PANEL_SECRET_KEY=" + "x" * 40)
    private.chmod(0o600)
    desk.target("#!/bin/sh\ncat >/dev/null\n")
    maildir = desk.mailbox()
    desk.put(maildir, letter("one"))
    process = desk.start(PANEL_ENV_FILE=str(private))
    wait_until(lambda: not desk.waiting(maildir), lambda: desk.log)
    process.terminate()
    assert process.wait(60) == 0
    without = {"PATH": os.environ["PATH"], "PANEL_ENV_FILE": "/dev/null"}
    done = subprocess.run(
        [ROOT / ".venv/bin/flask", "deliver", "run"], cwd=ROOT, env=process_environ(without), capture_output=True, text=True
    )  # fmt: skip
    assert done.returncode == 3 and "PANEL_TARGETS_FILE is not set" in done.stderr
    desk.targets.chmod(0o666)
    process = desk.start()
    assert process.wait(60) == 3 and f"Others than its owner can write {desk.targets}" in desk.log


def test_the_unit_file_names_what_there_is_and_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    unit = ROOT / "docs/deploy/mailkeep-deliver.service"
    text = unit.read_text("utf-8")
    assert set(re.findall(r"^Environment=(\w+)=", text, re.MULTILINE)) == {
        "PANEL_MAIL_SPOOL",
        "PANEL_TARGETS_FILE",
    }
    assert "ExecStart=/opt/mailkeep/.venv/bin/flask deliver run\n" in text
    assert targets_file.read(ROOT / "docs/deploy/targets.toml").by_name
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze: apt-get install systemd")
    code, path = tmp_path / "code", tmp_path / unit.name
    code.symlink_to(ROOT)
    path.write_text(text.replace("/opt/mailkeep", str(code)), "utf-8")
    done = subprocess.run(["systemd-analyze", "verify", str(path)], capture_output=True, text=True)
    assert (done.returncode, (done.stdout + done.stderr).strip()) == (0, "")
