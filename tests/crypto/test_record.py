"""Promises of the sealed record (panel.crypto.record, keyring)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from panel.crypto import keyfile, keyring, record
from panel.crypto.keyfile import Key, KeyFile
from panel.errors import CannotOpen, Malformed, Tampered, UnknownKey, WrongKey

VECTORS = Path(__file__).parent.parent / "vectors"
FROZEN: dict[str, Any] = json.loads((VECTORS / "records.json").read_text("utf-8"))
INSTANCE = bytes.fromhex(FROZEN["instance"])
KEY = Key(bytes.fromhex(FROZEN["key"]))


def binding(case: dict[str, Any]) -> record.Binding:
    return record.Binding(case["label"], INSTANCE, tuple(case["fields"].values()))


PLACE = binding(FROZEN["records"][0])


@pytest.mark.parametrize("case", json.loads((VECTORS / "hkdf_expand.json").read_text("utf-8")))
def test_expand_is_that_of_rfc_5869(case: dict[str, Any]) -> None:
    key = keyfile.Key(bytes.fromhex(case["prk"]))
    okm = key.derive(bytes.fromhex(case["info"]), case["length"])
    assert okm.hex() == case["okm"]


@pytest.mark.parametrize("case", FROZEN["records"], ids=lambda c: f"{c['label']} {len(c['secret'])}")
def test_records_of_the_independent_implementation_open(case: dict[str, Any]) -> None:
    assert record.unseal(KEY, bytes.fromhex(case["record"]), binding(case)).decode("utf-8") == case["secret"]


@pytest.mark.parametrize("size", [0, 1, 61, 62, 63, 254, 255, 1022, 1023, 4094, 4095, 16381, 16382])
def test_every_length_up_to_the_longest_comes_back(size: int) -> None:
    secret = bytes(i % 256 for i in range(size))
    assert record.unseal(KEY, record.seal(KEY, secret, PLACE), PLACE) == secret


def test_a_longer_secret_is_refused_not_cut() -> None:
    with pytest.raises(ValueError, match="at most 16382"):
        record.seal(KEY, bytes(16383), PLACE)


def test_the_length_of_a_record_tells_only_a_size_step() -> None:
    assert len(record.seal(KEY, b"x", PLACE)) == len(record.seal(KEY, b"x" * 62, PLACE))


def test_sealing_twice_gives_two_different_records() -> None:
    one, two = record.seal(KEY, b"same", PLACE), record.seal(KEY, b"same", PLACE)
    assert one[10:34] != two[10:34]
    assert one[66:] != two[66:]


@pytest.mark.reliability
def test_every_flipped_bit_is_refused(record_property: Callable[[str, object], None]) -> None:
    sealed = record.seal(KEY, b"secret", PLACE)
    for bit in range(len(sealed) * 8):
        flipped = bytearray(sealed)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CannotOpen):
            record.unseal(KEY, bytes(flipped), PLACE)
    record_property(
        "reliability", {"table": "flips", "row": "sealed record", "column": "tried", "tried": len(sealed) * 8}
    )


@pytest.mark.parametrize("place", {c["label"]: binding(c) for c in FROZEN["records"]}.values())
def test_every_changed_field_of_the_place_is_refused(place: record.Binding) -> None:
    sealed = record.seal(KEY, b"secret", place)
    # The label also separates the keys, so a wrong one already fails the commitment.
    with pytest.raises(WrongKey):
        record.unseal(KEY, sealed, place._replace(label=f"{place.label}x"))
    others = [
        place._replace(instance_id=place.instance_id + b"x"),
        place._replace(fields=(*place.fields, "")),
    ]
    for at, field in enumerate(place.fields):
        others.append(place._replace(fields=(*place.fields[:at], f"{field}x", *place.fields[at + 1 :])))
        others.append(place._replace(fields=(*place.fields[:at], *place.fields[at + 1 :])))
    for other in others:
        with pytest.raises(Tampered):
            record.unseal(KEY, sealed, other)


def test_text_cannot_move_from_one_field_to_the_next() -> None:
    sealed = record.seal(KEY, b"secret", PLACE._replace(fields=("ab", "c")))
    for fields in (("a", "bc"), ("abc", ""), ("abc",), ("", "abc")):
        with pytest.raises(Tampered):
            record.unseal(KEY, sealed, PLACE._replace(fields=fields))


def test_another_key_is_told_apart_from_tampering() -> None:
    sealed = record.seal(KEY, b"secret", PLACE)
    with pytest.raises(UnknownKey):
        record.unseal(Key.generate(), sealed, PLACE)
    stranger = Key.generate()
    forged = sealed[:2] + stranger.id + sealed[10:]
    with pytest.raises(WrongKey):
        record.unseal(stranger, forged, PLACE)


@pytest.mark.parametrize(
    "data", [b"", b"\x02", b"\x02\x01" + bytes(64), bytes(146), b"hunter2", b"\x01\x01" + bytes(144)]
)
def test_what_is_no_record_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        record.unseal(KEY, data, PLACE)


def test_a_huge_field_forced_in_by_sql_is_tampering_not_a_crash() -> None:
    sealed = record.seal(KEY, b"secret", PLACE)
    with pytest.raises(Tampered):
        record.unseal(KEY, sealed, PLACE._replace(fields=(*PLACE.fields[:-1], "u" * 100_000)))


def test_the_keyring_opens_with_whichever_key_the_record_names() -> None:
    old, new = Key.generate(), Key.generate()
    file = KeyFile(INSTANCE, (Key(old.material, "retired"), new))
    assert keyring.unseal(file, record.seal(old, b"old", PLACE), PLACE) == b"old"
    assert keyring.unseal(file, record.seal(new, b"new", PLACE), PLACE) == b"new"


def test_the_keyring_names_the_key_that_is_missing() -> None:
    lost = Key.generate()
    with pytest.raises(UnknownKey, match=keyfile.fingerprint(lost.id)):
        keyring.unseal(KeyFile(INSTANCE, (KEY,)), record.seal(lost, b"x", PLACE), PLACE)
