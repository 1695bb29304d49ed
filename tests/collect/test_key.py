"""Collecting with sealed passwords: the key away, a record that does not open, a database edited."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from panel.errors import CannotOpen, KeyAbsent
from panel.models import Account
from tests.collect.conftest import PostOffice, due_uuids, letter
from tests.running import Environ, flask
from tests.servers.hostile import RogueServer


def once(environ: Environ) -> tuple[int, str]:
    done = flask(environ, "collect", "--once")
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def rogue() -> Iterator[RogueServer]:
    with RogueServer() as server:
        yield server


@pytest.fixture
def sealed(post: PostOffice) -> Account:
    account = post.add(letter(1))
    post.encrypt()
    return account


def test_a_sealed_password_logs_in(post: PostOffice, sealed: Account) -> None:
    assert post.collect(sealed).delivered == 1


def test_without_the_key_file_collecting_pauses_without_blame_and_goes_on_by_itself(
    post: PostOffice, sealed: Account
) -> None:
    aside = post.settings.key_file.with_name("aside")
    post.settings.key_file.rename(aside)
    with pytest.raises(KeyAbsent):
        post.collect(sealed)
    row = post.row(sealed)
    assert (row.problem, row.failures, row.next_due_at, row.leased_by) == (None, 0, 0, None)
    status, output = once(post.environ)
    assert status == 1
    assert "Collecting is paused. The encryption key file is missing." in output
    aside.rename(post.settings.key_file)
    status, output = once(post.environ)
    assert (status, len(post.mail(sealed))) == (0, 1)


def test_one_account_that_does_not_open_pauses_alone(post: PostOffice, sealed: Account) -> None:
    other = post.add(letter(2))
    post.sql("UPDATE endpoint SET sealed = substr(sealed, 1, length(sealed) - 1)"
             " WHERE account_id = ?", sealed.uuid)  # fmt: skip
    status, output = once(post.environ)
    assert status == 1
    assert sealed.address in output
    assert post.mail(other) == [letter(2)]
    assert post.row(other).problem is None
    row = post.row(sealed)
    assert row.problem and row.permanent
    assert due_uuids() == []


@pytest.mark.parametrize("column", ["host", "port", "security", "username"])
def test_an_endpoint_edited_by_sql_is_refused_and_named_and_no_server_sees_a_login(
    post: PostOffice, sealed: Account, rogue: RogueServer, column: str
) -> None:
    value = {"host": "127.0.0.1", "port": rogue.port, "security": "none", "username": "other"}[column]
    post.sql(f"UPDATE endpoint SET {column} = ? WHERE account_id = ?", value, sealed.uuid)
    with pytest.raises(CannotOpen):
        post.reaching(post.dovecot.tls_port, rogue.port).collect(sealed)
    assert post.row(sealed).problem
    assert not rogue.connections and not rogue.saw_login


def test_a_whole_endpoint_redirected_by_sql_shows_the_rogue_server_no_login(
    post: PostOffice, sealed: Account, rogue: RogueServer
) -> None:
    post.sql("UPDATE endpoint SET host = '127.0.0.1', port = ?, security = 'none'", rogue.port)
    with pytest.raises(CannotOpen):
        post.reaching(rogue.port).collect(sealed)
    assert not rogue.connections


def test_the_rogue_server_would_see_a_login_if_a_person_had_chosen_it(
    post: PostOffice, rogue: RogueServer
) -> None:
    account = post.add(host="127.0.0.1", port=rogue.port, security="none")
    post.reaching(rogue.port).collect(account)
    assert rogue.saw_login


def test_two_records_swapped_by_sql_are_both_refused(post: PostOffice, sealed: Account) -> None:
    other = post.add(letter(2))
    records = {a.uuid: bytes(post.endpoint(a).sealed.record) for a in (sealed, other)}
    for mine, theirs in ((sealed, other), (other, sealed)):
        post.sql("UPDATE endpoint SET sealed = ? WHERE account_id = ?", records[theirs.uuid], mine.uuid)
    for account in (sealed, other):
        with pytest.raises(CannotOpen):
            post.collect(account)
