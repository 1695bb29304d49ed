"""What strangers, other mailboxes' helpdesks and writers of the database cannot do."""

from __future__ import annotations

import base64
import os
import random
import smtplib
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from panel import db
from panel.audit import Actor
from panel.errors import CannotStore, Refused
from panel.models import Account, Activity, SubmissionPassword
from panel.secret import Secret
from panel.sending import service as sending
from panel.sign_in import throttle
from panel.submission import passwords, server, service
from panel.submission.server import owner_of
from panel.vault import credential
from panel.vault.vault import Vault
from tests.running import wait_until
from tests.submission.conftest import ADDRESS, MESSAGE, UPSTREAM_PASSWORD, Desk, add_mailbox
from tests.submission.sink import Sink

ADA, OTHER = "ada@example.net", "boss@example.org"


def login(desk: Desk, password: str, address: str = ADDRESS) -> int:
    with desk.client() as client:
        client.ehlo()
        response = base64.b64encode(f"\0{address}\0{password}".encode()).decode()
        return client.docmd("AUTH", f"PLAIN {response}")[0]


def add_other(desk: Desk, sink: Sink, address: str = OTHER) -> tuple[str, str]:
    """Another mailbox; its uuid and submission password."""
    with db.database.connection_context():
        uuid = add_mailbox(desk.house, address, "127.0.0.1", sink.port, "another", security="none")
        return uuid, passwords.create(uuid, [], Actor()).reveal()


# -- guessing ----------------------------------------------------------------------------


