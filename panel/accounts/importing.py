"""Many mailboxes at once, from CSV or JSON lines: all are checked, the valid ones are stored in batches."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, partial
from itertools import chain
from typing import Any, BinaryIO

from panel import text_file
from panel.accounts import auth, payload, rules, service
from panel.accounts.auth import Auth, Login, Oauth
from panel.accounts.rules import Mailbox
from panel.audit import Actor
from panel.config import Settings
from panel.deliver import mailboxes
from panel.errors import BadInput, Refused
from panel.mail.server import MailServer
from panel.models import Endpoint
from panel.secret import Secret
from panel.vault.vault import Vault

SERVER: dict[str, type] = {
    "host": str, "port": int, "security": str, "username": str, "password": str, "secret_name": str,
}  # fmt: skip
ACCOUNT: dict[str, type] = {
    "address": str, "protocol": str, **SERVER, "auth": str, "app": str, "sign_in_as": str, "folder": str,
    "begin": str, "interval": int, "on_server": str, "move_to": str, "deliver_to": str, "sending": dict,
}  # fmt: skip
KINDS = {str: "a string", int: "a whole number", dict: "an object"}
JSON_STARTS = "{[-0123456789"  # no name of a column begins like this
COLUMNS = tuple(name for name, kind in ACCOUNT.items() if kind is not dict)
BATCH = 500  # mailboxes in one transaction
LONGEST_LINE = 256 * 2**10  # bytes: room for two passwords of the longest kind, each character escaped


@dataclass(frozen=True)
class Wanted:
    line: int
    box: Mailbox
    login: Login
    begin: str
    sending: Login | None
    deliver_to: str  # a target; empty: the default


@dataclass(frozen=True)
class BadLine:
    line: int
    why: BadInput


@dataclass(frozen=True)
class Lines:
    """The content of a source: mailboxes that can be added, and invalid lines."""

    wanted: list[Wanted]
    bad: list[BadLine]


@dataclass(frozen=True)
class BatchResult:
    added: int
    bad: list[BadLine]


def read(source: BinaryIO, settings: Settings) -> Lines:
    """The mailboxes in `source`: one JSON object per line, or CSV with the same names in its first line.

    Ignores empty lines, BOM and CR. `address` and `host` are required, and one of `password`, `app` (with
    `sign_in_as`, if that differs) and `secret_name`; `deliver_to` is a name of the targets file, the rest is
    as in `flask accounts add`. `sending`, in JSON only, is an object with `host` and, if they differ, `port`,
    `security`, `username`, and `password` or `secret_name`. Raises BadInput, naming the line, if `source` is
    not such a list.
    """
    wanted: list[Wanted] = []
    bad: list[BadLine] = []
    pieces = iter(partial(source.readline, LONGEST_LINE + 1), b"")  # the lines, each cut at the limit
    lines = ((number, _text(number, line)) for number, line in enumerate(pieces, 1))
    first = next(((number, line) for number, line in lines if line.strip()), None)
    if first is None:
        return Lines(wanted, bad)
    require_target = cache(partial(mailboxes.require, settings))  # reads its file once for each name
    parse = _json_values if first[1].lstrip()[0] in JSON_STARTS else _csv_values
    for number, value in parse(chain([first], lines)):
        try:
            if isinstance(value, BadInput):
                raise value
            one = _account(number, value, settings)
            require_target(one.deliver_to)
            wanted.append(one)
        except BadInput as error:
            bad.append(BadLine(number, error))
    return Lines(wanted, bad)


def sorted_out(lines: Lines) -> Lines:
    """Those whose address is not in use, nor on an earlier line; the others become bad lines."""
    taken, wanted, bad = service.addresses(), [], list(lines.bad)
    for one in lines.wanted:
        address = one.box.address.lower()
        if address in taken:
            bad.append(BadLine(one.line, service.address_taken(one.box.address)))
        else:
            wanted.append(one)
        taken.add(address)
    return Lines(wanted, sorted(bad, key=lambda each: each.line))


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
            if why := _unusable(one, vault, actor):
                bad.append(BadLine(one.line, why))
                continue
            taken.add(one.box.address.lower())
            service.insert(vault, one.box, one.login, one.begin, actor, one.sending, one.deliver_to)
    return BatchResult(len(batch) - len(bad), bad)


def _unusable(one: Wanted, vault: Vault, actor: Actor) -> BadInput | None:
    """Why the mailbox cannot sign in through its app."""
    try:
        for login in (one.login, one.sending):
            if login is not None and isinstance(login.auth, Oauth):
                payload.app_for(login.auth, login.server, vault, actor)
    except (BadInput, Refused) as error:
        return BadInput(error.message, error.remedy)
    return None


def _text(number: int, line: bytes) -> str:
    """The line as text. Raises BadInput, which ends reading, if it is too long or not UTF-8."""
    try:
        if len(line) > LONGEST_LINE:
            raise BadInput(f"It is longer than {LONGEST_LINE} bytes.", "Write one mailbox per line.")
        return text_file.decoded(line)
    except BadInput as error:
        remedy = f"{error.remedy} No mailbox was added.".strip()
        raise BadInput(f"Line {number}: {error.message}", remedy) from None


Parsed = Iterator[tuple[int, dict[str, Any] | BadInput]]


def _json_values(lines: Iterable[tuple[int, str]]) -> Parsed:
    for number, line in lines:
        if not line.strip():
            continue
        try:
            yield number, _parsed(line)
        except BadInput as error:
            yield number, error


def _require_columns(head: list[str]) -> None:
    """Raise BadInput unless the first line of CSV names columns that are known, each once."""
    if "address" not in head:
        raise BadInput(
            "The first line does not name the columns.",
            "Name them as in: address,host,username,password. No mailbox was added.",
        )
    if unknown := [name for name in head if name not in COLUMNS]:
        raise BadInput(
            f"“{unknown[0][:40]}” is an unknown column.",
            f"Known columns: {', '.join(COLUMNS)}. No mailbox was added.",
        )
    if twice := [name for name in head if head.count(name) > 1]:
        raise BadInput(
            f"The column “{twice[0]}” stands there twice.", "Keep the right one. No mailbox was added."
        )


def _csv_values(lines: Iterator[tuple[int, str]]) -> Parsed:
    """Each row as JSON would have it: named by the first one, without what is empty, with numbers."""
    at, text = next(lines)
    delimiter = max(";,\t", key=text.count)
    rows = csv.reader(chain([text], (line for _, line in lines)), delimiter=delimiter, strict=True)
    try:
        head = [name.strip().lower() for name in next(rows)]
    except csv.Error:
        raise BadInput(
            "The first line is not valid CSV.",
            "Name the columns there, and end each line as Unix or Windows does. No mailbox was added.",
        ) from None
    _require_columns(head)
    while True:
        number = at + rows.line_num
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error:
            yield (
                number,
                BadInput("It is not valid CSV.", 'Put values with quotes inside into quotes: "a""b".'),
            )
            continue
        if any(cell.strip() for cell in row):
            yield number, _named(head, row)


def _named(head: list[str], row: list[str]) -> dict[str, Any] | BadInput:
    if len(row) > len(head):
        return BadInput(
            f"It has {len(row)} values, but there are {len(head)} columns.",
            "Put a value that contains the delimiter into quotes.",
        )
    value: dict[str, Any] = {}
    for name, cell in zip(head, row, strict=False):
        if name == "password":
            value |= {name: cell} if cell else {}
        elif text := cell.strip():
            is_number = ACCOUNT[name] is int and text.isascii() and text.isdigit() and len(text) < 10
            value[name] = int(text) if is_number else text
    return value


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
            raise BadInput(f"“{name}” is not {KINDS[known[name]]}.", "Correct it.")
    for name in needed:
        if name not in value:
            raise BadInput(f"“{name}” is missing.", "Add it.")


def _account(number: int, value: dict[str, Any], settings: Settings) -> Wanted:
    _checked(value, ACCOUNT, ("address", "host"))
    chosen: dict[str, Any] = {name: value[name] for name in rules.MAILBOX_FIELDS if name in value}
    box = rules.mailbox(value["address"], **chosen)
    where = _server(value, value.get("protocol", "imap"), box.address, settings)
    begin, entered = value.get("begin", "now"), _auth(value)
    if entered is None:
        raise BadInput("“password” is missing.", "Add it, or else “app” or “secret_name”.")
    rules.require_possible(box, where, begin)
    sending, deliver_to = _sending(value, entered, box.address, settings), value.get("deliver_to", "")
    return Wanted(number, box, Login(where, entered), begin, sending, deliver_to)


def _auth(value: dict[str, Any]) -> Auth | None:
    """How to sign in; None where the line does not say."""
    named = (value.get(name) for name in ("auth", "app", "sign_in_as", "secret_name"))
    password = Secret(value["password"]) if "password" in value else None
    found = auth.chosen(password, *named, imported=True)
    if found is not None:
        auth.require_valid(found)
    return found


def _sending(value: dict[str, Any], entered: Auth, address: str, settings: Settings) -> Login | None:
    if "sending" not in value:
        return None
    sending = value["sending"]
    _checked(sending, SERVER, ("host",))
    return Login(_server(sending, "smtp", address, settings), _auth(sending) or entered)


def _server(value: dict[str, Any], protocol: str, address: str, settings: Settings) -> MailServer:
    security, username = value.get("security", "tls"), value.get("username") or address
    return rules.server(settings, protocol, value["host"], value.get("port"), security, username)
