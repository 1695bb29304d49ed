"""Promises of login passwords (panel.crypto.login_hash)."""

from __future__ import annotations

import pytest

from panel.crypto.login_hash import CURRENT, Parameters, hash_password, is_stale, verify
from panel.secret import Secret

CHEAP = Parameters(memory=64, time=1)


@pytest.mark.parametrize("text", ["correct horse", " spaces ", "Grüße 🗝️", "x" * 128])
def test_only_the_very_password_verifies(text: str) -> None:
    phc = hash_password(Secret(text), CHEAP)
    assert verify(Secret(text), phc)
    assert not verify(Secret(text + "x"), phc)
    assert not verify(Secret(text.strip() + "!"), phc)


def test_the_same_password_is_hashed_differently_each_time() -> None:
    assert hash_password(Secret("same"), CHEAP) != hash_password(Secret("same"), CHEAP)


def test_the_parameters_are_at_least_those_owasp_asks_for() -> None:
    assert CURRENT.memory >= 19 * 1024
    assert CURRENT.time >= 2


def test_a_hash_of_older_parameters_verifies_and_is_stale() -> None:
    phc = hash_password(Secret("same"), CHEAP)
    assert verify(Secret("same"), phc)
    assert is_stale(phc)
    assert not is_stale(hash_password(Secret("same")))


@pytest.mark.parametrize(
    "phc", ["", "plain", "$argon2id$v=19$m=64,t=1,p=1$", "$2b$12$abcdefghijklmnopqrstuv"]
)
def test_what_is_no_hash_verifies_nothing(phc: str) -> None:
    assert not verify(Secret(""), phc)
    assert not verify(Secret("plain"), phc)
