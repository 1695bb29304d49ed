"""Promises of Server > Encryption in the browser: both boxes, every state its own face, agents read only."""

from __future__ import annotations

import hashlib
import html
import os
import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from panel import db
from panel.audit import Actor
from panel.config import Settings
from panel.crypto.keyfile import KeyFile
from panel.models import Account, Encryption, Session
from panel.people import service as people
from panel.program import command_line
from panel.secret import Secret
from panel.vault import backup_proof, rotation, turn_off, turn_on, unfinished, verification
from panel.vault.state import State
from panel.vault.vault import Vault
from tests import installs
from tests.encryption.conftest import House, new_endpoint
from tests.running import Environ
from tests.sign_in.browser import asked

ENABLE = "/server/encryption/enable"
BOTH = {"understand_key_loss": "y", "backup_prepared": "y"}
PASSWORD = "correct horse battery staple"
HTMX = {"HX-Request": "true"}
NONCE = re.compile(r"printf ([0-9a-f]{32});")


@pytest.fixture
def environ(environ: Environ) -> Environ:
    return environ | {"PANEL_CONTACT": "the help desk, extension 7"}


@pytest.fixture
def house(app: Flask, settings: Settings) -> House:
    app.config["WTF_CSRF_ENABLED"] = False
    return House(settings, Vault.of(settings, db.database))


@pytest.fixture
def sign_in_as(client: FlaskClient, house: House) -> Callable[[str], FlaskClient]:
    def sign_in(role: str) -> FlaskClient:
        with db.database.connection_context():
            people.add(f"{role}@example.org", role.title(), role, Secret(PASSWORD))
        response = client.post("/login", data={"email": f"{role}@example.org", "password": PASSWORD})
        assert response.status_code == 303
        return client

    return sign_in


@pytest.fixture
def admin(sign_in_as: Callable[[str], FlaskClient]) -> FlaskClient:
    return sign_in_as("admin")


def in_database(step: Callable[[], Any]) -> Any:
    with db.database.connection_context():
        return step()


def files(house: House) -> set[str]:
    return {p.name for p in house.data.iterdir() if p.name.startswith(("encryption", "can-"))}


@pytest.mark.parametrize(
    "boxes",
    [
        {},
        {"understand_key_loss": "y"},
        {"backup_prepared": "y"},
        {"understand_key_loss": "y", "backup_prepared": "false"},
        {"understand_key_loss": "0", "backup_prepared": "y"},
        {"understand_key_loss": "off", "backup_prepared": "no"},
        {"understand_key_loss": "", "backup_prepared": "y"},
    ],
)
def test_without_both_boxes_it_is_422_and_nothing_is_written(
    admin: FlaskClient, house: House, boxes: dict[str, str]
) -> None:
    in_database(lambda: house.add("MARKER-still-clear"))
    response = admin.post(ENABLE, data=boxes)
    assert response.status_code == 422
    assert "There is a problem" in response.text
    assert files(house) == set()
    assert in_database(lambda: house.state) is State.OFF


def test_the_box_that_was_ticked_stays_ticked(admin: FlaskClient) -> None:
    page = admin.post(ENABLE, data={"understand_key_loss": "y"}).text
    assert re.search(r'id="understand_key_loss"[^>]* checked', page)
    assert not re.search(r'id="backup_prepared"[^>]* checked', page)
    assert "Confirm that you have prepared a secure way to back up the key file." in page


def test_with_both_boxes_the_key_is_made_and_the_page_shows_progress(
    admin: FlaskClient, house: House
) -> None:
    in_database(lambda: house.add())
    response = admin.post(ENABLE, data=BOTH)
    assert (response.status_code, response.location) == (303, "/server/encryption")
    assert "encryption-key.bin" in files(house)
    page = admin.get("/server/encryption").text
    assert "Turning on" in page
    assert "0 of 1 password" in page
    in_database(lambda: unfinished.resume(house.vault))
    assert "1 of 1" in admin.get("/server/encryption").text


