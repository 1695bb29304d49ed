"""The targets file: TOML that nobody but its owner can write.

It is never the database that says what is run or called: whoever could write there would run programs.
"""

from __future__ import annotations

import difflib
import os
import re
import stat
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from panel import text_file
from panel.deliver.targets import (
    MAILDIR,
    RECIPIENT,
    CommandTarget,
    DeliveryTarget,
    HttpTarget,
    LmtpTarget,
    Targets,
)  # fmt: skip
from panel.errors import BadInput, SettingsError
from panel.mail import https
from panel.wording import reason

LONGEST_SOCKET = 107  # bytes of the path of one
LARGEST, MOST = 64 * 2**10, 100  # bytes, targets
LONGEST_TIMEOUT, MOST_DAYS = 3600, 365  # seconds, days
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}\Z")
HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}\Z")  # RFC 9110, 5.6.2
VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,998}[\x21-\x7e])?\Z")
FIELD = re.compile(r"[A-Za-z0-9_.\[\]-]{1,64}\Z")
SECRET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
ADDRESS = re.compile(r"/[^\x00-\x1f]+\Z|[^\s/@:]{1,253}:[0-9]{1,5}\Z|\[[0-9A-Fa-f:.]{2,45}\]:[0-9]{1,5}\Z")
OURS = frozenset({"host", "content-length", "content-type", "transfer-encoding", "connection"})
T = TypeVar("T")


def read(path: Path | None, owners: Collection[int] | None = None) -> Targets:
    """The targets of the file; none without one.

    `owners`: the user ids that may own it (None: whoever). Raises SettingsError for what is not a
    targets file, or could be written by others.
    """
    if path is None:
        return Targets()
    with _named(path):
        real = Path(os.path.realpath(path))
        for folder in {*path.parents, *real.parents}:
            _require_protected(folder, folder.stat(), None)
        with text_file.open_regular(real) as file:
            _require_protected(real, os.fstat(file.fileno()), owners)
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise BadInput(f"It is longer than {LARGEST // 2**10} KiB.", "Correct PANEL_TARGETS_FILE.")
        return _parse(text_file.decoded(data), real.parent)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    what = f"The targets file {path} cannot be used."
    try:
        yield
    except OSError as error:
        raise SettingsError(
            f"{what} {reason(error).capitalize()}.", "Correct PANEL_TARGETS_FILE, or its permissions."
        ) from None
    except BadInput as error:
        raise SettingsError(f"{what} {error.message}", error.remedy) from None


def _require_protected(path: Path, found: os.stat_result, owners: Collection[int] | None) -> None:
    """Raise BadInput where another than `owners` could write the file, or put another into a folder."""
    folder = stat.S_ISDIR(found.st_mode)
    sticky = folder and found.st_mode & stat.S_ISVTX  # as /tmp: only what is one's own can be replaced
    if found.st_mode & 0o022 and not sticky:
        raise BadInput(f"Others than its owner can write {path}.", f"Type: chmod go-w '{path}'")
    if owners is not None and found.st_uid not in owners:
        raise BadInput(f"{path} belongs to another user.", f"Type: chown root '{path}'")


# -- what stands in it -------------------------------------------------------------------


class _Table:
    """One table of the file: each key is taken once, and what is left over is unknown."""

    def __init__(self, name: str, values: Mapping[str, Any]) -> None:
        self._name = name
        self._left = dict(values)
        self._known: set[str] = set()

    def take(self, key: str, check: Callable[[Any], T | None], takes: str, default: Any = None) -> T:
        """The checked value of `key`, or the default. Raises BadInput, saying what the key `takes`."""
        self._known.add(key)
        given = self._left.pop(key, default)
        try:
            value = None if given is None else check(given)
        except BadInput as error:  # which says more
            message = f"{self._name}{key} is wrong. {error.message}"
            raise BadInput(message, error.remedy or f"It takes {takes}.") from None
        if value is None:
            raise BadInput(
                f"{self._name}{key} is {'missing' if given is None else 'wrong'}.", f"It takes {takes}."
            )
        return value

    def done(self) -> None:
        """Raise BadInput where a key is left over."""
        for key in self._left:
            raise BadInput(f"{self._name}{key[:40]} is unknown.", _nearest(key, self._known))


def _nearest(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name[:64], sorted(known), n=1)
    return f"Did you mean {near[0]}?" if near else f"Use one of these: {', '.join(sorted(known))}."


