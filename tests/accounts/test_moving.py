"""Promises of mailboxes that change how they sign in, against real servers and a rogue one."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from panel import db
from panel.accounts import probe, service
from panel.accounts.auth import Oauth, Outside
from panel.accounts.service import Seen
from panel.audit import Actor
from panel.errors import CannotOpen, ConsentNeeded, MailError, OutsideSecretError
from panel.mail.server import MailServer
from panel.models import Account, Collection, Consent
from panel.models.collection import LONGEST_WAIT
from panel.secret import Secret
from panel.sending import service as sending
from tests.collect.conftest import PASSWORD, PostOffice, post  # noqa: F401
from tests.oauth.conftest import Office, office  # noqa: F401
from tests.running import Environ
from tests.servers.dovecot import DovecotServer
from tests.servers.hostile import RogueServer

ADA = Actor("ada@example.org")
MARKER = "outside-marker"


@pytest.fixture
def environ(environ: Environ, tmp_path: Path) -> Environ:
    (tmp_path / "secrets").mkdir(mode=0o700)
    return environ | {"PANEL_SECRETS_DIR": str(tmp_path / "secrets")}


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    return tmp_path / "secrets"


def keep(secrets: Path, name: str, secret: str, where: MailServer) -> None:
    (secrets / name).write_text(secret + "\n")
    (secrets / f"{name}.server").write_text(f"{where.host} {where.port} {where.username}\n")


def move(
    post: PostOffice, account: Account, how: Secret | Oauth | Outside, where: MailServer | None = None
) -> None:
    box = service.mailbox_of(Account.get_by_id(account.uuid))
    service.edit(post.vault, account.uuid, box, where, how, Seen(), ADA)


def test_a_mailbox_keeps_its_place_and_its_mail_when_it_moves(post: PostOffice, secrets: Path) -> None:
    """Nothing is delivered twice, and what came meanwhile is delivered."""
    post.encrypt()
    account = post.add(b"Subject: one\r\n\r\n1")
    assert post.collect(account).delivered == 1
    keep(secrets, "moves", PASSWORD, post.endpoint(account).server)
    move(post, account, Outside("moves"))
    post.deliver(account, b"Subject: two\r\n\r\n2")
    assert post.collect(account).delivered == 1
    move(post, account, Secret(PASSWORD))
    assert post.collect(account).delivered == 0
    assert len(post.mail(account)) == 2


def test_a_changed_outside_secret_counts_at_the_next_run(post: PostOffice, secrets: Path) -> None:
    post.encrypt()
    account = post.add(b"Subject: one\r\n\r\n1")
    keep(secrets, "changes", "not yet the right one", post.endpoint(account).server)
    move(post, account, Outside("changes"))
    with pytest.raises(Exception, match="refused"):
        post.collect(account)
    keep(secrets, "changes", PASSWORD, post.endpoint(account).server)
    assert post.collect(account).delivered == 1
    (secrets / "changes").chmod(0o666)
    with pytest.raises(OutsideSecretError):
        post.collect(account)
    assert "changed by other users" in str(post.row(account).problem)
    assert MARKER not in str(post.row(account).problem)


def test_an_outside_secret_is_in_no_file_of_ours(post: PostOffice, secrets: Path) -> None:
    """Neither after collecting with it, nor after its server refused it; nor is it in Activity or a problem."""
    post.encrypt()
    right, wrong = post.add(b"Subject: one\r\n\r\n1"), post.add()
    marker = "MARKER of an outside secret"
    post.dovecot.add_user(post.user(right), marker)
    for account, secret in ((right, marker), (wrong, marker)):
        keep(secrets, post.user(account), secret, post.endpoint(account).server)
        move(post, account, Outside(post.user(account)))
    assert post.collect(right).delivered == 1
    with pytest.raises(MailError):
        post.collect(wrong)
    steps = list(
        probe.run(
            [probe.stored(post.endpoint(wrong), post.settings, post.vault)], "INBOX", post.settings, ADA, ""
        )
    )
    assert not steps[-1].ok and "MARKER" not in str(steps)
    forms = [marker.encode(), base64.b64encode(marker.encode()), json.dumps(marker).encode()]
    code = "import sys, pathlib; print([str(p) for p in pathlib.Path(sys.argv[1]).rglob('*') if p.is_file() and any(bytes.fromhex(f) in p.read_bytes() for f in sys.argv[2:])])"
    found = subprocess.run(
        [sys.executable, "-c", code, post.settings.data_dir, *(form.hex() for form in forms)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stdout.strip() == "[]"


# -- a rogue server -------------------------------------------------------------------------


@pytest.fixture
def rogue() -> Iterator[RogueServer]:
    with RogueServer() as server:
        yield server


def at(port: int, username: str) -> MailServer:
    return MailServer("imap", "127.0.0.1", port, "none", username)


def test_a_stolen_session_gets_no_outside_secret_for_a_server_of_its_own(
    post: PostOffice, secrets: Path, rogue: RogueServer
) -> None:
    post.encrypt()
    post = post.reaching(rogue.port)
    victim = MailServer("imap", "imap.example.org", 993, "tls", "boss@example.org")
    keep(secrets, "boss", MARKER, victim)
    account = post.add()
    for username in ("boss@example.org", post.user(account)):
        move(post, account, Outside("boss"), at(rogue.port, username))
        with pytest.raises(OutsideSecretError, match=r"boss\.server does not list"):
            post.collect(account)
        with pytest.raises(OutsideSecretError):
            probe.stored(post.endpoint(account), post.settings, post.vault)
    assert rogue.connections == 0
    keep(secrets, "boss", MARKER, at(rogue.port, post.user(account)))  # the owner of the directory allows it
    post.collect(account)
    assert rogue.saw_login


def test_a_redirected_row_reads_no_file_and_asks_no_server(
    post: PostOffice, secrets: Path, rogue: RogueServer
) -> None:
    """Although the rogue server is pinned, too: the row must open first."""
    post.encrypt()
    account = post.add()
    user = post.user(account)
    keep(secrets, "mine", MARKER, post.endpoint(account).server)
    with (secrets / "mine.server").open("a") as pins:
        pins.write(f"127.0.0.1 {rogue.port} {user}\n")
    move(post, account, Outside("mine"))
    post = post.reaching(rogue.port)
    post.sql("UPDATE endpoint SET host = '127.0.0.1', port = ?, security = 'none'", rogue.port)
    with pytest.raises(CannotOpen):
        post.collect(account)
    assert rogue.connections == 0


# -- consents ----------------------------------------------------------------------------------


def test_a_mailbox_without_consent_is_not_tried_again_and_again(office: Office) -> None:
    from panel.collect import due
    from panel.collect.round import Collector

    account = office.add_mailbox(office.add_app())
    with pytest.raises(ConsentNeeded):
        Collector(office.settings, office.vault).collect(account.uuid)
    row = Collection.get_by_id(account.uuid)
    assert row.next_due_at - db.now() > LONGEST_WAIT - 60 and row.permanent
    assert due.accounts() == [] and office.asked() == 0
    due.make_due(account.uuid)
    assert [each.uuid for each in due.accounts()] == [account.uuid]


@pytest.fixture
def reaching(office: Office, oauth_dovecot: DovecotServer) -> Office:
    settings = replace(
        office.settings, mail_ports=frozenset(oauth_dovecot.ports), mail_ca_file=oauth_dovecot.ca_file
    )
    return replace(office, settings=settings)


def test_a_password_mailbox_moves_to_oauth_and_goes_on(
    reaching: Office, oauth_dovecot: DovecotServer
) -> None:
    """It keeps its cursor; the test of its connection shows the steps of the token too."""
    from panel.collect.round import Collector

    account = reaching.add_mailbox(app := reaching.add_app(), oauth_dovecot)
    reaching.connect(account)
    collector = Collector(reaching.settings, reaching.vault)
    oauth_dovecot.deliver(str(account.address), b"Subject: one\r\n\r\n1")
    first = collector.collect(account.uuid, force=True)
    assert first is not None and first.delivered == 1
    before = Collection.get_by_id(account.uuid)
    box = service.mailbox_of(account)
    service.edit(reaching.vault, account.uuid, box, None, Secret("no longer used"), Seen(), ADA)
    assert not Consent.select().exists()
    service.edit(reaching.vault, account.uuid, box, None, Oauth(str(app.name)), Seen(), ADA)
    reaching.connect(account)
    oauth_dovecot.deliver(str(account.address), b"Subject: two\r\n\r\n2")
    again = collector.collect(account.uuid, force=True)
    assert again is not None and again.delivered == 1
    assert Collection.get_by_id(account.uuid).uidvalidity == before.uidvalidity
    source = probe.stored(reaching.endpoint(account), reaching.settings, reaching.vault)
    steps = list(probe.run([source], "INBOX", reaching.settings, ADA, str(account.address)))
    assert [step.name for step in steps] == probe.plan([source]) == [
        "app", "token", "name", "connect", "tls", "login", "folder",
    ]  # fmt: skip
    assert all(step.ok for step in steps)


def test_one_consent_sends_too(reaching: Office, oauth_dovecot: DovecotServer) -> None:
    account = reaching.add_mailbox(app := reaching.add_app(), oauth_dovecot)
    where = replace(
        reaching.endpoint(account).server,
        protocol="smtp",
        port=oauth_dovecot.submission_port,
        security="starttls",
    )
    sending.store(reaching.vault, account.uuid, where, Oauth(str(app.name)), Seen(), ADA)
    assert Consent.select().count() == 1, "nobody had signed in yet, so it is the same one"
    reaching.connect(account)
    steps = list(sending.send_test(account.uuid, reaching.settings, reaching.vault, ADA))
    assert [step.name for step in steps][:2] == ["app", "token"]
    assert [step.message for step in steps if not step.ok] == []