def test_the_warning_and_the_boxes_say_the_agreed_words(admin: FlaskClient, house: House) -> None:
    page = re.sub(r"\s+", " ", re.sub(r"</?code>", "", admin.get("/server/encryption").text))
    for words in (
        "The button below makes a new secure key in a file on this server, data/encryption-key.bin, and encrypts every "
        "stored mailbox password with it. If that file is lost or damaged, Mailkeep can no longer read those passwords, "
        "and each must be entered again. Keep its backup apart from the backups of the database: whoever holds both can "
        "read the passwords. Once encryption is on, it takes direct access to this server&#39;s files to turn it off again.",
        "I understand that losing the encryption key file (data/encryption-key.bin) means losing all encrypted data.",
        "I have prepared a secure way to back up the key file.",
        "Generate Key File &amp; Enable Encryption",
    ):
        assert words.replace("&#39;", "'") in page.replace("&#39;", "'"), words


def on(house: House) -> None:
    house.add("hunter2hunter2")
    house.enable()


def tampered(house: House) -> None:
    on(house)
    house.sql("UPDATE endpoint SET host = 'evil.example.org'")
    verification.run_and_note(house.vault)


def missing(house: House) -> None:
    on(house)
    house.key_file.unlink()


def unreadable(house: House) -> None:
    on(house)
    house.key_file.chmod(0o644)


def wrong(house: House) -> None:
    on(house)
    house.key_file.write_bytes(KeyFile.generate(b"x" * 16).to_bytes())


def wrong_row(house: House) -> None:
    on(house)
    house.sql("UPDATE encryption SET active_key_id = ?", b"x" * 8)


def disabling(house: House) -> None:
    on(house)
    turn_off.turn_off(house.vault, Actor(), in_shell=True)


def rotating(house: House) -> None:
    on(house)
    rotation.rotate(house.vault, Actor())


FACES: dict[str, tuple[Callable[[House], object], State, list[str], list[str]]] = {
    "off": (lambda h: h.add(), State.OFF, ["1 mailbox password is stored in clear text", "Before you start"], ["Turn off encryption"]),
    "enabling": (
        lambda h: (h.add(), turn_on.turn_on(h.vault, installs.BOTH, Actor())),
        State.ENABLING, ["Turning on", "0 of 1 password", "Resume"], ["Generate Key File"],
    ),
    "on": (on, State.ON, ["1 of 1", "sha256sum", "Show the code"], ["Generate Key File", "can-disable-encryption.txt"]),
    "rotating": (rotating, State.ROTATING, ["Changing the key", "Encrypting with the new key", "0 of 1 password"], ["Generate Key File", "Change the key</"]),
    "disabling": (disabling, State.DISABLING, ["Writing passwords back in clear text", "Cancel and encrypt again"], ["Generate Key File"]),
    "missing": (missing, State.KEY_MISSING, ["The key file is missing", "Expected", "install -m 600"], ["Generate Key File", "can-disable-encryption"]),
    "unreadable": (unreadable, State.KEY_UNREADABLE, ["The key file cannot be used", "chmod 600"], ["Generate Key File"]),
    "wrong": (wrong, State.KEY_WRONG, ["This is not the right key file", "another install", "Found"], ["Generate Key File"]),
    "wrong row": (wrong_row, State.KEY_WRONG, ["This database does not match the key file", "restore the database", "A damaged state row"], ["Generate Key File", "Put the right key file back", "install -m 600"]),
    "inconsistent": (tampered, State.INCONSISTENT, ["0@example.org", "changed outside Mailkeep", "Check again"], ["Generate Key File"]),
}  # fmt: skip


@pytest.mark.parametrize(("make", "state", "shown", "hidden"), FACES.values(), ids=FACES)
def test_each_state_has_its_own_face_and_says_what_to_do(
    admin: FlaskClient,
    house: House,
    make: Callable[[House], object],
    state: State,
    shown: list[str],
    hidden: list[str],
) -> None:
    in_database(lambda: make(house))
    assert in_database(lambda: house.state) is state
    page = admin.get("/server/encryption").text
    for words in shown:
        assert words in page
    for words in hidden:
        assert words not in page


