"""The machine that the manual is played on: a folder that stands for the whole file system.

What the manual names and what is there instead, docs/README.md says to readers (“How it is tested”).
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from panel.config import ROOT
from tests import warm
from tests.docs.console import Command, commands, missing
from tests.docs.pages import Block, Page
from tests.running import free_port, process_environ

FOLDERS = ("backup", "etc", "opt", "safe", "srv", "var")
PLACE = re.compile(rf"(?<![\w.\-/])/(?={'|'.join(FOLDERS)}\b)")
STAND_INS = ROOT / "tests/docs/bin"
SECONDS = 120  # for one command
SAVED = ("cron", "ini", "python", "sh", "jsonl")  # kinds of blocks that a reader saves as a file


@dataclass
class Machine:
    """A folder, the names that are something else there, and what runs on it."""

    folder: Path
    names: Mapping[str, str]
    settings: Mapping[str, str]  # those that the manual does not set: ports and certificates of the tests
    warm: bool = (
        False  # whether `flask` is forked from a process that has imported everything (tests/warm.py)
    )

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.folder / "var/lib/mailkeep"

    def prepare(self) -> None:
        """What every reader has: the folders of a system, and the code in /opt/mailkeep."""
        for name in (*FOLDERS, "var/lib", "var/spool", "etc/cron.d", "srv/secrets"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "opt/mailkeep").symlink_to(ROOT)

    def copy_of(self, other: Machine) -> None:
        """Be as `other` is now."""
        shutil.copytree(other.folder, self.folder, symlinks=True)
        path = self.folder / "etc/mailkeep.env"
        text = path.read_text("utf-8").replace(str(other.folder), str(self.folder))
        path.write_text(text.replace(other.names["127.0.0.1:8000"], self.names["127.0.0.1:8000"]), "utf-8")

    def there(self, text: str) -> str:
        """`text` with the names of the manual replaced by what is there instead."""
        text = PLACE.sub(f"{self.folder}/", text)
        for name, instead in self.names.items():
            text = text.replace(name, instead)
        return text.replace(".venv/bin/flask", "tests/docs/bin/flask") if self.warm else text

    # -- playing -----------------------------------------------------------------

    def play(self, page: Page, note: str = "") -> int:
        """Do what the page says, from top to bottom: the console blocks with that `note` behind their fence.

        Returns the number of commands that were run.
        """
        done = 0
        for block in page.blocks():
            if block.kind == "console" and block.note == note:
                for command in commands(block):
                    self.run(command)
                    done += 1
            elif block.kind in SAVED and block.file and not note:
                self.save(block)
                if block.kind == "cron":
                    done += self.run_cron(block)
        return done

    def save(self, block: Block) -> None:
        """Save a block as the file that its fence names."""
        path = Path(self.there(block.file or ""))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.there(block.text), "utf-8")
        path.chmod(0o755 if block.text.startswith("#!") else 0o640)

    def run_cron(self, block: Block) -> int:
        """Run each line of a file in /etc/cron.d once, now. Raises where one is none: crontab(5)."""
        done = 0
        for line in block.text.splitlines():
            if not line or line.startswith("#"):
                continue
            found = re.fullmatch(r"((?:[\d*/,-]+ +){5})(\w+) +(.+)", line)
            assert found, f"{block}: no line of a crontab: {line}"
            assert not re.search(r"(?<!\\)%", found[3]), f"{block}: cron ends a command at a bare %: {line}"
            self.run(Command(str(block), found[3].replace(r"\%", "%"), ""))
            done += 1
        return done

    def run(self, command: Command) -> None:
        """Run one command in the folder of the code. Fails where it does, or where a fact that is shown is not printed."""
        status, printed = self.bash(self.there(command.typed))
        said = f"{command.where}: {command.typed}\nended with {status} and printed:\n{printed}"
        assert status == 0, said
        fact = missing(self.there(command.shown), printed)
        assert fact is None, f"{said}\nwithout {fact!r}, which is shown"

    def bash(self, typed: str) -> tuple[int, str]:
        """Run what was typed in the folder of the code: its exit status and all that it printed."""
        done = subprocess.run(
            ["bash", "-c", typed],
            cwd=ROOT,
            env=self._environ(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
        )
        return done.returncode, done.stdout

    def _environ(self) -> dict[str, str]:
        settings = {**self.settings, "PANEL_ENV_FILE": str(self.folder / "etc/mailkeep.env")}
        path = f"{STAND_INS}:{os.environ['PATH']}:/usr/sbin"
        environ = process_environ(settings) | {"MACHINE": str(self.folder), "ROOT": str(ROOT), "PATH": path}
        return environ | {"WARM": warm.address(environ)} if self.warm else environ

    def sql(self, statement: str) -> None:
        """Write into the database behind Mailkeep's back."""
        subprocess.run(["sqlite3", self.data / "panel.db", statement], check=True)

    def stop(self) -> None:
        """End the server, if it runs."""
        path = self.folder / "mailkeep.pid"
        if path.exists():
            os.kill(int(path.read_text()), signal.SIGTERM)
            subprocess.run([STAND_INS / "systemctl", "stop", "mailkeep"], env=self._environ(), check=True)


def names(mail_ports: Mapping[str, int]) -> dict[str, str]:
    """What the manual names and what is there instead; `mail_ports` by the port that the manual names."""
    user, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
    return {
        "-o mailkeep -g mailkeep": f"-o {user} -g {group}",
        "mailkeep:mailkeep": f"{user}:{group}",
        **{f".example.org {port} ": f".example.org {there} " for port, there in mail_ports.items()},
        "127.0.0.1:8000": f"127.0.0.1:{free_port()}",
        **{f"{what}.example.org": "localhost" for what in ("imap", "pop", "smtp")},
        **{f"--port {port}": f"--port {there}" for port, there in mail_ports.items()},
        **{f'"port": {port}': f'"port": {there}' for port, there in mail_ports.items()},
    }
