"""Many accounts at once, from JSON lines: all are checked, then those that can be are stored in batches."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
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
BATCH = 500  # accounts in one transaction
LONGEST_LINE = 256 * 2**10  # bytes: room for two passwords of the longest kind, each character escaped


@dataclass(frozen=True)
class Wanted:
    """One account that is to be added, and the number of its line."""

    line: int
    box: Mailbox
    where: MailServer
    password: Secret
    begin: str
    sending: Credential | None


@dataclass(frozen=True)
class BadLine:
    """A line that adds no account, and why."""

    line: int
    why: BadInput


@dataclass(frozen=True)
class Lines:
    """What stands in a source: the accounts that may be added, and the lines that cannot be."""

    wanted: list[Wanted]
    bad: list[BadLine]


@dataclass(frozen=True)
class Stored:
    """What became of one batch."""

    added: int
    bad: list[BadLine]


def read(source: BinaryIO, settings: Settings) -> Lines:
    """The accounts that the lines of `source` describe, one JSON object in each; empty lines mean nothing.

    A byte order mark at the beginning and CR before a line's end, as some editors write them, mean nothing.
    `address`, `host` and `password` are needed; the rest is as in `flask accounts
    add`. `sending` is an object with `host` and, where they differ, `port`,
    `security`, `username`, `password`. Raises BadInput, naming the line, where `source` is no such list.
    """
    wanted, bad = [], []
    for number, line in enumerate(_lines(source), 1):
        text = _text(number, line)
        try:
            if text:
                wanted.append(_account(number, _parsed(text), settings))
        except BadInput as error:
            bad.append(BadLine(number, error))
    return Lines(wanted, bad)


def store(wanted: Sequence[Wanted], actor: Actor) -> Iterator[Stored]:
    """Add them, BATCH in a transaction, but for those that are there already.

    Raises CannotStore and whatever else keeps the database from storing: then the batches before are
    stored, and of this one and those that follow nothing is.
    """
    for start in range(0, len(wanted), BATCH):
        yield _store(wanted[start : start + BATCH], actor)


def _store(batch: Sequence[Wanted], actor: Actor) -> Stored:
    bad = []
    with Endpoint.storing():
        taken = service.addresses()
        for one in batch:
            if one.box.address.lower() in taken:
                bad.append(BadLine(one.line, service.address_taken(one.box.address)))
                continue
            taken.add(one.box.address.lower())
            service.insert(one.box, one.where, one.password, one.begin, actor, one.sending)
    return Stored(len(batch) - len(bad), bad)


def _lines(source: BinaryIO) -> Iterator[bytes]:
    """The lines of `source`, each as far as it is looked at."""
    while line := source.readline(LONGEST_LINE + 1):
        yield line


def _text(number: int, line: bytes) -> str:
    """The line as text. What is none, or has no end, is no list of accounts: nothing is read on."""
    try:
        if len(line) > LONGEST_LINE:
            raise BadInput(
                f"It is longer than {LONGEST_LINE} bytes.", "Write one object in braces to a line."
            )
        return text_file.decoded(line).strip()
    except BadInput as error:
        remedy = f"{error.remedy} No account was added.".strip()
        raise BadInput(f"Line {number}: {error.message}", remedy) from None


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


def _account(number: int, value: dict[str, Any], settings: Settings) -> Wanted:
    _checked(value, ACCOUNT, ("address", "host", "password"))
    chosen: dict[str, Any] = {name: value[name] for name in MAILBOX if name in value}
    box = rules.mailbox(value["address"], **{"folder": "INBOX", "interval": 60, **chosen})
    where = _server(value, value.get("protocol", "imap"), box.address, settings)
    begin, password = value.get("begin", "now"), Secret(value["password"])
    rules.require_possible(box, where, begin)
    rules.require_password(password)
    return Wanted(number, box, where, password, begin, _sending(value, password, box.address, settings))


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
