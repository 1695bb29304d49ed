"""What does one sealed record cost, beside AESGCM, Fernet and Tink; and a durable save with encryption?

A secret of 24 characters, bound to its server as in the panel. Each operation is
repeated in turn with the others, several times in one run; the medians of the
processor time are printed in microseconds. A durable save is one commit on SQLite
with synchronous FULL; with and without encryption alternate on one disk. Written to
bench/results/record.json.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from itertools import cycle
from pathlib import Path

from cryptography.fernet import Fernet, MultiFernet
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bench._installs import add, made
from bench._programs import RESULTS, write
from panel import create_app, db
from panel.audit import Actor
from panel.config import Settings
from panel.crypto import record
from panel.crypto.keyfile import Key
from panel.models import Endpoint
from panel.secret import Secret
from panel.vault import turn_on, unfinished
from panel.vault.vault import Vault
from tests.installs import BOTH

SECRET = "correct horse battery st"
NONCE = bytes(12)

Operation = Callable[[], object]


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="script/bench record")
    parser.add_argument("--number", type=int, default=5000, help="operations in one measurement")
    parser.add_argument("--saves", type=int, default=200, help="saves in one measurement")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--results", type=Path, default=RESULTS / "record.json")
    options = parser.parse_args(arguments)
    records = _in_turn({**_own(), **_peers()}, options.number, options.rounds, time.process_time)
    _table("seal and open one secret", records, "Mailkeep seal", "CPU µs")
    directory = Path(tempfile.mkdtemp(prefix="bench-record-"))
    try:
        saves = _saves(directory, options.saves, options.rounds)
    finally:
        shutil.rmtree(directory)
    _table("one durable save of a password", saves, "clear", "µs")
    write(options.results, {"records_us": records, "saves_us": saves})


def _own() -> dict[str, Operation]:
    key, secret, rows = Key.generate(), SECRET.encode(), cycle(range(1000))
    sealed = [record.seal(key, secret, _place(row)) for row in range(1000)]

    def unseal() -> object:
        row = next(rows)
        return record.unseal(key, sealed[row], _place(row))

    return {
        "Mailkeep seal": lambda: record.seal(key, secret, _place(next(rows))),
        "Mailkeep open": unseal,
    }


def _place(row: int) -> record.Binding:
    """Made anew for each operation, as each comes for another row."""
    return record.Binding(
        "mailkeep/mail",
        bytes(16),
        (
            "0c1e6c43-4f86-4f0a-b3d3-5b6d2f5a6c11", "in", "imap", "imap.example.org", "993", "tls",
            f"user{row}@example.org", "plain", "", "bench@example.org", "password",
        ),
    )  # fmt: skip


def _peers() -> dict[str, Operation]:
    aes, bound, secret = AESGCM(bytes(32)), bytes(80), SECRET.encode()
    old, new = Fernet(Fernet.generate_key()), Fernet(Fernet.generate_key())
    both, token = MultiFernet([new, old]), old.encrypt(secret)
    sealed = aes.encrypt(NONCE, secret, bound)
    return {
        "AESGCM seal": lambda: aes.encrypt(NONCE, secret, bound),
        "AESGCM open": lambda: aes.decrypt(NONCE, sealed, bound),
        "Fernet seal": lambda: old.encrypt(secret),
        "Fernet open": lambda: old.decrypt(token),
        "MultiFernet open": lambda: both.decrypt(token),
        **_tink(secret, bound),
    }


def _tink(secret: bytes, bound: bytes) -> dict[str, Operation]:
    if find_spec("tink") is None:
        print("Tink is left out: it is not installed. script/bench installs it.")
        return {}
    import tink
    from tink import aead

    aead.register()
    primitive = tink.new_keyset_handle(aead.aead_key_templates.AES256_GCM).primitive(aead.Aead)
    sealed = primitive.encrypt(secret, bound)
    return {
        "Tink seal": lambda: primitive.encrypt(secret, bound),
        "Tink open": lambda: primitive.decrypt(sealed, bound),
    }


def _saves(directory: Path, saves: int, rounds: int) -> dict[str, float]:
    """Setting one account's password, in clear and sealed, in two installs side by side."""
    homes = {name: _home(directory / name.replace(" ", "-"), name) for name in ("clear", "encrypted")}
    times: dict[str, list[float]] = {name: [] for name in homes}
    for _ in range(rounds + 1):
        for name, settings in homes.items():
            create_app(settings)
            with db.database.connection_context():
                times[name].append(_timed(_save, saves, time.perf_counter))
    return {name: statistics.median(values[1:]) for name, values in times.items()}  # the first one warms up


def _home(directory: Path, name: str) -> Settings:
    settings = made({"PANEL_DATA_DIR": str(directory / "data"), "PANEL_ENV_FILE": "/dev/null"})
    with db.database.connection_context():
        add("bench", 993, "imap.example.org", begin="now", secret=SECRET)
        if name == "encrypted":
            vault = Vault.of(settings, db.database)
            turn_on.turn_on(vault, BOTH, Actor("bench"))
            unfinished.resume(vault)
    return settings


def _save() -> None:
    endpoint = Endpoint.get()
    endpoint.secret = Secret(SECRET)
    endpoint.save()


def _in_turn(
    operations: dict[str, Operation], number: int, rounds: int, clock: Callable[[], float]
) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in operations}
    for _ in range(rounds):
        for name, operation in operations.items():
            times[name].append(_timed(operation, number, clock))
    return {name: statistics.median(values) for name, values in times.items()}


def _timed(operation: Operation, number: int, clock: Callable[[], float]) -> float:
    """Microseconds for one of `number` operations."""
    began = clock()
    for _ in range(number):
        operation()
    return (clock() - began) / number * 1e6


def _table(title: str, found: dict[str, float], base: str, unit: str) -> None:
    print(f"\n{title}; medians\n")
    print(f"  {'':18}{unit:>10}{'of ' + base:>20}")
    for name, microseconds in found.items():
        print(f"  {name:18}{microseconds:10.2f}{microseconds / found[base]:19.2f}×")