@pytest.mark.parametrize(("make", "state", "shown", "hidden"), FACES.values(), ids=FACES)
def test_an_agent_sees_the_state_but_no_button_path_code_or_full_fingerprint(
    sign_in_as: Callable[[str], FlaskClient],
    house: House,
    make: Callable[[House], object],
    state: State,
    shown: list[str],
    hidden: list[str],
) -> None:
    in_database(lambda: make(house))
    agent = sign_in_as("agent")
    page = agent.get("/server/encryption").text
    main = page[page.index("<main") : page.index("</main>")]
    assert "<form" not in main and "<button" not in main
    assert str(house.data) not in page and "can-disable-encryption" not in page
    now = in_database(lambda: house.vault.latest())
    if now.expected:
        assert now.expected not in page
        assert f">{now.expected[:9]}</code>" in main
    assert f"{now.sealed} of {now.total}" in main or not now.total
    words = " ".join(re.sub(r"<[^>]+>", " ", main).split())
    if make is wrong_row:
        words = words.replace("Wrong database", AGENTS_WORDS[state])
    assert f"and quote: {AGENTS_WORDS[state]}" in words
    assert "Contact the help desk, extension 7" in words
    shown_as = re.search(r'role="status">([^<]+)<', main)
    assert shown_as and shown_as[1].replace("Wrong database", AGENTS_WORDS[state]) == AGENTS_WORDS[state]


AGENTS_WORDS = {
    State.OFF: "Off", State.ENABLING: "Turning on", State.ON: "On", State.DISABLING: "Turning off",
    State.ROTATING: "Changing the key",
    State.KEY_MISSING: "Key file missing", State.KEY_UNREADABLE: "Key file unusable",
    State.KEY_WRONG: "Wrong key file", State.INCONSISTENT: "Some passwords cannot be decrypted",
}  # fmt: skip


@pytest.mark.parametrize("role", ["agent", "user"])
@pytest.mark.parametrize(
    "step", ["enable", "rotate", "disable", "cancel", "resume", "verify", "scan", "backup"]
)
def test_an_agent_and_a_user_cannot_take_any_step(
    sign_in_as: Callable[[str], FlaskClient], house: House, step: str, role: str
) -> None:
    assert sign_in_as(role).post(f"/server/encryption/{step}", data=BOTH).status_code == 403
    assert files(house) == set()


def test_every_page_says_that_collecting_is_paused_while_the_key_is_away(
    admin: FlaskClient, house: House
) -> None:
    in_database(lambda: missing(house))
    for url in ("/", "/accounts", "/accounts/new", "/people", "/activity", "/profile", "/status", "/nowhere"):
        assert "Collecting mail is paused." in admin.get(url).text, url


def test_steps_ask_for_the_own_password_again_after_five_minutes(admin: FlaskClient, house: House) -> None:
    in_database(lambda: Session.update(confirmed_at=db.now() - 301).execute())
    form = asked(admin.post(ENABLE, data=BOTH))
    assert admin.post("/confirm", data={"form": form, "password": "not the right one"}).status_code == 422
    assert files(house) == set()
    done = admin.post("/confirm", data={"form": form, "password": PASSWORD})
    assert done.location == "/server/encryption"
    assert "encryption-key.bin" in files(house)


@pytest.mark.parametrize("step", ["disable", "cancel", "resume", "verify", "scan", "backup"])
def test_the_buttons_ask_for_the_password_first_and_then_act(
    admin: FlaskClient, house: House, step: str
) -> None:
    in_database(lambda: Session.update(confirmed_at=db.now() - 301).execute())
    response = admin.post(f"/server/encryption/{step}")
    done = admin.post("/confirm", data={"form": asked(response), "password": PASSWORD})
    assert done.location == "/server/encryption" or done.status_code in (409, 422)


def test_turning_off_on_the_page_takes_the_marker_file(admin: FlaskClient, house: House) -> None:
    in_database(lambda: on(house))
    assert CODE.search(admin.get("/server/encryption").text) is None
    found = CODE.search(admin.get("/server/encryption/off").text)
    assert found is not None
    refused = admin.post("/server/encryption/disable")
    assert refused.status_code == 409
    zone = refused.text[refused.text.index('<details class="panel danger" id="off" open>') :]
    assert "is not there yet" in zone and "is not there yet" not in refused.text.replace(zone, "")
    house.keystore.authorization_path.write_text(found[1] + "\n")
    house.keystore.authorization_path.chmod(0o600)
    assert admin.post("/server/encryption/disable").status_code == 303
    in_database(lambda: unfinished.resume(house.vault))
    assert in_database(lambda: house.state) is State.OFF


def test_cancelling_a_turn_off_that_had_finished_says_that_passwords_are_in_clear(
    admin: FlaskClient, house: House
) -> None:
    def turned_off() -> None:
        house.add()
        on(house)
        house.disable()

    in_database(turned_off)
    count = in_database(lambda: house.vault.latest().clear)
    late = admin.post("/server/encryption/cancel")
    assert late.status_code == 409
    assert "Nothing was cancelled: encryption is off already" in late.text
    assert f"{count} password" in late.text and "in clear text" in late.text


