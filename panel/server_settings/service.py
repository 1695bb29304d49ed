"""Every setting of this process, where it comes from, and how to change it.

What a setting means stands once, in docs/settings.md.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from zoneinfo import ZoneInfo

from panel.config import FROM_FILE, NAMES, Settings, env_file
from panel.errors import SettingsError
from panel.secret import Secret

DEFAULT = "default"
BY_HAND = "Stop script/server with Ctrl-C, and start it again."
SECRET = {"PANEL_SECRET_KEY"}
EXAMPLES = {
    "PANEL_URL": "https://mail.example.org/",
    "PANEL_MAIL_GROUP": "helpdesk",
    "PANEL_TARGETS_FILE": "/etc/mailkeep/targets.toml",
    "PANEL_MAIL_CA_FILE": "/etc/ssl/ca.pem",
    "PANEL_SUBMISSION_BIND": "127.0.0.1:2587",
    "PANEL_SECRETS_DIR": "/etc/mailkeep-secrets",
    "PANEL_CONTACT": "Dana, extension 17",
    "PANEL_SECRET_KEY": "/etc/mailkeep.secret-key",  # of its _FILE form
}
ROW = re.compile(r"^\| `(PANEL_\w+)` \| ([^|]+) \| (.+) \|$", re.MULTILINE)
MARKUP = re.compile(
    r"\[([^\]]{0,200})\]\([^)]{0,200}\)|`([^`]{0,200})`|(?<!\w)\*{1,2}([^*]{1,200})\*{1,2}(?!\w)"
)
UNIT = re.compile(r"/system\.slice/(?:[^/]{1,255}/){0,9}([\w.@\\-]{1,255})\.service\b")


@dataclass(frozen=True)
class Setting:
    """One setting. `line`: what to write into the file; `at_restart`: the value from the next start."""

    name: str
    value: str
    source: str
    is_set: bool
    meaning: str
    line: str
    at_restart: str | None


@dataclass(frozen=True)
class ServerSettings:
    """All settings. `problem`: why the next start would fail, if it would."""

    rows: tuple[Setting, ...]
    env_file: Path
    env_file_exists: bool
    problem: str
    restart: str  # a command, or a sentence where no command is known
    restart_is_command: bool

    @property
    def changed(self) -> int:
        """How many settings a restart would change."""
        return sum(row.at_restart is not None for row in self.rows)


def read(settings: Settings, manual: Path) -> ServerSettings:
    """The settings that this process runs with. `manual`: docs/settings.md."""
    file = env_file(settings.environ)
    new, problem = _next_start(settings)
    meanings = _meanings(manual)
    rows = tuple(
        _row(name, settings, new, meanings.get(name, "")) for name in sorted(NAMES - {"PANEL_ENV_FILE"})
    )
    command = _restart_command()
    return ServerSettings(
        rows, file, file.exists(), problem,
        command or ("Restart the container." if _is_container() else BY_HAND),
        bool(command),
    )  # fmt: skip


def _next_start(settings: Settings) -> tuple[Settings, str]:
    """The settings with the file as it is now, and what is wrong with them."""
    try:
        return Settings.load(settings.environ), ""
    except SettingsError as error:
        return settings, str(error)


def _row(name: str, settings: Settings, new: Settings, meaning: str) -> Setting:
    value, then = shown(name, settings), shown(name, new)
    source = settings.sources.get(name)
    suffix = "_FILE" if name in SECRET or (name in FROM_FILE and "***" in value) else ""
    example = value if source or name not in EXAMPLES else EXAMPLES[name]
    if suffix:
        example = source if source and source.startswith("/") else EXAMPLES.get(name, "/etc/mailkeep.url")
    return Setting(
        name, value, source or DEFAULT, source is not None, meaning,
        f"{name}{suffix}={example}", then if then != value else None,
    )  # fmt: skip


def shown(name: str, settings: Settings) -> str:
    """The value of `name` as it would be written, without passwords; "none" where it has none."""
    if name in SECRET:
        return "set" if settings.secret_key else f"in {settings.data_dir / 'secret-key'}"
    if name == "PANEL_BIND":
        return _address(settings.bind_host, settings.bind_port)
    if name == "PANEL_SUBMISSION_BIND" and settings.submission_bind:
        return _address(*settings.submission_bind)
    return _text(getattr(settings, name.removeprefix("PANEL_").lower()))


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, Secret):
        return "set"
    if isinstance(value, ZoneInfo):
        return value.key
    if isinstance(value, frozenset | tuple):
        return ",".join(str(each) for each in (sorted(value) if isinstance(value, frozenset) else value))
    return without_password(str(value))


def without_password(url: str) -> str:
    """`url` with *** in the place of a password, also of one that is given as a parameter."""
    if "://" not in url:
        return url
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    user, colon, _ = parts.netloc.rpartition("@")[0].partition(":")
    netloc = f"{user}{':***' if colon else ''}@{host}" if "@" in parts.netloc else parts.netloc
    query = re.sub(r"(?i)(pass\w{0,40}|secret|token|key)=[^&]*", r"\1=***", parts.query)
    return urlunsplit(parts._replace(netloc=netloc, query=query)) if netloc or query else url


def _meanings(manual: Path) -> dict[str, str]:
    """What each setting means, from the table of the manual, as plain text."""
    try:
        text = manual.read_text("utf-8")
    except OSError:
        return {}
    plain = {name: MARKUP.sub(_text_of, meaning) for name, _, meaning in ROW.findall(text)}
    return {name: meaning[0].upper() + meaning[1:] for name, meaning in plain.items()}


def _text_of(found: re.Match[str]) -> str:
    return next(MARKUP.sub(_text_of, part) for part in found.groups() if part is not None)


def _is_container() -> bool:
    """Whether Mailkeep is what Docker or Podman runs: each leaves a file, and its program is process 1."""
    left = Path("/.dockerenv").exists() or Path("/run/.containerenv").exists()
    return left and 1 in (os.getpid(), os.getppid())


def _restart_command() -> str:
    """How this process is restarted, where systemd runs it."""
    try:
        found = UNIT.search(Path("/proc/self/cgroup").read_text("ascii", "replace"))
    except OSError:
        return ""
    return f"sudo systemctl restart {found[1]}" if found and "INVOCATION_ID" in os.environ else ""
