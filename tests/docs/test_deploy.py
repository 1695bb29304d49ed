"""Promises of the files in docs/deploy: the unit and the container file fit the code that they start."""

from __future__ import annotations

import functools
import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from flask import Flask

from panel.config import DEFAULT_ENV_FILE, NAMES, ROOT, Settings
from panel.serve.children import STOP_SECONDS
from panel.shell import REFUSED
from tests import running
from tests.docs.pages import page
from tests.running import Environ, process_environ, wait_until
from tests.servers.dovecot import DovecotServer

UNIT = ROOT / "docs/deploy/mailkeep.service"
CONTAINER = ROOT / "docs/deploy/Containerfile"
PASSWORD = "correct horse battery"

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="needs systemd-analyze: apt-get install systemd"
)


def unit() -> dict[str, list[str]]:
    """Each directive of the unit with its values."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", UNIT.read_text("utf-8"), re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


def analyze(*arguments: str) -> str:
    done = subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


# -- the unit ----------------------------------------------------------------------


@needs_systemd
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    path = tmp_path / UNIT.name
    code = tmp_path / "code"  # a clone may lie where a unit would need quotes
    code.symlink_to(ROOT)
    path.write_text(UNIT.read_text("utf-8").replace("/opt/mailkeep", str(code)), "utf-8")
    assert analyze("verify", str(path)).strip() == ""


@needs_systemd
def test_systemd_calls_the_sandbox_tight() -> None:
    found = re.search(r"exposure level for .*: ([\d.]+)", analyze("security", "--offline=true", str(UNIT)))
    assert found
    assert float(found[1]) <= 2.0


def test_the_unit_starts_the_server_where_the_manual_puts_the_code() -> None:
    directives = unit()
    [start] = directives["ExecStart"]
    assert directives["WorkingDirectory"] == ["/opt/mailkeep"]
    assert start.startswith("/opt/mailkeep/")
    program = ROOT / start.removeprefix("/opt/mailkeep/")
    assert program.stat().st_mode & 0o111


def test_the_unit_names_the_settings_file_that_a_shell_reads_too() -> None:
    variables = dict(value.split("=", 1) for value in unit()["Environment"])
    assert set(variables) <= NAMES
    assert variables["PANEL_ENV_FILE"] == str(DEFAULT_ENV_FILE)


def test_the_unit_lets_the_service_write_exactly_where_the_manual_has_it_write() -> None:
    [block] = [block for block in page("install.md").blocks() if block.kind == "ini"]
    chosen = dict(line.split("=", 1) for line in block.text.splitlines())
    directives = unit()
    assert [chosen["PANEL_DATA_DIR"]] == [f"/var/lib/{name}" for name in directives["StateDirectory"]]
    assert [f"-{chosen['PANEL_MAIL_SPOOL']}"] == directives["ReadWritePaths"]
    assert directives["StateDirectoryMode"] == ["0700"]
    assert "RestrictSUIDSGID" not in directives, "folders of PANEL_MAIL_GROUP carry the set-group-ID bit"


def test_the_unit_gives_the_server_time_to_stop_and_does_not_restart_what_was_refused() -> None:
    directives = unit()
    assert int(directives["TimeoutStopSec"][0]) > STOP_SECONDS
    assert directives["RestartPreventExitStatus"] == [str(REFUSED)]


@needs_systemd
@pytest.mark.dovecot
@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace: apt-get install strace")
def test_the_server_asks_nothing_of_the_kernel_that_the_unit_forbids(
    environ: Environ, tmp_path: Path, dovecot: DovecotServer
) -> None:
    dovecot.add_user("sandbox@example.org", PASSWORD)
    dovecot.deliver("sandbox@example.org", b"Subject: one\r\n\r\n.\r\n")
    environ |= {"PANEL_MAIL_CA_FILE": str(dovecot.ca_file), "PANEL_MAIL_PORTS": str(dovecot.tls_port)}
    flask = functools.partial(running.flask, environ, stdin=PASSWORD)
    own = ("--password-file", "-")
    flask("setup", "--admin-email", "dana@example.org", "--admin-name", "Dana", *own)
    flask("encryption", "enable", "--understand-key-loss", "--backup-prepared")
    where = ("--host", "localhost", "--port", str(dovecot.tls_port), "--begin", "all")
    assert flask("accounts", "add", "sandbox@example.org", *where, *own).returncode == 0
    trace, log = tmp_path / "trace", tmp_path / "log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            ["strace", "-f", "-c", "-S", "name", "-o", trace, sys.executable, "-m", "panel.serve"],
            cwd=ROOT,
            env=process_environ(environ),
            stdout=said,
            stderr=said,
            process_group=0,
        )
    try:
        spool = Path(environ["PANEL_DATA_DIR"]) / "mail"
        wait_until(lambda: list(spool.glob("*/new/*")), lambda: f"the mail:\n{log.read_text()}")
    finally:
        child = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        subprocess.run(["kill", "-s", signal.SIGTERM.name, *child], check=True)
        process.wait(60)
    used = set(re.findall(r"^ *[\d.]+ .* (\w+)$", trace.read_text("utf-8"), re.MULTILINE)) - {"total"}
    assert {"openat", "connect", "fsync"} <= used
    assert used - allowed("@system-service") == set()


def allowed(group: str) -> set[str]:
    """The system calls of a group of systemd, with those of the groups in it."""
    words = set(re.findall(r"^ +(@?[\w-]+)$", analyze("syscall-filter", group), re.MULTILINE))
    return words.union(*(allowed(word) for word in words if word.startswith("@")))


# -- the container file --------------------------------------------------------------


def steps(name: str) -> list[str]:
    text = CONTAINER.read_text("utf-8").replace("\\\n", " ")
    return re.findall(rf"^{name} (.*)$", text, re.MULTILINE)


def test_what_the_container_file_copies_is_enough_to_set_up_and_to_show_a_page(
    environ: Environ, tmp_path: Path
) -> None:
    image = tmp_path / "image"
    image.mkdir()
    for copied in steps("COPY"):
        *sources, target = copied.split()
        for source in sources:
            to = image / target / Path(source).name if target.endswith("/") else image / target
            to.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, to, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(ROOT / source, to)
    for said, program in (
        ("Mailkeep is set up", ["-m", "flask", "setup", "--admin-email", "d@example.org", "--admin-name", "D", "--password-file", "-"]),
        ("200 200", ["-c", "import app; c = app.app.test_client(); print(c.get('/login').status_code, c.get('/static/panel.css').status_code)"]),
    ):  # fmt: skip
        done = subprocess.run(
            [sys.executable, *program], cwd=image, env=process_environ(environ), input=PASSWORD, text=True, capture_output=True
        )  # fmt: skip
        assert said in done.stdout, done.stderr
    [command] = steps("CMD")
    assert (image / json.loads(command)[0]).stat().st_mode & 0o111


def test_the_containers_base_is_a_digest_and_can_be_nothing_else() -> None:
    """A tag would mean another image tomorrow; without its argument, or with a tag in it, it names no image."""
    for base in steps("FROM"):
        assert re.fullmatch(r"[\w./-]+@sha256:(?:[0-9a-f]{64}|\$\{(\w+)\})(?: AS \w+)?", base), base
    assert steps("ARG") == ["PYTHON_SHA256"], "no default: a digest that nobody looked up is none"
    for name in ("install.md", "upgrade.md"):
        for line in page(name).text.splitlines():
            assert "podman build" not in line or "--build-arg PYTHON_SHA256=" in line


def test_the_containers_settings_are_settings_and_it_never_runs_as_root() -> None:
    chosen = dict(pair.split("=", 1) for pair in steps("ENV")[0].split())
    settings = Settings.load({"PANEL_ENV_FILE": "/dev/null", **chosen})
    assert [str(settings.data_dir), str(settings.key_file.parent)] == steps("VOLUME")[0].split()
    assert [str(settings.bind_port)] == steps("EXPOSE")
    text = CONTAINER.read_text("utf-8")
    assert text.index("\nUSER mailkeep") < text.index("\nCMD")


def test_the_containers_health_is_asked_for_at_an_address_that_there_is(app: Flask) -> None:
    [check] = steps("HEALTHCHECK")
    program = json.loads(check.removeprefix("CMD "))
    found = re.search(r"http://127\.0\.0\.1:(\d+)(/\w+)'", program[-1])
    assert found
    assert [found[1]] == steps("EXPOSE")
    assert found[2] in {rule.rule for rule in app.url_map.iter_rules()}
    compile(program[-1], str(CONTAINER), "exec")