def test_whoever_turns_it_on_second_is_told_so(admin: FlaskClient, house: House) -> None:
    in_database(lambda: on(house))
    assert admin.post(ENABLE, data=BOTH).status_code == 303
    assert "was already on" in admin.get("/server/encryption").text
    seen = in_database(lambda: house.vault.latest().found)
    in_database(house.rotate)
    assert admin.post("/server/encryption/rotate", data={"replaces": seen}).status_code == 303
    assert "was already changed" in admin.get("/server/encryption").text


def test_the_backup_is_proved_by_its_hash_and_the_key_never_travels(admin: FlaskClient, house: House) -> None:
    in_database(lambda: on(house))
    page = admin.get("/server/encryption").text
    nonce = re.search(r"printf ([0-9a-f]{32});", page)
    assert nonce is not None
    data = house.key_file.read_bytes()
    wrong_answer = hashlib.sha256(nonce[1].encode() + data + b"\n").hexdigest()
    assert admin.post("/server/encryption/backup", data={"answer": wrong_answer}).status_code == 422
    assert admin.post("/server/encryption/backup", data={"answer": "not a hash"}).status_code == 422
    answer = hashlib.sha256(nonce[1].encode() + data).hexdigest()
    assert admin.post("/server/encryption/backup", data={"answer": f" {answer}  - "}).status_code == 303
    assert in_database(lambda: Encryption.only().backup_proved_at) is not None  # type: ignore[union-attr]
    for key_form in (data[52:].hex(), data.hex()):
        assert key_form not in page


CODE = re.compile(r"echo ([0-9a-f]+ [0-9a-f]+) &gt;")
BELL = '<span class="count warn">1<span class="hidden"> open</span></span>'


def test_the_bell_of_every_page_counts_the_proof_until_it_is_given_and_again_after_a_rotation(
    admin: FlaskClient, house: House
) -> None:
    assert BELL not in admin.get("/accounts").text
    for change in (on, House.rotate):
        in_database(lambda change=change: change(house))  # type: ignore[misc]
        assert BELL in admin.get("/accounts").text
        assert "The encryption key has no verified backup." in admin.get("/server/alerts").text
        page = admin.get("/server/encryption").text
        assert 'class="banner' not in page, "the page has it in its own words"
        assert "The encryption key has no verified backup." in page
        in_database(lambda: backup_proof.check(house.vault, house.key_file.read_bytes(), Actor()))
        assert BELL not in admin.get("/accounts").text
        assert "The encryption key has no verified backup." not in admin.get("/server/encryption").text


def test_a_time_written_into_the_database_does_not_silence_the_bell(admin: FlaskClient, house: House) -> None:
    in_database(lambda: on(house))
    in_database(lambda: house.sql("UPDATE encryption SET backup_proved_at = 1700000000"))
    assert BELL in admin.get("/accounts").text
    page = admin.get("/server/encryption").text
    assert "The encryption key has no verified backup." in page
    assert "2023" not in page


def test_a_record_of_no_account_is_named_without_a_link_to_nowhere(admin: FlaskClient, house: House) -> None:
    in_database(lambda: on(house))
    house.orphan(99, "in", b"\x01\x01" + bytes(80))
    page = admin.get("/server/encryption").text
    assert "1 of 2 passwords cannot be decrypted" in page and "hero bad" in page
    assert "<li>(no account nobody): " in page


def test_while_old_copies_cannot_be_removed_for_an_hour_the_page_asks_for_the_proof_all_the_same(
    admin: FlaskClient, house: House
) -> None:
    in_database(lambda: (on(house), house.sql("UPDATE encryption SET scrub_owed = x'01'")))
    assert "The encryption key has no verified backup." not in admin.get("/server/encryption").text
    at = house.key_file.stat().st_mtime - 3600
    os.utime(house.key_file, (at, at))
    assert "The encryption key has no verified backup." in admin.get("/server/encryption").text
    assert BELL in admin.get("/accounts").text


def test_an_agent_is_not_asked_for_the_proof(sign_in_as: Callable[[str], FlaskClient], house: House) -> None:
    in_database(lambda: on(house))
    page = sign_in_as("agent").get("/server/encryption").text
    assert "no verified backup" not in page and 'class="count' not in page and "hero good" in page