def test_guessing_ends_after_ten_tries_and_locks_nobody_else_out(
    sinking: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = iter(["1001"] * 12 + ["33"])
    monkeypatch.setattr(service, "owner_of", lambda connection: next(users))
    assert [login(sinking, f"guess {number}") for number in range(11)] == [535] * 10 + [454]
    assert login(sinking, sinking.password) == 454  # not even the right one tells the guesser anything
    assert login(sinking, sinking.password) == 235  # of the helpdesk's user


def test_a_wrong_password_that_a_client_sends_in_two_ways_counts_once(sinking: Desk) -> None:
    for number in range(9):
        with sinking.client() as client, pytest.raises(smtplib.SMTPAuthenticationError):
            client.login(ADDRESS, f"wrong {number}")  # by PLAIN, then by LOGIN
    assert login(sinking, sinking.password) == 235


def test_many_that_sign_in_at_once_are_no_guesses(sinking: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    opening = threading.Semaphore(1)
    real = credential.open_row

    def alone(row: SubmissionPassword, vault: Vault) -> Secret:
        assert opening.acquire(blocking=False), "another one is counted as wrong until it was checked"
        time.sleep(0.05)
        opening.release()
        return real(row, vault)

    monkeypatch.setattr(credential, "open_row", alone)
    with ThreadPoolExecutor(15) as pool:
        assert list(pool.map(lambda _: login(sinking, sinking.password), range(15))) == [235] * 15


def test_clients_that_come_all_at_once_are_all_served(
    sinking: Desk, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "SIGN_IN_SECONDS", 60)  # however busy this machine is
    names = [add_other(sinking, sink, f"{number}@example.org") for number in range(5)]

    def send(number: int) -> None:
        address, password = f"{number % 5}@example.org", names[number % 5][1]
        with sinking.client(timeout=60) as client:
            client.login(address, password)
            message = MESSAGE.replace(ADDRESS.encode(), address.encode()) + f"{number}\r\n".encode()
            client.sendmail(address, [ADA], message)

    with ThreadPoolExecutor(90) as pool:
        list(pool.map(send, range(90)))
    assert len(sink.handed) == 90


def test_guessing_for_ever_other_mailboxes_ends_too_and_keeps_the_rows_of_others(
    sinking: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each wrong password is a row, and the oldest rows are deleted: those of the panel's own sign-in too."""
    users = iter(["1001"] * 6 + ["33"])
    monkeypatch.setattr(service, "owner_of", lambda connection: next(users))
    monkeypatch.setattr(throttle, "PER_OWNER", 5)
    said = [login(sinking, "guess", f"{number}@example.org") for number in range(6)]
    assert said == [535] * 5 + [454]
    assert login(sinking, sinking.password) == 235


def test_a_new_password_ends_what_was_counted_against_the_last(sinking: Desk) -> None:
    old = sinking.password
    assert {login(sinking, "wrong") for _ in range(11)} == {535, 454}
    sinking.new_password()
    assert (login(sinking, old), login(sinking, sinking.password)) == (535, 235)


def test_the_kernel_says_whose_program_connects(sinking: Desk) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as six,
    ):
        for one in (listening, six):
            with socket.create_connection(one.getsockname()[:2]), one.accept()[0] as accepted:
                assert owner_of(accepted) == str(os.getuid())


@pytest.mark.parametrize("password", ["", UPSTREAM_PASSWORD, " ", "\N{KEY}", "x" * 1024, "--leading"])
def test_no_other_password_signs_in(sinking: Desk, password: str) -> None:
    assert login(sinking, password) == 535
    assert login(sinking, sinking.password, "nobody@example.org") == 535
    assert login(sinking, sinking.password, "") == 535


def test_a_password_is_long_and_random_and_never_stored_or_logged(
    sinking: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    assert len(sinking.password) == 32 and len(set(sinking.new_password()) | set(sinking.password)) > 10
    assert login(sinking, sinking.password) == 235
    assert sinking.house.files_with(sinking.password) == []
    assert sinking.password not in caplog.text
    with db.database.connection_context():
        assert [row.what for row in Activity.select().where(Activity.what.startswith("subm"))][-1] == (
            "submission password created"
        )


# -- senders of others -------------------------------------------------------------------


@pytest.mark.parametrize("envelope", [OTHER, "help@example.org.evil.example", "x@y.z"])
def test_no_other_envelope_sender_is_relayed(sinking: Desk, sink: Sink, envelope: str) -> None:
    add_other(sinking, sink)
    with sinking.signed_in() as client:
        code, text = client.mail(envelope)
        assert (code, text.startswith(b"5.7.1")) == (553, True)
    assert sink.logins == []


def test_no_other_from_is_sent_and_no_word_of_it_reaches_the_provider(sinking: Desk, sink: Sink) -> None:
    add_other(sinking, sink)
    for header in (
        b"From: boss@example.org",
        b"From: help@example.org\r\nSender: boss@example.org",
        b"Subject: x",
    ):
        with sinking.signed_in() as client, pytest.raises(smtplib.SMTPDataError):
            client.sendmail(ADDRESS, [ADA], header + b"\r\n\r\nhi\r\n")
        with sinking.signed_in() as client, pytest.raises(smtplib.SMTPDataError):
            client.sendmail("", [ADA], header + b"\r\n\r\nhi\r\n")
    assert sink.handed == []


def test_a_listed_alias_may_be_sent_from(sinking: Desk, sink: Sink) -> None:
    sinking.new_password("Sales@Example.org", "büro@bücher.example")
    with sinking.signed_in() as client:
        client.sendmail("sales@example.org", [ADA], MESSAGE.replace(b"help@", b"sales@"))
        client.sendmail(
            ADDRESS, [ADA], MESSAGE.replace(b"help@example.org", "büro@xn--bcher-kva.example".encode())
        )
    assert [one.sender for one in sink.handed] == ["sales@example.org", ADDRESS]


# -- writers of the database -------------------------------------------------------------

STATEMENTS = [
    "UPDATE submission_password SET sealed = (SELECT sealed FROM submission_password WHERE account_id = :b) WHERE account_id = :a",
    "UPDATE submission_password SET sealed = (SELECT sealed FROM submission_password WHERE account_id = :b),"
    " uid = 'x' || uid WHERE account_id = :a",
    "DELETE FROM submission_password WHERE account_id = :a;UPDATE submission_password SET account_id = :a WHERE account_id = :b",
    "UPDATE submission_password SET sealed = X'00' WHERE account_id = :a",
    "UPDATE submission_password SET sealed = NULL WHERE account_id = :a",
    "UPDATE submission_password SET sealed = (SELECT sealed FROM endpoint WHERE account_id = :a AND direction = 'out') WHERE account_id = :a",
    "PRAGMA ignore_check_constraints = ON;UPDATE submission_password SET sealed = NULL, clear = 'planted' WHERE account_id = :a",
]  # fmt: skip


@pytest.mark.parametrize("statements", STATEMENTS, ids=range(len(STATEMENTS)))
def test_who_replaces_the_row_cannot_send_as_the_mailbox(sinking: Desk, sink: Sink, statements: str) -> None:
    uuid, known = add_other(sinking, sink)
    with db.database.connection_context():
        for statement in statements.split(";"):
            db.database.execute_sql(statement, {"a": sinking.uuid, "b": uuid})
    for password in (known, "planted", UPSTREAM_PASSWORD, "", "another"):
        assert login(sinking, password) in (454, 535)


def test_aliases_edited_by_sql_are_not_believed(sinking: Desk) -> None:
    with db.database.connection_context():
        db.database.execute_sql("UPDATE submission_password SET aliases = 'boss@example.org'")
    assert login(sinking, sinking.password) == 454


def test_an_address_edited_by_sql_sends_nothing(sinking: Desk, sink: Sink) -> None:
    with db.database.connection_context():
        db.database.execute_sql("UPDATE account SET address = 'boss@example.org'")
    with sinking.client() as client:
        client.login(OTHER, sinking.password)
        assert client.mail(OTHER)[0] == 451
    assert sink.logins == []


def test_a_server_edited_by_sql_sees_no_login(sinking: Desk, sink: Sink) -> None:
    with Sink() as rogue, sinking.signed_in() as client:
        with db.database.connection_context():
            db.database.execute_sql("UPDATE endpoint SET port = ? WHERE direction = 'out'", (rogue.port,))
        assert client.mail(ADDRESS)[0] == 451
        assert rogue.logins == []


def test_without_its_key_nothing_is_sent_and_nobody_is_locked_out(sinking: Desk, sink: Sink) -> None:
    away = sinking.house.key_file.rename(sinking.house.data / "away.bin")
    assert [login(sinking, sinking.password) for _ in range(12)] == [454] * 12
    with sinking.client() as client, pytest.raises(smtplib.SMTPAuthenticationError) as raised:
        client.login(ADDRESS, sinking.password)
    assert b"key" in raised.value.smtp_error and b"/" not in raised.value.smtp_error
    away.rename(sinking.house.key_file)
    assert login(sinking, sinking.password) == 235


def test_a_removed_mailbox_sends_nothing(sinking: Desk) -> None:
    with db.database.connection_context():
        Account.update(removed_at=db.now()).execute()
    assert login(sinking, sinking.password) == 535


@pytest.mark.parametrize("how", ["replaced", "deleted", "mailbox removed", "server deleted"])
def test_who_is_signed_in_sends_nothing_more_once_the_password_has_ended(
    sinking: Desk, sink: Sink, how: str
) -> None:
    with sinking.signed_in() as client:
        client.sendmail(ADDRESS, [ADA], MESSAGE)
        if how == "replaced":
            sinking.new_password()
        with db.database.connection_context():
            if how == "deleted":
                passwords.remove(sinking.uuid, Actor())
            if how == "mailbox removed":
                Account.update(removed_at=db.now()).execute()
            if how == "server deleted":
                sending.remove(sinking.uuid, Actor())
        assert client.mail(ADDRESS)[0] == 421
    assert len(sink.handed) == 1


# -- what the provider says --------------------------------------------------------------


def test_the_provider_cannot_tell_the_helpdesk_the_mailboxs_password(sinking: Desk, sink: Sink) -> None:
    echo = UPSTREAM_PASSWORD.encode()
    for verb in ("MAIL", "RCPT", "DATA", ".", "RSET"):
        sink.replies = {verb: b"550-5.1.0 %s\r\n550 5.1.0 %s" % (echo, base64.b64encode(echo))}
        with sinking.client() as client:
            client.set_debuglevel(0)
            client.login(ADDRESS, sinking.password)
            said = [client.mail(ADDRESS), client.rcpt(ADA)]
            if client.docmd("DATA")[0] == 354:
                client.send(MESSAGE + b".\r\n")
                said.append(client.getreply())
            said.append(client.rset())
        text = b" ".join(text for _, text in said)
        assert echo not in text and base64.b64encode(echo) not in text


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA", "."])
@pytest.mark.parametrize("reply", [b"450 4.2.1 x", b"550 x", b"399 x", b"nonsense", b"250-\xff\r\n999 x"])
def test_whatever_the_provider_says_the_client_gets_smtp(
    sinking: Desk, sink: Sink, verb: str, reply: bytes
) -> None:
    sink.replies[verb] = reply
    with sinking.signed_in() as client, pytest.raises(smtplib.SMTPException) as raised:
        client.sendmail(ADDRESS, [ADA], MESSAGE)
    code = next(
        iter(getattr(raised.value, "recipients", {}).values()), (getattr(raised.value, "smtp_code", 0),)
    )[0]
    assert code == (550 if reply == b"550 x" else 450 if reply.startswith(b"450") else 451)
    assert sink.handed == []


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA"])
def test_no_reply_to_another_command_is_taken_for_that_the_message_was_sent(
    sinking: Desk, sink: Sink, verb: str
) -> None:
    sink.replies[verb] = b"250 fine" if verb == "DATA" else b"250 fine\r\n250 and once more"
    with sinking.signed_in() as client, pytest.raises(smtplib.SMTPDataError) as raised:
        client.sendmail(ADDRESS, [ADA], MESSAGE)
    assert raised.value.smtp_code == 451
    assert sink.handed == []


# -- clients that are slow or many -------------------------------------------------------


def test_clients_that_drip_do_not_hold_up_who_sends(sinking: Desk, sink: Sink) -> None:
    dripping = [sinking.socket() for _ in range(server.MOST_STRANGERS + 30)]
    stop = threading.Event()

    def drip() -> None:
        while not stop.wait(0.1):
            for one in dripping:
                with suppress(OSError):
                    one.send(b"N")

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        began = time.monotonic()
        with sinking.signed_in() as client:
            client.sendmail(ADDRESS, [ADA], MESSAGE)
        assert time.monotonic() - began < 20 and len(sink.handed) == 1  # a line may take 30
        wait_until(lambda: len(sinking.server._open) <= server.MOST_STRANGERS + 1, "the oldest to be gone")
    finally:
        stop.set()
        thread.join()
        for one in dripping:
            one.close()


def test_one_mailbox_does_not_take_all_connections(sinking: Desk, sink: Sink) -> None:
    _, password = add_other(sinking, sink)
    held = [sinking.signed_in() for _ in range(server.MOST_OF_ONE)]
    assert login(sinking, sinking.password) == 454
    assert login(sinking, password, OTHER) == 235
    held.pop().quit()
    wait_until(lambda: login(sinking, sinking.password) == 235, "room for one more")


def test_commands_without_end_end_the_connection(sinking: Desk) -> None:
    with sinking.client() as client, pytest.raises(smtplib.SMTPServerDisconnected):
        assert [client.noop()[0] for _ in range(21)][-1] == 421
        client.noop()
    client = sinking.signed_in()
    assert [client.docmd("NONSENSE")[0] for _ in range(22)][-1] == 421


@pytest.mark.parametrize(
    "command",
    [
        "MAIL FROM:<help@example.org> SIZE=99999999999",
        "MAIL FROM:<help@example.org> SIZE=x",
        "MAIL FROM:help@example.org",
        "MAIL FROM:<help@example.org> SIZE=1 SIZE=1",
        "MAIL FROM:<help@example.org> RET=FULL",
        "MAIL TO:<help@example.org>",
        "MAIL FROM:<help@example.org>> ",
        "MAIL FROM:<help@example.org\t>",
        "MAIL FROM:<help@example.org> BODY=BINARYMIME",
        "MAIL FROM:<" + "a" * 400 + "@example.org>",
        "RCPT TO:<ada@example.net>",
        "DATA",
        "MAIL",
        "AUTH PLAIN",
        "EXPN x",
        "MAIL FROM:<hëlp@example.org>",
    ],
    ids=lambda command: ascii(command[:45]),
)
def test_a_malformed_command_is_refused_here(sinking: Desk, sink: Sink, command: str) -> None:
    with sinking.signed_in() as client:
        client.command_encoding = "utf-8"
        client.send(f"{command}\r\n")
        assert client.getreply()[0] // 100 == 5
    assert sink.logins == []


@pytest.mark.parametrize("end", ["\n", "\r"])
def test_a_message_smuggled_into_another_is_sent_by_nobody(sinking: Desk, sink: Sink, end: str) -> None:
    with sinking.signed_in() as client:
        client.mail(ADDRESS)
        client.rcpt(ADA)
        client.docmd("DATA")
        hidden = f"{end}.{end}MAIL FROM:<help@example.org>\r\nRCPT TO:<x@y.z>\r\nDATA\r\n".encode()
        client.send(MESSAGE + hidden + MESSAGE + b".\r\n")
        assert client.getreply()[0] == 554
        assert client.noop()[0] == 250
    assert sink.handed == []


# -- encryption --------------------------------------------------------------------------


def test_a_password_exists_encrypted_or_not_at_all(sinking: Desk) -> None:
    with db.database.connection_context(), pytest.raises(Refused, match="submission"):
        sinking.house.disable()
    assert login(sinking, sinking.password) == 235
    with db.database.connection_context():
        passwords.remove(sinking.uuid, Actor())
        sinking.house.disable()
        with pytest.raises(CannotStore):
            passwords.create(sinking.uuid, [], Actor())
        assert not SubmissionPassword.select().exists()


def test_a_password_outlives_a_change_of_the_key(sinking: Desk, sink: Sink) -> None:
    with db.database.connection_context():
        sinking.house.rotate()
    with sinking.signed_in() as client:
        client.sendmail(ADDRESS, [ADA], MESSAGE)
    assert len(sink.handed) == 1


# -- anything at all ---------------------------------------------------------------------

WORDS = (
    "EHLO x", "HELO", "AUTH PLAIN", "AUTH LOGIN", "AUTH", "*", "=", "AAAA", f"MAIL FROM:<{ADDRESS}>", "MAIL FROM:<>",
    "RCPT TO:<ada@example.net>", "DATA", "From: help@example.org", "", ".", "..", "RSET", "NOOP", "QUIT", "é", "\0", "SIZE=1",
    "BODY=8BITMIME", "SMTPUTF8", "x" * 2_100, "\t", "<", ">", "\x7f",
)  # fmt: skip


def test_nothing_that_a_client_sends_is_an_unknown_error(
    sinking: Desk, sink: Sink, caplog: pytest.LogCaptureFixture
) -> None:
    chance = random.Random(48)
    plain = base64.b64encode(f"\0{ADDRESS}\0{sinking.password}".encode()).decode()
    for number in range(300):
        first = f"EHLO x\r\nAUTH PLAIN {plain}\r\n" * (number % 3 > 0)
        words = chance.choices(WORDS, k=chance.randrange(1, 20))
        text = first + "".join(word + chance.choice(["\r\n"] * 12 + ["\n", " ", "\r"]) for word in words)
        with sinking.socket() as connection:
            connection.sendall(text.encode())
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65_536):
                assert piece.isascii()
    assert "unknown error" not in caplog.text and sinking.password not in caplog.text


def test_a_client_that_has_left_while_it_signs_in_is_no_unknown_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname())
        with listening.accept()[0] as accepted:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()  # by RST
            assert owner_of(accepted) == "?"


def test_a_message_that_was_begun_before_its_password_ended_is_not_sent(sinking: Desk, sink: Sink) -> None:
    with sinking.signed_in() as client:
        client.ehlo_or_helo_if_needed()
        assert client.mail(ADDRESS)[0] == client.rcpt(ADA)[0] == 250
        sinking.new_password()
        with pytest.raises(smtplib.SMTPServerDisconnected):
            assert client.data(MESSAGE)[0] == 421
            client.noop()
    assert sink.handed == []
