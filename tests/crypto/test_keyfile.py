"""Promises of the key file's bytes (panel.crypto.keyfile)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from panel.crypto.keyfile import Key, KeyFile, NotAKeyFile, fingerprint

FROZEN: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "records.json").read_text("utf-8")
)
INSTANCE = bytes.fromhex(FROZEN["instance"])


def resummed(body: bytes) -> bytes:
    return body + hashlib.sha256(body).digest()


@pytest.mark.parametrize("case", FROZEN["files"], ids=lambda c: f"generation {c['generation']}")
def test_files_of_the_independent_implementation_are_read_and_written_the_same(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["file"])
    file = KeyFile.from_bytes(data)
    assert file.generation == case["generation"]
    assert file.instance_id == INSTANCE
    assert (file.decrypt_id.hex() if file.decrypt_id else None) == case["release"]
    assert [key.id.hex() for key in file.keys] == [key["id"] for key in case["keys"]]
    assert file.to_bytes() == data


def test_a_generated_file_comes_back_the_same() -> None:
    file = KeyFile.generate(INSTANCE)
    assert KeyFile.from_bytes(file.to_bytes()) == file


@pytest.mark.reliability
def test_every_flipped_bit_is_refused(record_property: Callable[[str, object], None]) -> None:
    data = KeyFile.generate(INSTANCE).to_bytes()
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(NotAKeyFile):
            KeyFile.from_bytes(bytes(flipped))
    record_property(
        "reliability", {"table": "flips", "row": "key file", "column": "tried", "tried": len(data) * 8}
    )


def test_every_truncation_and_every_added_byte_is_refused() -> None:
    data = KeyFile.generate(INSTANCE).to_bytes()
    for length in range(len(data)):
        with pytest.raises(NotAKeyFile):
            KeyFile.from_bytes(data[:length])
    with pytest.raises(NotAKeyFile):
        KeyFile.from_bytes(data + b"\n")


def test_line_end_conversion_is_named() -> None:
    data = KeyFile.generate(INSTANCE).to_bytes()
    for damaged in (data.replace(b"\r\n", b"\n"), data.replace(b"\n", b"\r\n")):
        with pytest.raises(NotAKeyFile, match=r"line ends|damaged|begin"):
            KeyFile.from_bytes(damaged)


def test_a_key_that_does_not_match_its_id_is_refused() -> None:
    body = bytearray(KeyFile.generate(INSTANCE).to_bytes()[:-32])
    body[-1] ^= 1
    with pytest.raises(NotAKeyFile, match="does not match its key id"):
        KeyFile.from_bytes(resummed(bytes(body)))


def test_the_same_key_twice_is_refused() -> None:
    key = Key.generate()
    with pytest.raises(NotAKeyFile, match="twice"):
        KeyFile.from_bytes(KeyFile(INSTANCE, (key, key)).to_bytes())


def test_a_file_without_a_usable_key_is_refused() -> None:
    retired = Key(Key.generate().material, "retired")
    for keys in ((), (retired,)):
        with pytest.raises(NotAKeyFile, match="no usable key"):
            KeyFile.from_bytes(KeyFile(INSTANCE, keys).to_bytes())


def test_a_newer_version_is_named() -> None:
    body = bytearray(KeyFile.generate(INSTANCE).to_bytes()[:-32])
    body[8] = 2
    with pytest.raises(NotAKeyFile, match="version 2"):
        KeyFile.from_bytes(resummed(bytes(body)))


def test_a_flag_without_its_release_id_is_refused_and_the_other_way_round() -> None:
    body = bytearray(KeyFile.generate(INSTANCE).to_bytes()[:-32])
    body[9] = 1
    with pytest.raises(NotAKeyFile, match="flags"):
        KeyFile.from_bytes(resummed(bytes(body)))
    body[9], body[12] = 0, 1
    with pytest.raises(NotAKeyFile, match="flags"):
        KeyFile.from_bytes(resummed(bytes(body)))


def test_releasing_and_back_each_raise_the_generation() -> None:
    file = KeyFile.generate(INSTANCE)
    flagged = file.with_decrypting_flag(b"r" * 16)
    assert (flagged.generation, flagged.decrypt_id) == (2, b"r" * 16)
    assert (flagged.without_decrypting_flag().generation, flagged.without_decrypting_flag().decrypt_id) == (
        3,
        None,
    )
    assert KeyFile.from_bytes(flagged.to_bytes()) == flagged


def test_the_last_usable_key_is_the_goal_and_retired_keys_never_seal() -> None:
    retired, one, two = Key(Key.generate().material, "retired"), Key.generate(), Key.generate()
    file = KeyFile(INSTANCE, (one, two, retired))
    assert file.primary is two
    assert file.usable == (one, two)
    assert file.find(retired.id) is retired


def test_a_new_goal_is_added_before_the_others_retire_and_none_is_dropped() -> None:
    first, second = Key.generate(), Key.generate()
    file = KeyFile(INSTANCE, (first,)).with_primary(second)
    assert (file.primary, file.usable, file.generation) == (second, (first, second), 2)
    settled = file.retire_others()
    assert (settled.usable, settled.generation) == ((second,), 3)
    assert [key.id for key in settled.keys] == [first.id, second.id]
    assert KeyFile.from_bytes(settled.to_bytes()) == settled


def test_key_bytes_are_in_no_repr() -> None:
    file = KeyFile.generate(INSTANCE)
    for material in (file.primary.material.hex(), repr(file.primary.material)):
        assert material not in repr(file)


def test_a_fingerprint_is_four_groups_of_four() -> None:
    assert fingerprint(bytes.fromhex("9f3c41d207aae5b1")) == "9f3c-41d2-07aa-e5b1"