def test_the_backup_can_be_proved_while_single_passwords_do_not_open(
    admin: FlaskClient, house: House
) -> None:
    in_database(lambda: tampered(house))
    page = admin.get("/server/encryption").text
    assert "The encryption key has no verified backup." in page
    nonce = re.search(r"printf ([0-9a-f]{32});", page)
    assert nonce is not None
    answer = backup_proof.answer_for(nonce[1], house.key_file.read_bytes())
    assert admin.post("/server/encryption/backup", data={"answer": answer}).status_code == 303
    assert "The encryption key has no verified backup." not in admin.get("/server/encryption").text


def test_htmx_gets_the_fragment_and_a_redirect_it_understands(admin: FlaskClient, house: House) -> None:
    htmx = {"HX-Request": "true"}
    fragment = admin.get("/server/encryption", headers=htmx)
    assert "<html" not in fragment.text
    assert 'id="state"' in fragment.text
    done = admin.post(ENABLE, data=BOTH, headers=htmx)
    assert (done.status_code, done.headers["HX-Redirect"]) == (204, "/server/encryption")


def test_a_session_that_ended_sends_htmx_to_the_sign_in_page(admin: FlaskClient) -> None:
    in_database(lambda: Session.delete().execute())
    response = admin.get("/server/encryption", headers={"HX-Request": "true"})
    assert response.headers["HX-Redirect"].startswith("/login?next=")


def test_no_page_in_any_state_holds_the_password(admin: FlaskClient, house: House) -> None:
    authorization_file = "MARKER-never-on-a-page"

    def store() -> None:
        account = Account.create(address="m@example.org", created_at=0)
        endpoint = new_endpoint(account)
        endpoint.secret = Secret(authorization_file)
        endpoint.save()

    in_database(store)
    for step in (lambda: None, house.enable, house.key_file.unlink):
        in_database(step)
        assert authorization_file not in admin.get("/server/encryption").text


def test_the_key_is_changed_from_the_page_which_first_says_what_it_means(
    admin: FlaskClient, house: House
) -> None:
    in_database(lambda: on(house))
    assert 'href="/server/encryption/rotate"' in admin.get("/server/encryption").text
    page = admin.get("/server/encryption/rotate").text
    assert "the key file must be backed up again" in page and "The stored password is encrypted again" in page
    assert "Database backups from before today need the old key" in page
    shown = re.search(r'name="replaces" value="([0-9a-f-]{19})"', page)
    assert shown is not None
    for _ in range(2):  # pressed twice, or by two people
        response = admin.post("/server/encryption/rotate", data={"replaces": shown[1]})
        assert response.status_code == 303
        in_database(lambda: unfinished.resume(house.vault))
    assert len(KeyFile.from_bytes(house.key_file.read_bytes()).keys) == 2
    page = admin.get("/server/encryption").text
    assert f'value="{shown[1]}"' not in page
    assert "Kept from earlier changes" in page
    assert "The encryption key has no verified backup." in page
    words = " ".join(re.sub(r"<[^>]+>", " ", page).split())
    assert re.search(r"The key changed\. At [-0-9]+ [:0-9]+ UTC, by admin@example\.org\. Copies", words)


def test_changing_the_key_asks_for_the_own_password_again(admin: FlaskClient, house: House) -> None:
    in_database(lambda: on(house))
    in_database(lambda: Session.update(confirmed_at=0).execute())
    before = house.key_file.read_bytes()
    response = admin.post("/server/encryption/rotate", data={})
    assert (response.status_code, "next=" in response.location) == (303, True)
    assert house.key_file.read_bytes() == before


# -- what is shown when, and to whom ---------------------------------------------------------


def test_the_hero_of_on_is_a_warning_until_the_backup_is_verified(admin: FlaskClient, house: House) -> None:
    in_database(lambda: on(house))
    page = admin.get("/server/encryption").text
    assert 'class="hero warn"' in page and page.index('id="backup"') < page.index('id="maintenance"')
    assert page.count('<ol class="checklist">') == 1 and '<details class="panel" id="backup"' not in page
    in_database(house.prove)
    page = admin.get("/server/encryption").text
    assert 'class="hero good"' in page
    assert '<details class="panel" id="backup">' in page
    words = " ".join(re.sub(r"<[^>]+>", " ", page).split())
    assert "Key backup verified just now By admin@example.org, " in words


