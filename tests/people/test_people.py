"""People: who can be added, and with which password."""

from __future__ import annotations

import pytest
from flask import Flask

from panel.audit import Actor
from panel.crypto import login_hash
from panel.errors import BadInput
from panel.models import Activity, Person
from panel.people import names, password_rules, service
from panel.secret import Secret

GOOD = "a long enough phrase"


def refused(password: str, email: str = "ada@example.org", name: str = "Ada Lovelace") -> str:
    with pytest.raises(BadInput) as caught:
        password_rules.check(Secret(password), email, name)
    assert caught.value.field == "password"
    assert password not in str(caught.value) or not password
    return caught.value.message


@pytest.mark.parametrize("role", ["admin", "agent", "user"])
def test_a_person_of_each_role_can_be_added_and_found(app: Flask, role: str) -> None:
    added = service.add(" Ada@Example.ORG ", " Ada   Lovelace ", role, Secret(GOOD))
    assert (added.email, added.name, added.role) == ("ada@example.org", "Ada Lovelace", role)
    assert service.get(added.id) == added
    service.set_password("ADA@example.org", Secret(GOOD))  # NotFound, if capitals mattered
    assert service.everybody() == [added]
    assert login_hash.verify(Secret(GOOD), Person.get().login_hash)


def test_adding_stands_in_activity(app: Flask) -> None:
    service.add("ada@example.org", "Ada", "agent", Secret(GOOD), Actor("root@example.org", "192.0.2.1"))
    event = Activity.get()
    assert (event.who, event.what, event.subject, event.detail, event.address) == (
        "root@example.org", "person added", "ada@example.org", "role agent", "192.0.2.1",
    )  # fmt: skip


def test_an_address_is_taken_once_however_it_is_capitalised(app: Flask) -> None:
    service.add("ada@example.org", "Ada", "admin", Secret(GOOD))
    with pytest.raises(BadInput, match="already") as caught:
        service.add("ADA@EXAMPLE.ORG", "Other", "user", Secret(GOOD))
    assert caught.value.field == "email"
    assert Person.select().count() == 1
    assert Activity.select().count() == 1


@pytest.mark.parametrize(
    "email",
    ["", "ada", "@example.org", "ada@", "a@b@c", "a b@b.org", "a\n@b.org", "a\x07@b", "a" * 250 + "@b.org"],
)
def test_what_is_no_address_is_refused(app: Flask, email: str) -> None:
    with pytest.raises(BadInput) as caught:
        service.add(email, "Ada", "admin", Secret(GOOD))
    assert caught.value.field == "email"


@pytest.mark.parametrize("email", ["a@b", "müller@bücher.example", "o'brien+mail@sub.example.org"])
def test_unusual_addresses_are_taken(email: str) -> None:
    assert names.normalise_email(email) == email


@pytest.mark.parametrize("name", ["", "  ", "x" * 201, "Ada\x1b[2J"])
def test_what_is_no_name_is_refused(app: Flask, name: str) -> None:
    with pytest.raises(BadInput) as caught:
        service.add("ada@example.org", name, "admin", Secret(GOOD))
    assert caught.value.field == "name"


def test_an_unknown_role_is_refused(app: Flask) -> None:
    with pytest.raises(BadInput) as caught:
        service.add("ada@example.org", "Ada", "root", Secret(GOOD))
    assert caught.value.field == "role"


@pytest.mark.parametrize(
    "password",
    [
        GOOD,
        "qpzmrutyalsk",
        "🐑🐄🐖🐓🐎🐕🐈🐁🐀🐇🐿🦔",
        "x7" * 3 + "kd93jf" + "q" * 116,
        "            a b c",
        "пароль из слов",
        "correct horse battery staple",
    ],
)
def test_long_passwords_of_any_kind_are_taken(password: str) -> None:
    password_rules.check(Secret(password), "ada@example.org", "Ada Lovelace")


def test_twelve_characters_are_enough_and_eleven_are_not() -> None:
    password_rules.check(Secret("kdj38fmq0xzw"), "a@b", "A")
    assert "11 characters, 12 are needed" in refused("kdj38fmq0xz")


def test_128_characters_are_taken_and_129_are_not() -> None:
    phrase = "seven sheep sleep. " * 7
    password_rules.check(Secret(phrase[:128]), "a@b", "A")
    assert "longer than 128" in refused(phrase[:129])


@pytest.mark.parametrize(
    "password", ["ada@example.org", "ADA@EXAMPLE.ORG", "Ada Lovelace", "ada.lovelace!", "adalovelace  "]
)
def test_ones_own_name_or_address_is_refused(password: str) -> None:
    assert "name or email address itself" in refused(password)


@pytest.mark.parametrize(
    "password",
    [
        "aaaaaaaaaaaa",
        "äääääääääääää",
        "abcabcabcabc",
        "123412341234",
        "123456789012",
        "0123456789012",
        "987654321098765"[:12],
        "abcdefghijkl",
        "abcdefghij!?",
        "qwertyuiop123",
        "qwertzuiop123",
        "azertyuiop123",
        "asdfghjklqwerty",
        "1q2w3e4r5t6y",
        "1qaz2wsx3edc",
        "password1234",
        "Password123!",
        "P@ssw0rd2024!",
        "passwordpassword",
        "password password",
        "letmeinletmein",
        "administrator",
        "Administrator1!",
        "changeme12345",
        "iloveyou!!!!",
        "Mailkeep2026!",
        "1234password1234",
    ],
)
def test_passwords_that_are_guessed_first_are_refused(password: str) -> None:
    assert "attackers try" in refused(password)


def test_a_password_is_kept_exactly_as_typed(app: Flask) -> None:
    typed = "  Großmutters  Äpfel\t"
    service.add("ada@example.org", "Ada", "admin", Secret(typed))
    stored = Person.get().login_hash
    assert login_hash.verify(Secret(typed), stored)
    assert not login_hash.verify(Secret(typed.strip()), stored)