def _parse(text: str, directory: Path) -> Targets:
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of thousands of digits is no TOMLDecodeError
        raise BadInput(f"It is not TOML: {str(error)[:200]}.", "See docs/deliver.md.") from None
    tables = {name: value for name, value in values.items() if isinstance(value, dict)}
    if len(tables) > MOST:
        raise BadInput(f"It holds more than {MOST} targets.", "Take some away.")
    by_name = {name: _target(name, value) for name, value in tables.items()}
    top = _Table("", {name: value for name, value in values.items() if name not in tables})
    names = {MAILDIR, *by_name}
    found = Targets(
        by_name,
        default=top.take("default", _one_of(*names), f"one of {', '.join(sorted(names))}", MAILDIR),
        same_user=top.take(
            "same_user", lambda given: given if isinstance(given, bool) else None, "true or false", False
        ),
        keep_days=top.take("keep_days", _number(0, MOST_DAYS), f"0 to {MOST_DAYS} days", 7),
        directory=directory,
    )
    top.done()
    return found


def _target(name: str, values: Mapping[str, Any]) -> DeliveryTarget:
    if not NAME.match(name) or name == MAILDIR:
        remedy = (
            f"Use up to 32 of the characters a-z, 0-9, - and _, and not {MAILDIR}, which is always there."
        )
        raise BadInput(f"“{name[:40]}” cannot be the name of a target.", remedy)
    table = _Table(f"{name}.", values)
    kind = table.take("type", _one_of(*KINDS), "command, http or lmtp")
    timeout = table.take("timeout", _number(1, LONGEST_TIMEOUT), f"1 to {LONGEST_TIMEOUT} seconds", 60)
    target = KINDS[kind](name, timeout, table)
    table.done()
    return target


def _command(name: str, timeout: int, table: _Table) -> DeliveryTarget:
    takes = 'a list of texts that begins with the path of a program: ["/usr/bin/program", "--option"]'
    return CommandTarget(name, timeout, table.take("command", _argv, takes))


def _http(name: str, timeout: int, table: _Table) -> DeliveryTarget:
    url = table.take("url", _url, "https://…, or http://… for a program on this server")
    encoding, _, form_field = table.take(
        "body", _body, "raw, form:FIELD or base64form:FIELD", "raw"
    ).partition(":")
    names = "names of headers that Mailkeep does not send itself"
    headers = table.take("headers", _pairs(VALUE), f"{names}, and values in ASCII", {})
    secrets = table.take("header_secrets", _pairs(SECRET), f"{names}, and of files beside this one", {})
    hmac = table.take("hmac_secret", _text(SECRET, empty=True), "the name of a file beside this one", "")
    return HttpTarget(name, timeout, url, encoding, form_field, headers, secrets, hmac)


def _lmtp(name: str, timeout: int, table: _Table) -> DeliveryTarget:
    address = table.take("address", _address, "the path of a socket, or host:port")
    recipient = table.take("recipient", _text(RECIPIENT, empty=True), "one address", "")
    return LmtpTarget(name, timeout, address, recipient)


KINDS: Mapping[str, Callable[[str, int, _Table], DeliveryTarget]] = {
    "command": _command,
    "http": _http,
    "lmtp": _lmtp,
}


def _one_of(*choices: str) -> Callable[[Any], str | None]:
    return lambda given: given if isinstance(given, str) and given in choices else None


def _number(lowest: int, highest: int) -> Callable[[Any], int | None]:
    return lambda given: given if type(given) is int and lowest <= given <= highest else None


def _text(pattern: re.Pattern[str], *, empty: bool = False) -> Callable[[Any], str | None]:
    return lambda given: (
        given if isinstance(given, str) and (pattern.match(given) or (empty and not given)) else None
    )


def _argv(given: Any) -> tuple[str, ...] | None:
    fits = isinstance(given, list) and 0 < len(given) <= 64 and all(isinstance(each, str) for each in given)
    if not fits or not given[0].startswith("/") or any("\0" in each or len(each) > 4096 for each in given):
        return None
    return tuple(given)


def _address(given: Any) -> str | None:
    if not isinstance(given, str) or not ADDRESS.match(given):
        return None
    if given.startswith("/"):
        return given if len(os.fsencode(given)) <= LONGEST_SOCKET else None
    return given if 0 < int(given.rpartition(":")[2]) < 2**16 else None


def _url(given: Any) -> str | None:
    if not isinstance(given, str):
        return None
    https.target(given)  # raises BadInput
    return given


def _body(given: Any) -> str | None:
    if given == "raw":
        return "raw"
    kind, _, name = given.partition(":") if isinstance(given, str) else ("", "", "")
    return given if kind in ("form", "base64form") and FIELD.match(name) else None


def _pairs(pattern: re.Pattern[str]) -> Callable[[Any], dict[str, str] | None]:
    """Headers with values of that shape, none of which we send ourselves."""

    def check(given: Any) -> dict[str, str] | None:
        if not isinstance(given, dict) or len(given) > 20:
            return None
        for name, value in given.items():
            own = name.lower() in OURS or name.lower().startswith("mailkeep-")
            if own or not HEADER.match(name) or not isinstance(value, str) or not pattern.match(value):
                return None
        return given

    return check