def test_paths_and_commands_are_those_of_this_install(admin: FlaskClient, house: House) -> None:
    assert str(house.key_file) in admin.get("/server/encryption").text, "it is not data/encryption-key.bin"
    in_database(lambda: on(house))
    page = admin.get("/server/encryption").text
    assert f"install -m 600 {house.key_file} /safe/encryption-key.bin" in page
    assert f"{command_line('encryption key export')}</code>" in page
    assert str(house.keystore.authorization_path) in admin.get("/server/encryption/off").text


def test_the_code_is_made_only_when_it_is_asked_for(admin: FlaskClient, house: House) -> None:
    assert "Encryption is not on" in admin.get("/server/encryption/off", headers=HTMX).text
    in_database(lambda: on(house))
    page = admin.get("/server/encryption").text
    assert CODE.search(page) is None and '<details class="panel danger" id="off">' in page
    assert 'hx-get="/server/encryption/off"' in page, "opening it asks"
    assert 'href="/server/encryption/off#off"' in page, "and so does a link, without JavaScript"
    fragment = admin.get("/server/encryption/off", headers=HTMX)
    assert "<html" not in fragment.text and CODE.search(fragment.text)
    opened = admin.get("/server/encryption/off").text
    assert CODE.search(opened) and '<details class="panel danger" id="off" open>' in opened


@pytest.mark.parametrize("page", ["off", "rotate", "prune", "passwords"])
def test_agents_and_users_get_no_page_but_the_state(
    sign_in_as: Callable[[str], FlaskClient], house: House, page: str
) -> None:
    in_database(lambda: on(house))
    for role in ("agent", "user"):
        client = sign_in_as(role)
        for headers in ({}, HTMX):
            refused = client.get(f"/server/encryption/{page}", headers=headers)
            assert refused.status_code == 403
            assert CODE.search(refused.text) is None and str(house.data) not in refused.text
        client.post("/logout")


def test_a_page_that_has_seen_this_state_is_answered_with_nothing(admin: FlaskClient, house: House) -> None:
    in_database(lambda: (house.add(), turn_on.turn_on(house.vault, installs.BOTH, Actor())))
    seen = re.search(r'hx-get="(/server/encryption\?seen=[^"]+)"', admin.get("/server/encryption").text)
    assert seen is not None
    url = html.unescape(seen[1])
    assert admin.get(url, headers=HTMX).status_code == 204
    assert admin.get(url).status_code == 200, "only the poll is spared"
    in_database(lambda: unfinished.resume(house.vault))
    assert admin.get(url, headers=HTMX).status_code == 200


def test_the_backup_is_offered_while_passwords_are_being_encrypted(admin: FlaskClient, house: House) -> None:
    in_database(lambda: (house.add(), turn_on.turn_on(house.vault, installs.BOTH, Actor())))
    page = admin.get("/server/encryption").text
    assert "No need to wait: the key file is final." in page and '<progress value="0" max="1"' in page
    answer = backup_proof.answer_for(NONCE.search(page)[1], house.key_file.read_bytes())  # type: ignore[index]
    assert admin.post("/server/encryption/backup", data={"answer": answer}).status_code == 303
    in_database(lambda: unfinished.resume(house.vault))
    assert 'class="hero good"' in admin.get("/server/encryption").text, (
        "turning on changed nothing in the file"
    )


def test_retired_keys_are_removed_after_the_page_said_which_backups_need_them(
    admin: FlaskClient, house: House
) -> None:
    assert "There are no retired keys." in admin.get("/server/encryption/prune").text
    in_database(lambda: (on(house), house.rotate(), house.rotate()))
    old = in_database(lambda: house.vault.latest().retired)
    assert 'href="/server/encryption/prune"' in admin.get("/server/encryption").text
    page = admin.get("/server/encryption/prune").text
    for key in old:
        assert f'value="{key}"' in page
    assert "an unknown time" not in page and "Remove 2 keys" in page
    stale = admin.post("/server/encryption/prune", data={"key": [old[0]]})
    assert stale.status_code == 409 and "Nothing was removed" in stale.text
    assert admin.post("/server/encryption/prune", data={"key": ["x" * 1024, "<b>"]}).status_code == 409
    assert in_database(lambda: house.vault.latest().retired) == old
    assert admin.post("/server/encryption/prune", data={"key": list(old)}).status_code == 303
    assert in_database(lambda: house.vault.latest().retired) == ()
    page = admin.get("/server/encryption").text
    assert "2 retired keys were removed." in page and "Retired keys were removed from the key file." in page
    again = admin.post("/server/encryption/prune", data={"key": list(old)})
    assert again.status_code == 409 and "There is no retired key to drop." in again.text


