"""The settings: environment in, one frozen value out, checked before anything starts (docs/settings.md)."""

from __future__ import annotations

import difflib
import importlib.util
import ipaddress
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from panel import text_file
from panel.errors import BadInput, SettingsError
from panel.secret import Secret
from panel.wording import reason

VERSION = "0.1.0"  # of pyproject.toml
ROOT = Path(__file__).resolve().parent.parent
DEFAULT_ENV_FILE = Path("/etc/mailkeep.env")
DEFAULT_MAIL_PORTS = "25,110,143,465,587,993,995"
# No mail server can be there, but a cloud's metadata service or a router can.
DEFAULT_DENY_NETWORKS = ",".join(
    (
        "0.0.0.0/8", "169.254.0.0/16", "100.100.100.200/32", "224.0.0.0/4", "255.255.255.255/32",
        "::/128", "fe80::/10", "fd00:ec2::254/128", "ff00::/8",
    )
)  # fmt: skip

NAMES = frozenset(
    {
        "PANEL_ENV_FILE", "PANEL_DATA_DIR", "PANEL_DATABASE_URL", "PANEL_QUEUE_URL", "PANEL_KEY_FILE",
        "PANEL_SECRET_KEY", "PANEL_BIND", "PANEL_URL", "PANEL_TRUSTED_PROXIES", "PANEL_MAIL_SPOOL",
        "PANEL_MAIL_GROUP", "PANEL_MAIL_PORTS", "PANEL_MAIL_DENY_NETWORKS", "PANEL_MAIL_CA_FILE",
        "PANEL_LOG_FORMAT", "PANEL_METRICS", "PANEL_CONTACT", "PANEL_TIMEZONE", "PANEL_ACTIVITY_DAYS",
        "PANEL_MESSAGE_LOG_DAYS", "PANEL_IDLE_CONNECTIONS", "PANEL_SECRETS_DIR",
        "PANEL_SUBMISSION_BIND", "PANEL_SUBMISSION_MAX", "PANEL_TARGETS_FILE",
    }
)  # fmt: skip
FROM_FILE = frozenset({"PANEL_SECRET_KEY", "PANEL_DATABASE_URL", "PANEL_QUEUE_URL"})
# Kubernetes injects these for a service named 'panel'.
NOT_OURS = re.compile(r"PANEL_(SERVICE_.*|PORT.*)\Z")
SHORTEST_SECRET_KEY = 32  # characters
LONGEST_KEY_FILE_NAME = 150  # bytes; a file system takes 255
LONGEST_ENV_FILE = 2**20  # bytes

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Settings:
    """The settings of one install, made by `Settings.load`."""

    data_dir: Path
    database_url: str
    queue_url: str
    key_file: Path
    secret_key: Secret | None  # None: the one in <data>/secret-key
    bind_host: str
    bind_port: int
    url: str | None
    trusted_proxies: int
    mail_spool: Path
    mail_group: str | None
    targets_file: Path | None
    mail_ports: frozenset[int]
    mail_deny_networks: tuple[Network, ...]
    mail_ca_file: Path | None
    log_format: str
    metrics: bool
    contact: str | None
    timezone: ZoneInfo
    activity_days: int
    message_log_days: int
    idle_connections: int
    submission_bind: tuple[str, int] | None
    submission_max: int  # MiB
    secrets_dir: Path | None  # may be visible to the server alone, so it is not looked at here
    sources: Mapping[str, str] = field(repr=False, compare=False)  # what is set: by name, where it is set
    environ: Mapping[str, str] = field(repr=False, compare=False)  # what `load` was given, of PANEL_ names

    @property
    def address(self) -> str:
        """Where the panel is reached, without a final slash: PANEL_URL, or else where it listens."""
        host = f"[{self.bind_host}]" if ":" in self.bind_host else self.bind_host
        return self.url or f"http://{host}:{self.bind_port}"

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read and check every setting from `environ` (default: the process's), over PANEL_ENV_FILE.

        Raises SettingsError, which names the setting and what it takes.
        """
        given = dict(os.environ if environ is None else environ)
        from_file = _from_env_file(given)
        values = from_file | {k: v for k, v in given.items() if k.startswith("PANEL_")}
        _refuse_unknown(values)
        values = {name: value for name, value in values.items() if value or name == "PANEL_SECRET_KEY"}
        sources = {name: "environment" if given.get(name) else str(env_file(given)) for name in values}
        for name in FROM_FILE:
            if f"{name}_FILE" in values:
                sources[name] = values[f"{name}_FILE"]
                values[name] = _from_secret_file(name, values)
        return _build(values, sources, {k: v for k, v in given.items() if k.startswith("PANEL_")})


def env_file(environ: Mapping[str, str]) -> Path:
    """The file that PANEL_ lines are read from."""
    return Path(environ.get("PANEL_ENV_FILE") or DEFAULT_ENV_FILE)


def _build(values: Mapping[str, str], sources: Mapping[str, str], environ: Mapping[str, str]) -> Settings:
    data_dir = _path("PANEL_DATA_DIR", values.get("PANEL_DATA_DIR", str(ROOT / "data")))
    host, port = _bind("PANEL_BIND", values.get("PANEL_BIND", "127.0.0.1:8000"))
    ca_file, secrets_dir = values.get("PANEL_MAIL_CA_FILE"), values.get("PANEL_SECRETS_DIR")
    targets = values.get("PANEL_TARGETS_FILE")
    return Settings(
        data_dir=data_dir,
        database_url=_sqlite_url("PANEL_DATABASE_URL", values, data_dir / "panel.db"),
        queue_url=_sqlite_url("PANEL_QUEUE_URL", values, data_dir / "queue.db"),
        key_file=_key_file(values.get("PANEL_KEY_FILE", str(data_dir / "encryption-key.bin"))),
        secret_key=_secret_key(values.get("PANEL_SECRET_KEY")),
        bind_host=host,
        bind_port=port,
        url=_url(values.get("PANEL_URL")),
        trusted_proxies=_number("PANEL_TRUSTED_PROXIES", values.get("PANEL_TRUSTED_PROXIES", "0"), 0, 10),
        mail_spool=_path("PANEL_MAIL_SPOOL", values.get("PANEL_MAIL_SPOOL", str(data_dir / "mail"))),
        mail_group=values.get("PANEL_MAIL_GROUP"),
        targets_file=_path("PANEL_TARGETS_FILE", targets) if targets else None,
        mail_ports=_ports(values.get("PANEL_MAIL_PORTS", DEFAULT_MAIL_PORTS)),
        mail_deny_networks=_networks(values.get("PANEL_MAIL_DENY_NETWORKS", DEFAULT_DENY_NETWORKS)),
        mail_ca_file=_readable_file("PANEL_MAIL_CA_FILE", ca_file) if ca_file else None,
        log_format=_choice("PANEL_LOG_FORMAT", values.get("PANEL_LOG_FORMAT", "text"), ("text", "json")),
        metrics=_metrics(values.get("PANEL_METRICS", "0")),
        contact=values.get("PANEL_CONTACT"),
        timezone=_timezone(values.get("PANEL_TIMEZONE", "UTC")),
        activity_days=_number("PANEL_ACTIVITY_DAYS", values.get("PANEL_ACTIVITY_DAYS", "400"), 1, 36500),
        message_log_days=_number(
            "PANEL_MESSAGE_LOG_DAYS", values.get("PANEL_MESSAGE_LOG_DAYS", "30"), 0, 400
        ),
        idle_connections=_number(
            "PANEL_IDLE_CONNECTIONS", values.get("PANEL_IDLE_CONNECTIONS", "500"), 0, 100_000
        ),
        secrets_dir=_path("PANEL_SECRETS_DIR", secrets_dir) if secrets_dir else None,
        submission_bind=_loopback(values.get("PANEL_SUBMISSION_BIND")),
        submission_max=_number("PANEL_SUBMISSION_MAX", values.get("PANEL_SUBMISSION_MAX", "50"), 1, 1024),
        sources=sources,
        environ=environ,
    )


# -- files that settings come from or name ---------------------------------------------


@contextmanager
def _reading(what: str, remedy: str) -> Iterator[None]:
    """Turn what goes wrong with the file `what` into a SettingsError."""
    try:
        yield
    except OSError as error:
        raise SettingsError(f"{what} cannot be read: {reason(error)}.", remedy) from None
    except BadInput as error:
        raise SettingsError(f"{what} cannot be used. {error.message}", error.remedy) from None


def _from_env_file(environ: Mapping[str, str]) -> dict[str, str]:
    """The PANEL_ lines of the environment file: NAME=value, # comments, optional quotes."""
    named, path = environ.get("PANEL_ENV_FILE"), env_file(environ)
    remedy = "Correct PANEL_ENV_FILE, or make the file readable for the user that runs Mailkeep."
    with _reading(f"The settings file {path}", remedy):
        if not named and not path.exists():
            return {}
        with path.open("rb") as file:
            data = file.read(LONGEST_ENV_FILE + 1)
        if len(data) > LONGEST_ENV_FILE:
            raise BadInput(f"The file is longer than {LONGEST_ENV_FILE} bytes.", "Name the right file.")
        text = text_file.decoded(data)
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    return dict(_env_line(path, number, line) for number, line in lines if line and not line.startswith("#"))


def _env_line(path: Path, number: int, line: str) -> tuple[str, str]:
    name, equals, value = line.removeprefix("export ").partition("=")
    name, value = name.strip(), value.strip()
    if not equals or not name.startswith("PANEL_"):
        raise SettingsError(
            f"Line {number} of {path} is not a setting.", "Write PANEL_NAME=value, or start the line with #."
        )
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
        value = value[1:-1]
    return name, value


def _from_secret_file(name: str, values: Mapping[str, str]) -> str:
    if name in values:
        raise SettingsError(f"Both {name} and {name}_FILE are set.", "Keep one of them.")
    path = _path(f"{name}_FILE", values[f"{name}_FILE"])
    what = f"The file that {name}_FILE names, {path},"
    with _reading(what, "Correct the path or its permissions."), path.open("rb") as file:
        return text_file.secret(file)


def _readable_file(name: str, text: str) -> Path:
    path = _path(name, text)
    with _reading(f"The file that {name} names, {path},", "Correct the path or its permissions."):
        path.open("rb").close()
    return path


# -- single settings -------------------------------------------------------------------


def _refuse_unknown(values: Mapping[str, str]) -> None:
    known = NAMES | {f"{name}_FILE" for name in FROM_FILE}
    for name in sorted(values):
        if name in known or NOT_OURS.match(name):
            continue
        near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0)
        raise SettingsError(
            f"The setting {name} is unknown.", f"Did you mean {near[0]}? Correct it, or remove it."
        )


