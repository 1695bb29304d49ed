"""Every bad day of the key, walked in the browser: what is paused, what was found and expected, what to type.

`script/screenshots` photographs each of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from panel import create_app, db
from panel.audit import Actor
from panel.config import Settings
from panel.crypto.keyfile import KeyFile, fingerprint
from panel.models import Endpoint
from panel.vault import retired_keys, turn_on
from panel.vault.state import State
from panel.vault.vault import Vault
from tests.browser.fixtures import Photograph
from tests.browser.served import served
from tests.disks import disk, remedy, spoil
from tests.encryption.conftest import House
from tests.installs import BOTH
from tests.running import Environ, PanelServer, wait_until
from tests.sign_in.browser import PASSWORD, add_person

pytestmark = pytest.mark.browser
PAUSED = "Collecting mail is paused"


@dataclass(frozen=True)
class Day:
    """What happened to the key file, and what the page must say then."""

    happens: Callable[[Path], object]
    title: str
    says: tuple[str, ...]


def bent(change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(change(path.read_bytes()))


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir(mode=0o700)


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


UNUSABLE, WRONG = "The key file cannot be used", "This is not the right key file"
DAYS = {
    "missing": Day(lambda path: path.unlink(), "The key file is missing", ("Expected", "install -m 600")),
    "truncated": Day(bent(lambda b: b[:100]), UNUSABLE, ("its checksum does not match", "install -m 600")),
    "empty": Day(bent(lambda b: b""), UNUSABLE, ("it is empty", "install -m 600")),
    "a bit flipped": Day(bent(lambda b: b[:99] + bytes([b[99] ^ 4]) + b[100:]), UNUSABLE, ("damaged", "install -m 600")),
    "line ends converted": Day(
        bent(lambda b: b.replace(b"\r\n", b"\n")), UNUSABLE, ("line ends were converted", "backup")
    ),
    "wrong mode": Day(lambda path: path.chmod(0o644), UNUSABLE, ("mode 0644", "chmod 600")),
    "wrong owner": Day(lambda path: os.chown(path, 12345, 12345), UNUSABLE, ("another user", "sudo chown")),
    "a symbolic link": Day(link, UNUSABLE, ("is a symbolic link", "cp --remove-destination")),
    "a FIFO": Day(fifo, UNUSABLE, ("is not a regular file", "mv ", "install -m 600")),
    "a directory": Day(directory, UNUSABLE, ("is not a regular file", "mv ", "install -m 600")),
    "of another install": Day(
        bent(lambda b: KeyFile.generate(b"x" * 16).to_bytes()), WRONG, ("belongs to another install", "Found")
    ),
}  # fmt: skip


@pytest.fixture
def house(panel_server: PanelServer, environ: Environ) -> House:
    """The install of the running server: two mailboxes, encryption on."""
    settings = Settings.load(environ)
    create_app(settings)
    house = House(settings, Vault.of(settings, db.database))
    add_person("admin@example.org", "admin")
    with db.database.connection_context():
        house.add("password 0")
        house.add("password 1")
    return house


@pytest.fixture
def admin(house: House, panel_server: PanelServer, page: Page) -> Page:
    page.goto(f"{panel_server.url}/login")
    page.get_by_label("Email address").fill("admin@example.org")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda url: "/login" not in url)
    return page


def put_back(house: House, good: bytes) -> None:
    path = house.key_file
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    path.unlink(missing_ok=True)
    house.keystore.create(KeyFile.from_bytes(good))


def test_whatever_happens_to_the_key_file_the_page_says_what_is_paused_and_what_to_type(
    house: House, admin: Page, panel_server: PanelServer, photograph: Photograph
) -> None:
    with db.database.connection_context():
        house.enable()
    good = house.key_file.read_bytes()
    expected = fingerprint(KeyFile.from_bytes(good).primary.id)
    for name, day in DAYS.items():
        day.happens(house.key_file)
        admin.goto(f"{panel_server.url}/server/encryption")
        main = admin.locator("main")
        expect(main.get_by_role("heading", name=day.title)).to_be_visible()
        for words in (PAUSED, expected, *day.says):
            expect(main).to_contain_text(words)
        expect(main.get_by_role("button", name="Generate Key File")).to_have_count(0)
        photograph(admin, name)
        put_back(house, good)
        admin.goto(f"{panel_server.url}/server/encryption")
        expect(main).to_contain_text("2 of 2")
    with db.database.connection_context():
        assert [house.opened(e) for e in Endpoint.select().order_by(Endpoint.id)] == [
            "password 0",
            "password 1",
        ]


def test_a_key_that_goes_missing_while_a_sweep_runs_stops_it_and_it_goes_on_when_the_key_is_back(
    house: House, admin: Page, panel_server: PanelServer, photograph: Photograph
) -> None:
    with db.database.connection_context():
        house.sql("UPDATE endpoint SET clear = char(97, 0, 98) WHERE id = 1")  # keeps it from ending
        turn_on.turn_on(house.vault, BOTH, Actor())
        wait_until(
            lambda: house.sql("SELECT sealed FROM endpoint WHERE id = 2") != [(None,)],
            "the worker to have sealed the other one",
        )
    good = house.key_file.read_bytes()
    house.key_file.unlink()
    admin.goto(f"{panel_server.url}/server/encryption")
    expect(admin.locator("main")).to_contain_text(PAUSED)
    photograph(admin, "missing while a sweep runs")
    put_back(house, good)
    admin.goto(f"{panel_server.url}/server/encryption")
    expect(admin.locator("main")).to_contain_text("Encrypting stored passwords")


def test_an_older_database_is_read_through_the_retired_key_and_moved_on(
    house: House, admin: Page, panel_server: PanelServer, photograph: Photograph
) -> None:
    with db.database.connection_context():
        house.enable()
        records = house.sql("SELECT sealed, id FROM endpoint")
        (active,) = house.sql("SELECT active_key_id FROM encryption")[0]
        house.rotate()
        older_database(house, records, active)
        wait_until(lambda: house.state is State.ON, "the worker to have moved the records on")
    admin.goto(f"{panel_server.url}/server/encryption")
    expect(admin.locator("main")).to_contain_text("2 of 2")


def older_database(house: House, records: list[tuple[bytes, int]], active: bytes) -> None:
    for sealed, row in records:
        house.sql("UPDATE endpoint SET sealed = ? WHERE id = ?", sealed, row)
    house.sql("UPDATE encryption SET active_key_id = ?", active)


def test_a_database_that_needs_a_dropped_key_and_a_key_file_that_is_too_old_name_the_key_that_lacks(
    house: House, admin: Page, panel_server: PanelServer, photograph: Photograph
) -> None:
    with db.database.connection_context():
        house.enable()
        old_file = house.key_file.read_bytes()
        records = house.sql("SELECT sealed, id FROM endpoint")
        (active,) = house.sql("SELECT active_key_id FROM encryption")[0]
        house.rotate()
        retired_keys.prune(house.vault, Actor())
    new_file = house.key_file.read_bytes()
    put_back(house, old_file)
    admin.goto(f"{panel_server.url}/server/encryption")
    main = admin.locator("main")
    expect(main.get_by_role("heading", name=WRONG)).to_be_visible()
    for words in (
        PAUSED,
        fingerprint(KeyFile.from_bytes(new_file).primary.id),
        fingerprint(active),
        "key add",
    ):
        expect(main).to_contain_text(words)
    photograph(admin, "newer database, older key file")
    put_back(house, new_file)
    with db.database.connection_context():
        older_database(house, records, active)
    admin.goto(f"{panel_server.url}/server/encryption")
    for words in (PAUSED, "flask encryption key add", fingerprint(active)):
        expect(main).to_contain_text(words)
    photograph(admin, "older database, pruned key file")


# -- where the key cannot be written -------------------------------------------------


@pytest.mark.parametrize(
    ("trouble", "says", "mended_by"),
    [
        ("full disk", "The disk that the database is on is full or broken", "free some space"),
        ("read-only disk", "The database cannot be written", "whether its disk is writable"),
    ],
)
def test_a_data_directory_that_takes_no_writes_is_named_on_every_page_and_all_goes_on_once_it_does(
    tmp_path: Path, browser: Browser, trouble: str, says: str, mended_by: str, photograph: Photograph
) -> None:
    with disk(tmp_path / "disk", "4m") as place, served(place) as site, browser.new_page() as page:
        with db.database.connection_context():
            site.house.enable()
        site.sign_in(page)
        spoil(place, trouble)
        for path in ("/", "/server/encryption", "/accounts", "/login", "/status"):
            answer = page.goto(site.url + path)
            assert answer is not None
            assert answer.status == 503
            expect(page.locator("main")).to_contain_text(says)
            expect(page.locator("main")).to_contain_text(mended_by)
        photograph(page, f"data directory on a {trouble}")
        remedy(place)
        page.goto(f"{site.url}/server/encryption")
        expect(page.locator("main")).to_contain_text("2 of 2")


class TestWhereTheKeyCannotBeWritten:
    @pytest.fixture
    def environ(self, environ: Environ, small_disk: Path) -> Environ:
        return environ | {"PANEL_KEY_FILE": str(small_disk / "encryption-key.bin")}

    @pytest.mark.parametrize("trouble", ["full disk", "read-only disk"])
    def test_turning_on_is_refused_with_the_reason_and_nothing_is_changed(
        self, house: House, admin: Page, panel_server: PanelServer, small_disk: Path, trouble: str,
        photograph: Photograph,
    ) -> None:  # fmt: skip
        spoil(small_disk, trouble)
        admin.goto(f"{panel_server.url}/server/encryption")
        admin.get_by_label("I understand that losing").check()
        admin.get_by_label("I have prepared").check()
        admin.get_by_role("button", name="Generate Key File").click()
        problem = admin.get_by_role("alert")
        expect(problem).to_contain_text("does not take the file encryption-key.bin")
        expect(problem).to_contain_text("no space left" if trouble == "full disk" else "read-only")
        expect(problem).to_contain_text("correct its permissions, then try again.")
        photograph(admin, trouble)
        with db.database.connection_context():
            assert house.state is State.OFF
        assert not house.key_file.exists()