def test_nothing_a_stranger_wrote_becomes_html(admin: FlaskClient, house: House) -> None:
    in_database(lambda: tampered(house))
    house.orphan(99, "in", b"\x01\x01" + bytes(80))
    in_database(lambda: house.sql("UPDATE endpoint SET failure = '<script>x</script>'"))
    in_database(lambda: house.sql("UPDATE activity SET who = '<script>x</script>'"))
    assert "<script>x" not in admin.get("/server/encryption").text


def test_ten_thousand_failures_are_named_in_part(admin: FlaskClient, house: House) -> None:
    in_database(lambda: [house.add() for _ in range(60)])
    in_database(lambda: tampered(house))
    page = admin.get("/server/encryption").text
    assert page.count("changed outside Mailkeep") == 50 and "And 11 more" in page


@pytest.mark.parametrize("typed", ["x" * 1024, "<b>" * 300, "é" * 64, "0" * 63, "\x00", "--help"])
def test_a_wrong_answer_is_said_beside_its_field(admin: FlaskClient, house: House, typed: str) -> None:
    in_database(lambda: on(house))
    refused = admin.post("/server/encryption/backup", data={"answer": typed})
    assert refused.status_code == 422 and 'aria-invalid="true"' in refused.text
    assert "<b><b>" not in refused.text


def test_two_administrators_verify_and_change_at_once(admin: FlaskClient, app: Flask, house: House) -> None:
    in_database(lambda: on(house))
    stale = admin.get("/server/encryption/rotate").text
    shown = re.search(r'name="replaces" value="([0-9a-f-]{19})"', stale)
    page = admin.get("/server/encryption").text
    assert shown is not None
    in_database(house.rotate)  # the other one
    assert admin.post("/server/encryption/rotate", data={"replaces": shown[1]}).status_code == 303
    assert len(KeyFile.from_bytes(house.key_file.read_bytes()).keys) == 2
    copied_before = backup_proof.answer_for(NONCE.search(page)[1], b"the copy of before")  # type: ignore[index]
    refused = admin.post("/server/encryption/backup", data={"answer": copied_before})
    assert refused.status_code == 422 and "The copy differs from the current key file." in refused.text


def test_passwords_from_before_encryption_are_a_list_of_their_own(admin: FlaskClient, house: House) -> None:
    assert "No passwords" in admin.get("/server/encryption/passwords").text
    in_database(lambda: [house.add() for _ in range(55)])
    in_database(lambda: on(house))
    in_database(lambda: Encryption.update(enabled_at=db.now() - 100).execute())
    in_database(lambda: house.sql("UPDATE endpoint SET secret_set_at = ? WHERE id = 1", db.now()))
    url = "/server/encryption/passwords"
    page = admin.get(url).text
    assert page.count('<td class="main">') == 50 and "1–50 of 56" in page
    assert admin.get(f"{url}?page=2").text.count('<td class="main">') == 6
    assert admin.get(f"{url}?state=changed").text.count('<td class="main">') == 1
    found = admin.get(f"{url}?q=55@EXAMPLE").text
    assert found.count('<td class="main">') == 1
    for odd in ("q=%25", "q=" + "x" * 1024, "state=nonsense", "page=99999999999999", "q=%3Cb%3E"):
        assert admin.get(f"{url}?{odd}").status_code == 200


def test_turning_off_what_was_turned_off_meanwhile_says_so_on_the_page_of_today(
    admin: FlaskClient, house: House
) -> None:
    in_database(lambda: on(house))
    assert CODE.search(admin.get("/server/encryption/off").text)
    in_database(house.disable)  # the other administrator
    late = admin.post("/server/encryption/disable")
    assert late.status_code == 409 and "is not there yet" in late.text
    assert CODE.search(late.text) is None and "Turn on encryption" in late.text
    gone = admin.get("/server/encryption/off")
    assert gone.status_code == 200 and CODE.search(gone.text) is None


def test_passwords_that_cannot_be_decrypted_are_no_banner_but_a_mark_in_the_navigation(
    admin: FlaskClient, house: House
) -> None:
    in_database(lambda: tampered(house))
    page = admin.get("/people").text
    assert 'class="banner' not in page and '<span class="count bad">!' in page
