"""Login passwords: hashed, throttled, and the same answer to every wrong attempt."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from flask import Flask

from panel import create_app, db
from panel.config import Settings
from panel.crypto import login_hash
from panel.errors import BadInput, Throttled
from panel.models import Activity, Person, SignInTry
from panel.secret import Secret
from panel.sign_in import service, throttle
from tests.running import find_marker
from tests.sign_in.browser import PASSWORD, WRONG, Browser, add_person, later


def answer_without_tokens(browser: Browser, email: str) -> tuple[int, str]:
    response = browser.sign_in(email, WRONG)
    text = re.sub(r'(value="|X-CSRFToken": "|on-paper">)[^"<]*', r"\1", response.text)  # nor the time of it
    return response.status_code, text.replace(email, "")


def test_a_password_is_stored_as_an_argon2id_hash_and_nowhere_in_clear(
    app: Flask, settings: Settings
) -> None:
    add_person()
    Browser(app).sign_in()
    stored = Person.get().login_hash
    assert re.fullmatch(r"\$argon2id\$v=19\$m=\d+,t=\d+,p=\d+\$[\w+/]+\$[\w+/]+", stored)
    memory, passes = (int(n) for n in re.findall(r"[mt]=(\d+)", stored))
    assert memory >= 19 * 1024
    assert passes >= 2
    assert find_marker(settings.data_dir, PASSWORD) == []


def test_a_hash_of_yesterdays_cost_is_made_anew_at_the_next_sign_in(app: Flask) -> None:
    add_person()
    old = login_hash.hash_password(Secret(PASSWORD), login_hash.Parameters(memory=19 * 1024, time=2))
    Person.update(login_hash=old).execute()
    assert Browser(app).sign_in(password=WRONG).status_code == 422
    assert Person.get().login_hash == old
    assert Browser(app).sign_in().status_code == 303
    assert not login_hash.is_stale(Person.get().login_hash)
    assert Browser(app).sign_in().status_code == 303


def test_unknown_known_and_disabled_get_the_same_answer(app: Flask) -> None:
    add_person()
    add_person("gone@example.org")
    Person.update(disabled_at=1).where(Person.email == "gone@example.org").execute()
    known = answer_without_tokens(Browser(app), "ada@example.org")
    assert known[0] == 422
    assert answer_without_tokens(Browser(app), "nobody@example.org") == known
    assert answer_without_tokens(Browser(app), "gone@example.org") == known


def test_a_disabled_person_with_the_right_password_gets_that_answer_too(app: Flask) -> None:
    add_person()
    Person.update(disabled_at=1).execute()
    assert Browser(app).sign_in().status_code == 422


@pytest.mark.usefixtures("every_verification_anew")
def test_unknown_and_known_take_the_same_time(app: Flask) -> None:
    add_person()

    def fastest(email: str) -> float:
        times = []
        for number in range(5):
            begun = time.thread_time()
            with db.database.connection_context(), pytest.raises(BadInput):
                service.sign_in(email, Secret(WRONG), f"192.0.2.{number}", "")
            times.append(time.thread_time() - begun)
        return min(times)

    known, unknown = fastest("ada@example.org"), fastest("nobody@example.org")
    assert 0.7 < known / unknown < 1.4


def test_the_hash_of_nobody_matches_no_password_and_costs_what_others_cost() -> None:
    assert not login_hash.is_stale(login_hash.NONE)
    assert not login_hash.verify(Secret(WRONG), login_hash.NONE)


def test_what_is_typed_into_the_wrong_field_is_not_kept(app: Flask, settings: Settings) -> None:
    add_person()
    Browser(app).sign_in(email=PASSWORD, password="ada@example.org")
    assert find_marker(settings.data_dir, PASSWORD) == []
    assert Activity.select().order_by(Activity.id.desc()).get().subject == "unknown"


def test_the_form_never_sends_a_password_back(app: Flask) -> None:
    add_person()
    answer = Browser(app).sign_in(password=WRONG)
    assert "ada@example.org" in answer.text
    assert WRONG not in answer.text


@pytest.mark.parametrize("password", ["", "a\0b"])
def test_a_password_that_cannot_be_is_answered_in_the_form(app: Flask, password: str) -> None:
    add_person()
    assert Browser(app).sign_in(password=password).status_code == 422


def test_wrong_passwords_are_counted_by_all_processes_together(app: Flask, settings: Settings) -> None:
    add_person()
    other = create_app(settings)
    browsers = [Browser(app, "192.0.2.1"), Browser(other, "192.0.2.2")]
    for number in range(throttle.PER_ACCOUNT):
        assert browsers[number % 2].sign_in(password=WRONG).status_code == 422
    for browser in browsers:
        refused = browser.sign_in()  # with the right password
        assert refused.status_code == 429
        assert "Wait 60 minutes" in refused.text


def test_a_throttled_account_opens_again_after_the_time_that_was_said(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_person()
    for _ in range(throttle.PER_ACCOUNT):
        Browser(app).sign_in(password=WRONG)
    assert Browser(app).sign_in().status_code == 429
    later(monkeypatch, throttle.WINDOW)
    assert Browser(app).sign_in().status_code == 303


def test_a_throttled_account_leaves_others_alone(app: Flask) -> None:
    add_person()
    add_person("bob@example.org", "agent")
    for _ in range(throttle.PER_ACCOUNT):
        Browser(app).sign_in(password=WRONG)
    assert Browser(app).sign_in("bob@example.org").status_code == 303


def test_one_address_may_not_try_many_accounts(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "PER_ADDRESS", 5)
    add_person()
    for number in range(5):
        Browser(app, "192.0.2.1").sign_in(f"someone{number}@example.org", WRONG)
    assert Browser(app, "192.0.2.1").sign_in().status_code == 429
    assert Browser(app, "::ffff:192.0.2.1").sign_in().status_code == 429
    assert Browser(app, "192.0.2.2").sign_in().status_code == 303


def test_addresses_of_one_ipv6_subscriber_count_as_one(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "PER_ADDRESS", 3)
    add_person()
    for number in range(3):
        Browser(app, f"2001:db8:0:1::{number}").sign_in(f"someone{number}@example.org", WRONG)
    assert Browser(app, "2001:db8:0:1:ffff::1").sign_in().status_code == 429
    assert Browser(app, "2001:db8:0:2::1").sign_in().status_code == 303


def test_a_success_forgets_the_failures_of_the_account_but_not_those_of_the_address(app: Flask) -> None:
    add_person()
    browser = Browser(app)
    for _ in range(throttle.PER_ACCOUNT - 1):
        browser.sign_in(password=WRONG)
    assert browser.sign_in().status_code == 303
    assert SignInTry.select().where(SignInTry.who.startswith("account:")).count() == 0
    assert SignInTry.select().where(SignInTry.who.startswith("address:")).count() == throttle.PER_ACCOUNT - 1


@pytest.mark.usefixtures("every_verification_anew")
def test_tries_at_the_same_moment_do_not_slip_past_each_other(app: Flask) -> None:
    add_person()
    together = Barrier(throttle.PER_ACCOUNT * 2)

    def attempt(_number: int) -> str:
        together.wait()
        with db.database.connection_context():
            try:
                throttle.count_sign_in("ada@example.org", "192.0.2.1")
            except Throttled:
                return "refused"
        return "taken"

    with ThreadPoolExecutor(throttle.PER_ACCOUNT * 2) as threads:
        outcomes = list(threads.map(attempt, range(throttle.PER_ACCOUNT * 2)))
    assert outcomes.count("taken") == throttle.PER_ACCOUNT


def test_typing_the_password_again_is_throttled_as_signing_in_is(app: Flask) -> None:
    add_person()
    browser = Browser(app)
    browser.sign_in()
    for _ in range(throttle.PER_ACCOUNT):
        assert browser.post("/confirm", password=WRONG).status_code == 422
    assert browser.post("/confirm", password=PASSWORD).status_code == 429


def test_wrong_passwords_typed_elsewhere_do_not_shut_out_who_is_signed_in(app: Flask) -> None:
    add_person()
    browser, other = Browser(app), Browser(app, "192.0.2.9")
    browser.sign_in()
    for _ in range(throttle.PER_ACCOUNT):
        other.sign_in(password=WRONG)
    assert other.sign_in().status_code == 429
    assert browser.post("/confirm", password=PASSWORD).status_code == 303


def test_an_old_password_begins_no_session_while_it_is_being_changed(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_person()
    real = login_hash.verify

    def changed_meanwhile(password: Secret, hashed: str) -> bool:
        fits = real(password, hashed)
        Person.update(login_hash=login_hash.hash_password(Secret(WRONG))).execute()
        return fits

    monkeypatch.setattr(login_hash, "verify", changed_meanwhile)
    assert Browser(app).sign_in().status_code == 422
