"""Two web processes, a worker and a shell at once: whatever one does to the key, the next save of the others obeys.

Four people save passwords over HTTP as fast as they can, while commands turn encryption on, change the
key, drop retired ones and turn it off again; a secret of every other kind is stored meanwhile. What a save was told to be stored is stored, under the key of that moment.
"""

from __future__ import annotations

import http.cookiejar
import re
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from panel import create_app, db
from panel.config import Settings
from panel.crypto.keyfile import KeyFile
from panel.models import SECRET_ROWS, Endpoint
from panel.vault.vault import Vault
from tests.encryption import kinds
from tests.encryption.conftest import House
from tests.encryption.kinds import Stored
from tests.running import Environ, PanelServer, flask
from tests.sign_in.browser import PASSWORD, add_person

PEOPLE = 4
LIMIT = 15  # seconds that one request may take


@dataclass
class Saver(threading.Thread):
    """One person who saves passwords of one account until told to stop."""

    url: str
    uuid: str
    address: str
    stored: list[str] = field(default_factory=list)  # as the panel said
    refused: int = 0
    trouble: str = ""
    number: int = 0
    enough: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)
        jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self._open = urllib.request.build_opener(jar, _Stay()).open

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        """Sign in, then save and save."""
        try:
            self._send("/login", self._token("/login"), email="admin@example.org", password=PASSWORD)
            while not self.enough.is_set():
                self._save()
        except (OSError, AssertionError) as error:
            self.trouble = repr(error)

    def _save(self) -> None:
        self.number += 1
        password = f"{self.uuid[:8]} password {self.number}"
        path = f"/accounts/{self.uuid}/edit"
        status, page = self._send(path, self._token(path), address=self.address, password=password, **FORM)
        if status == 303:
            self.stored.append(password)
        elif status in (409, 503):  # edited meanwhile; no key claimed yet
            self.refused += 1
        else:
            raise AssertionError(f"{status}: {page[-2000:]}")

    def _token(self, path: str) -> str:
        with self._open(self.url + path, timeout=LIMIT) as page:
            found = re.search(r'name="csrf_token" value="([^"]+)"', page.read().decode())
        assert found, path
        return found[1]

    def _send(self, path: str, token: str, **fields: str) -> tuple[int, str]:
        data = urllib.parse.urlencode({"csrf_token": token, **fields}).encode()
        try:
            with self._open(self.url + path, data, timeout=LIMIT) as page:
                return page.status, page.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


class _Stay(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer."""

    def redirect_request(self, *_: object) -> None:
        return None


FORM = {
    "protocol": "imap", "host": "imap.example.org", "port": "993", "security": "tls", "username": "support",
    "folder": "INBOX", "interval": "86400", "on_server": "keep",
}  # fmt: skip


@pytest.fixture
def house(panel_server: PanelServer, environ: Environ) -> House:
    """The install of the running server: an account for each of four people."""
    settings = Settings.load(environ)
    create_app(settings)
    add_person("admin@example.org", "admin")
    house = House(settings, Vault.of(settings, db.database))
    with db.database.connection_context():
        for number in range(PEOPLE):
            endpoint = house.add(f"password {number}", username="support")
            house.sql("UPDATE account SET paused_at = 1 WHERE uuid = ?", endpoint.account_id)
    return house


@pytest.mark.reliability
@pytest.mark.timeout(600)
def test_every_process_obeys_the_key_of_the_moment(
    house: House, panel_server: PanelServer, environ: Environ, tmp_path: Path,
    record_property: Callable[[str, object], None], pytestconfig: pytest.Config,
) -> None:  # fmt: skip
    with db.database.connection_context():
        savers = [Saver(panel_server.url, str(e.account_id), e.account.address) for e in Endpoint.select()]
        for saver in savers:
            saver.start()
        changes = 0
        for _ in range(10 if pytestconfig.getoption("--long") else 1):
            others: dict[str, Stored] = {}
            for command, promise in COMMANDS:
                if command[0] == "disable":
                    assert flask(environ, "encryption", *command).returncode == 3  # while these are stored
                    assert kinds.opened(house, others) == kinds.secrets(others)
                    for stored in others.values():
                        stored.row.delete_instance()
                done = flask(environ, "encryption", *command)
                assert done.returncode == 0, done.stdout + done.stderr
                promise(house)
                changes += 1
                if command[0] == "enable":
                    others = {name: kinds.add(name, str(changes)) for name in kinds.OTHERS}
        for saver in savers:
            saver.enough.set()
        for saver in savers:
            saver.join(3 * LIMIT)
            assert saver.trouble == "", panel_server.log[-3000:]
        for saver in savers:
            row = Endpoint.get(Endpoint.account == saver.uuid)
            assert house.opened(row) == saver.stored[-1]
    saves = sum(len(saver.stored) for saver in savers)
    assert saves > 20
    record_property("reliability", {
        "table": "races", "row": f"HTTP saves while the shell made {changes} changes of the key",
        "column": "tried", "tried": saves,
    })  # fmt: skip


def all_sealed_under_todays_key(house: House) -> None:
    primary = KeyFile.from_bytes(house.key_file.read_bytes()).primary.id
    for model in SECRET_ROWS:
        rows = house.sql(f"SELECT clear, substr(sealed, 3, 8) FROM {model._meta.table_name}")
        assert set(rows) <= {(None, primary)}
    assert house.sql("SELECT count(*) FROM endpoint WHERE kind = 'password'") == [(PEOPLE,)]


def all_in_clear(house: House) -> None:
    assert house.sql("SELECT count(*) FROM endpoint WHERE sealed IS NOT NULL") == [(0,)]


COMMANDS: list[tuple[list[str], Callable[[House], None]]] = [
    (["enable", "--understand-key-loss", "--backup-prepared"], all_sealed_under_todays_key),
    (["rotate"], all_sealed_under_todays_key),
    (["rotate"], all_sealed_under_todays_key),
    (["key", "prune", "--confirm", "drop 2 keys"], all_sealed_under_todays_key),
    (["disable", "--yes"], all_in_clear),
]
