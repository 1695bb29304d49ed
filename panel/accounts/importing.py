"""Many mailboxes at once, from JSON lines: all are checked, then the valid ones are stored in batches."""

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
from panel.vault.vault import Vault

SERVER: dict[str, type] = {"host": str, "port": int, "security": str, "username": str, "password": str}
ACCOUNT: dict[str, type] = {
    "address": str, "protocol": str, **SERVER, "folder": str, "begin": str, "interval": int,
    "on_server": str, "move_to": str, "sending": dict,
}  # fmt: skip
BATCH = 500  # mailboxes in one transaction
LONGEST_LINE = 256 * 2**10  # bytes: room for two passwords of the longest kind, each character escaped


@dataclass(frozen=True)
class Wanted:
    """One mailbox to add, and the number of its line."""

    line: int
    box: Mailbox
    where: MailServer
    password: Secret
    begin: str
    sending: Credential | None


@dataclass(frozen=True)
class BadLine:
    """A line that adds no mailbox, and why."""

    line: int
    why: BadInput


@dataclass(frozen=True)
class Lines:
    """The content of a source: mailboxes that can be added, and invalid lines."""

    wanted: list[Wanted]
    bad: list[BadLine]


@dataclass(frozen=True)
class BatchResult:
    """The result of one batch."""

    added: int
    bad: list[BadLine]


def read(source: BinaryIO, settings: Settings) -> Lines:
    """The mailboxes in `source`, one JSON object per line; ignores empty lines, BOM and CR.

    `address`, `host` and `password` are required; the rest is as in `flask accounts add`. `sending` is an
    object with `host` and, if they differ, `port`, `security`, `username`, `password`.
    Raises BadInput, naming the line, if `source` is not such a list.
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


def store(vault: Vault, wanted: Sequence[Wanted], actor: Actor) -> Iterator[BatchResult]:
    """Add them, BATCH per transaction, except addresses that were added already.

    Raises CannotStore and database errors: then the earlier batches are stored, this and later ones are not.
    """
    for start in range(0, len(wanted), BATCH):
        yield _store(vault, wanted[start : start + BATCH], actor)


def _store(vault: Vault, batch: Sequence[Wanted], actor: Actor) -> BatchResult:
    bad = []
    with Endpoint.storing():
        taken = service.addresses()
        for one in batch:
            if one.box.address.lower() in taken:
                bad.append(BadLine(one.line, service.address_taken(one.box.address)))
                continue
            taken.add(one.box.address.lower())
            service.insert(vault, one.box, one.where, one.password, one.begin, actor, one.sending)
    return BatchResult(len(batch) - len(bad), bad)


def _lines(source: BinaryIO) -> Iterator[bytes]:
    """The lines of `source`, each cut at the limit."""
    while line := source.readline(LONGEST_LINE + 1):
        yield line


def _text(number: int, line: bytes) -> str:
    """The line as text. Raises BadInput, which ends reading, if it is too long or not UTF-8."""
    try:
        if len(line) > LONGEST_LINE:
            raise BadInput(f"It is longer than {LONGEST_LINE} bytes.", "Write one JSON object per line.")
        return text_file.decoded(line).strip()
    except BadInput as error:
        remedy = f"{error.remedy} No mailbox was added.".strip()
        raise BadInput(f"Line {number}: {error.message}", remedy) from None


def _parsed(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        raise BadInput("It is not valid JSON.", "Write one JSON object per line.") from None
    if not isinstance(value, dict):
        raise BadInput("It is not a JSON object.", "Write one JSON object per line.")
    return value


def _checked(value: dict[str, Any], known: dict[str, type], needed: tuple[str, ...]) -> None:
    """Raise BadInput for an unknown name, a wrong type, or a missing one. Its message holds no value."""
    for name, found in value.items():
        if name not in known:
            nearest = get_close_matches(name[:40], known, 1)
            remedy = f"Did you mean “{nearest[0]}”?" if nearest else f"Known names: {', '.join(known)}."
            raise BadInput(f"“{name[:40]}” is an unknown name.", remedy)
        if not isinstance(found, known[name]) or isinstance(found, bool):
            raise BadInput(f"“{name}” is not {_kind(known[name])}.", "Correct it.")
    for name in needed:
        if name not in value:
            raise BadInput(f"“{name}” is missing.", "Add it.")


def _kind(kind: type) -> str:
    return {str: "a string", int: "a whole number", dict: "an object"}[kind]


def _account(number: int, value: dict[str, Any], settings: Settings) -> Wanted:
    _checked(value, ACCOUNT, ("address", "host", "password"))
    chosen: dict[str, Any] = {name: value[name] for name in rules.MAILBOX_FIELDS if name in value}
    box = rules.mailbox(value["address"], **chosen)
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
    security, username = value.get("security", "tls"), value.get("username") or address
    return rules.server(settings, protocol, value["host"], value.get("port"), security, username)
