"""Many accounts at once, from JSON lines: all of them are checked, then all are stored, or none."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, BinaryIO

from panel import text_file
from panel.accounts import rules, service
from panel.accounts.rules import Mailbox
from panel.audit import Actor
from panel.config import Settings
from panel.errors import BadInput
from panel.mail.server import MailServer
from panel.models import Endpoint
from panel.secret import Secret
from panel.vault.credential import Credential

SERVER: dict[str, type] = {"host": str, "port": int, "security": str, "username": str, "password": str}
ACCOUNT: dict[str, type] = {
    "address": str, "protocol": str, **SERVER, "folder": str, "begin": str, "interval": int,
    "on_server": str, "move_to": str, "sending": dict,
}  # fmt: skip
MAILBOX = ("folder", "interval", "on_server", "move_to")
LONGEST_LINE = 256 * 2**10  # bytes: room for two passwords of the longest kind, each character escaped


@dataclass(frozen=True)
class Wanted:
    """One account that is to be added."""

    box: Mailbox
    where: MailServer
    password: Secret
    begin: str
    sending: Credential | None


def read(source: BinaryIO, settings: Settings) -> list[Wanted]:
    """The accounts that the lines of `source` describe, one JSON object in each; empty lines mean nothing.

    A byte order mark at the beginning and CR before a line's end, as some editors write them, mean nothing.
    `address`, `host` and `password` are needed; the rest is as in `flask accounts
    add`. `sending` is an object with `host` and, where they differ, `port`,
    `security`, `username`, `password`. Raises BadInput, naming the line.
    """
    wanted = []
    for number, line in enumerate(_lines(source), 1):
        try:
            if text := _text(line):
                wanted.append(_account(_parsed(text), settings))
        except BadInput as error:
            raise BadInput(f"Line {number}: {error.message}", _hint(error)) from None
    return wanted


def store(wanted: Iterable[Wanted], actor: Actor) -> list[str]:
    """Add them; the uuids. Raises BadInput for an address that is there, CannotStore; then none is added."""
    with Endpoint.storing():
        return [
            service.add(one.box, one.where, one.password, one.begin, actor, one.sending) for one in wanted
        ]


def _hint(error: BadInput) -> str:
    return f"{error.remedy} No account was added.".strip()


def _lines(source: BinaryIO) -> Iterator[bytes]:
    """The lines of `source`, each as far as it is looked at."""
    while line := source.readline(LONGEST_LINE + 1):
        yield line


def _text(line: bytes) -> str:
    if len(line) > LONGEST_LINE:
        raise BadInput(f"It is longer than {LONGEST_LINE} bytes.", "Write one object in braces to a line.")
    return text_file.decoded(line).strip()


def _parsed(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        raise BadInput("It is no JSON.", "Write one object in braces to a line.") from None
    if not isinstance(value, dict):
        raise BadInput("It is no JSON object.", "Write one object in braces to a line.")
    return value


def _checked(value: dict[str, Any], known: dict[str, type], needed: tuple[str, ...]) -> None:
    """Raise BadInput for an unknown name, a wrong type, or a missing one. Never repeats a value."""
    for name, found in value.items():
        if name not in known:
            nearest = get_close_matches(name[:40], known, 1)
            remedy = f"Did you mean “{nearest[0]}”?" if nearest else f"Known are: {', '.join(known)}."
            raise BadInput(f"“{name[:40]}” is not known.", remedy)
        if not isinstance(found, known[name]) or isinstance(found, bool):
            raise BadInput(f"“{name}” is not {_kind(known[name])}.", "Correct it.")
    for name in needed:
        if name not in value:
            raise BadInput(f"“{name}” is missing.", "Add it.")


def _kind(kind: type) -> str:
    return {str: "a text in quotes", int: "a whole number", dict: "an object in braces"}[kind]


def _account(value: dict[str, Any], settings: Settings) -> Wanted:
    _checked(value, ACCOUNT, ("address", "host", "password"))
    chosen: dict[str, Any] = {name: value[name] for name in MAILBOX if name in value}
    box = rules.mailbox(value["address"], **{"folder": "INBOX", "interval": 60, **chosen})
    where = _server(value, value.get("protocol", "imap"), box.address, settings)
    begin, password = value.get("begin", "now"), Secret(value["password"])
    rules.require_possible(box, where, begin)
    rules.require_password(password)
    return Wanted(box, where, password, begin, _sending(value, password, box.address, settings))


def _sending(value: dict[str, Any], password: Secret, address: str, settings: Settings) -> Credential | None:
    if "sending" not in value:
        return None
    sending = value["sending"]
    _checked(sending, SERVER, ("host",))
    secret = Secret(sending["password"]) if "password" in sending else password
    rules.require_password(secret)
    return Credential(_server(sending, "smtp", address, settings), secret)


def _server(value: dict[str, Any], protocol: str, address: str, settings: Settings) -> MailServer:
    security = value.get("security", "tls")
    port = value.get("port", rules.PORTS.get((protocol, security), 0))
    return rules.server(settings, protocol, value["host"], port, security, value.get("username") or address)