def _path(name: str, text: str) -> Path:
    try:
        if "\0" not in text:
            return Path(text).expanduser().absolute()
    except RuntimeError:  # ~ of a user that there is not
        pass
    raise SettingsError(f"{name} is {text!r}.", "It takes a path, for example /srv/mailkeep.")


def _key_file(text: str) -> Path:
    path = _path("PANEL_KEY_FILE", text)
    if len(os.fsencode(path.name)) > LONGEST_KEY_FILE_NAME:
        raise SettingsError(
            f"The file name in PANEL_KEY_FILE is longer than {LONGEST_KEY_FILE_NAME} bytes.",
            "Shorten it: copies beside the key file have longer names.",
        )
    return path


def _number(name: str, text: str, lowest: int, highest: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = lowest - 1
    if not lowest <= value <= highest:
        raise SettingsError(f"{name} is {text!r}.", f"It takes a whole number from {lowest} to {highest}.")
    return value


def _choice(name: str, text: str, choices: tuple[str, ...]) -> str:
    if text not in choices:
        raise SettingsError(f"{name} is {text!r}.", f"It takes {' or '.join(choices)}.")
    return text


def _metrics(text: str) -> bool:
    wanted = _choice("PANEL_METRICS", text, ("0", "1")) == "1"
    if wanted and importlib.util.find_spec("prometheus_client") is None:
        raise SettingsError(
            "PANEL_METRICS is 1, but the package prometheus-client is not installed.",
            "Install it: .venv/bin/python -m pip install --require-hashes -r requirements/metrics.txt",
        )
    return wanted


def _bind(name: str, text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host:
        raise SettingsError(f"{name} is {text!r}.", "It takes address:port, for example 127.0.0.1:8000.")
    return host, _number(f"{name}'s port", port, 1, 65535)


def _loopback(text: str | None) -> tuple[str, int] | None:
    if text is None:
        return None
    host, port = _bind("PANEL_SUBMISSION_BIND", text)
    with suppress(ValueError):
        if ipaddress.ip_address(host).is_loopback:
            return host, port
    raise SettingsError(
        f"PANEL_SUBMISSION_BIND is {text!r}, which other servers may reach.",
        "It takes an address of this server alone: 127.0.0.1:2587 or [::1]:2587.",
    )


def _url(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        parts = urlsplit(text)
        plain = parts.port != 0 and not (parts.query or parts.fragment or "@" in parts.netloc)
    except ValueError:  # no host, no port
        plain = False
    if not plain or parts.scheme not in ("http", "https") or not parts.hostname:
        shown = "has a user, a query or a fragment" if {*"@?#"} & {*text} else f"is {text!r}"
        raise SettingsError(
            f"PANEL_URL {shown}.",
            "It takes the panel's public address, for example https://mail.example.org/.",
        )
    return text.rstrip("/")


def _sqlite_url(name: str, values: Mapping[str, str], default: Path) -> str:
    url = values.get(name, f"sqlite:///{default}")
    if not url.startswith("sqlite:///"):  # what it is may be a secret, of the wrong file say
        raise SettingsError(
            f"{name} names a kind of database that this version cannot use.",
            "Use sqlite:///path, or leave it unset.",
        )
    return url


def _secret_key(text: str | None) -> Secret | None:
    if text is None:
        return None
    if len(text.strip()) < SHORTEST_SECRET_KEY:
        raise SettingsError(
            f"PANEL_SECRET_KEY is shorter than {SHORTEST_SECRET_KEY} characters.",
            "Generate a random one, for example with: openssl rand -hex 32",
        )
    return Secret(text.strip())


def _ports(text: str) -> frozenset[int]:
    name = "A port of PANEL_MAIL_PORTS"
    return frozenset(_number(name, part.strip(), 1, 65535) for part in text.split(","))


def _networks(text: str) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise SettingsError(
            f"PANEL_MAIL_DENY_NETWORKS contains something that is not a network: {error}.",
            "It takes networks separated by commas, for example 10.0.0.0/8,fe80::/10.",
        ) from None


def _timezone(text: str) -> ZoneInfo:
    try:
        return ZoneInfo(text)
    except (OSError, ValueError, KeyError):
        raise SettingsError(
            f"PANEL_TIMEZONE is {text!r}, which this system does not know.",
            "It takes a name such as Europe/Berlin.",
        ) from None
