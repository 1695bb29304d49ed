"""Collecting over POP3: each message once, although POP3 names them by strings in no order."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from panel import create_app, db, install
from panel.config import Settings
from panel.errors import MailError
from panel.models import Account, Uidl
from panel.secret import Secret
from tests.collect.conftest import PASSWORD, PostOffice, letter
from tests.collect.test_once import KILL_AT
from tests.running import Environ
from tests.servers.dovecot import DovecotServer

LETTERS = [letter(number) for number in range(8)]


@pytest.fixture
def post(environ: Environ, dovecot: DovecotServer) -> Iterator[PostOffice]:
    environ["PANEL_MAIL_CA_FILE"] = str(dovecot.ca_file)
    environ["PANEL_MAIL_PORTS"] = f"{dovecot.pop3_port},{dovecot.pop3_starttls_port},{dovecot.tls_port}"
    settings = Settings.load(environ)
    install.prepare(settings)
    create_app(settings)
    with db.database.connection_context():
        yield PostOffice(environ, settings, dovecot)


def add(post: PostOffice, *messages: bytes, begin: str = "all", **over: object) -> Account:
    over = {"protocol": "pop3", "port": post.dovecot.pop3_port} | over
    return post.add(*messages, begin=begin, **over)


@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_all_mail_comes_in_byte_for_byte_and_once(post: PostOffice, security: str) -> None:
    port = post.dovecot.pop3_port if security == "tls" else post.dovecot.pop3_starttls_port
    account = add(post, *LETTERS, port=port, security=security)
    assert post.collect(account).delivered == len(LETTERS)
    assert post.collect(account).delivered == 0
    post.deliver(account, letter(50))
    assert post.collect(account).delivered == 1
    assert post.mail(account) == sorted([*LETTERS, letter(50)])


def test_with_begin_now_only_what_comes_later_is_collected(post: PostOffice) -> None:
    account = add(post, *LETTERS, begin="now")
    assert post.collect(account).delivered == 0
    post.deliver(account, letter(50))
    post.collect(account)
    assert post.mail(account) == [letter(50)]


def test_mail_that_others_delete_on_the_server_changes_nothing_here(post: PostOffice) -> None:
    account = add(post, *LETTERS)
    post.collect(account)
    for path in (post.dovecot.maildir(post.user(account)) / "cur").iterdir():
        path.unlink()
    for path in (post.dovecot.maildir(post.user(account)) / "new").iterdir():
        path.unlink()
    post.deliver(account, letter(60))
    assert post.collect(account).delivered == 1
    assert Uidl.select().where(Uidl.gone_at.is_null()).count() == 1


def test_it_can_be_deleted_on_the_server_once_it_is_safe_here(post: PostOffice) -> None:
    account = add(post, *LETTERS)
    Account.update(on_server="delete").execute()
    post.collect(account)
    assert post.mail(account) == sorted(LETTERS)
    assert not [
        path
        for part in ("cur", "new")
        for path in (post.dovecot.maildir(post.user(account)) / part).iterdir()
    ]
    post.deliver(account, letter(70))
    assert post.collect(account).delivered == 1


@pytest.mark.parametrize(
    ("step", "when", "number"),
    [("write", "after", 3), ("_insert", "after", 1), ("publish", "before", 1), ("rename", "after", 3)],
)
def test_a_kill_loses_and_doubles_nothing(post: PostOffice, step: str, when: str, number: int) -> None:
    account = add(post, *LETTERS)
    Account.update(on_server="delete").execute()
    process = post.python(KILL_AT, step, when, str(number), account.uuid)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, output
    post.collect(account)
    assert post.mail(account) == sorted(LETTERS)


def test_new_names_for_all_messages_deliver_none_twice(post: PostOffice) -> None:
    account = add(post, *LETTERS)
    post.collect(account)
    post.dovecot.new_uidvalidity(post.user(account))  # Dovecot makes its unique-ids of it
    post.deliver(account, letter(90))
    assert post.collect(account).delivered == 1
    assert post.mail(account) == sorted([*LETTERS, letter(90)])


def test_a_kill_between_new_names_and_a_new_cursor_loses_nothing(post: PostOffice) -> None:
    account = add(post, *LETTERS)
    post.collect(account)
    post.dovecot.new_uidvalidity(post.user(account))
    post.deliver(account, letter(90))
    process = post.python(KILL_AT, "_number", "after", "1", account.uuid)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, output
    post.collect(account)
    assert post.mail(account) == sorted([*LETTERS, letter(90)])


def test_the_same_mailbox_over_imap_delivers_none_twice(post: PostOffice) -> None:
    account = add(post, *LETTERS)
    post.collect(account)
    endpoint = post.endpoint(account)
    endpoint.protocol, endpoint.port, endpoint.secret = "imap", post.dovecot.tls_port, Secret(PASSWORD)
    endpoint.save()
    post.deliver(account, letter(80))
    assert post.collect(account).delivered == 1
    assert post.mail(account) == sorted([*LETTERS, letter(80)])


def test_a_message_above_the_limit_is_listed_and_the_others_come(
    post: PostOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "panel.mail.policy.Policy.of",
        classmethod(lambda cls, s: cls(s.mail_ports, (), s.mail_ca_file, max_message=10_000)),
    )
    account = add(post, *LETTERS, letter(99, b"x" * 20_000 + b"\r\n"))
    post.collect(account)
    assert post.mail(account) == sorted(LETTERS)
    [skipped] = post.skipped(account)
    assert skipped.size > 20_000 and "Larger" in skipped.reason


def test_what_pop3_cannot_do_is_said(post: PostOffice) -> None:
    account = add(post, *LETTERS)
    Account.update(on_server="seen").execute()
    with pytest.raises(MailError, match="POP3 cannot mark mail as read"):
        post.collect(account)
    assert post.mail(account) == sorted(LETTERS)
