"""A helpdesk sends as its mailbox, and is told what the mailbox's own server said."""

from __future__ import annotations

import smtplib

import pytest

from panel import db
from panel.models import SubmissionAnswer, SubmissionPassword
from panel.submission.dialogue import MOST_BAD, MOST_RECIPIENTS
from tests.servers.smtp import SmtpServer
from tests.submission.conftest import ADDRESS, MESSAGE, Desk
from tests.submission.sink import Sink

ADA = "ada@example.net"


def test_a_message_goes_out_as_the_mailbox_byte_for_byte(desk: Desk, smtp: SmtpServer) -> None:
    body = b"X" * 1500 + b"\r\n.\r\n..two\r\n\r\n" + "Grüße 🐑\r\n".encode()
    with desk.signed_in() as client:
        assert client.sendmail(ADDRESS, [ADA, "bob@example.net"], MESSAGE + body) == {}
    [taken] = smtp.taken
    assert (taken.sender, taken.recipients) == (ADDRESS, [ADA, "bob@example.net"])
    assert taken.data == MESSAGE + body


def test_several_messages_go_over_one_connection(desk: Desk, smtp: SmtpServer) -> None:
    with desk.signed_in() as client:
        for number in range(3):
            client.sendmail(ADDRESS, [ADA], MESSAGE + b"%d\r\n" % number)
    assert [taken.data[-3:] for taken in smtp.taken] == [b"0\r\n", b"1\r\n", b"2\r\n"]
    with db.database.connection_context():
        assert SubmissionPassword.get().sent == 3
        assert not SubmissionAnswer.select().exists()  # each was read


def test_a_refused_recipient_is_told_with_the_servers_code_and_the_others_get_it(
    desk: Desk, smtp: SmtpServer
) -> None:
    smtp.refused.add("nobody@example.net")
    with desk.signed_in() as client:
        refused = client.sendmail(ADDRESS, ["nobody@example.net", ADA], MESSAGE)
    assert refused == {"nobody@example.net": (550, b"5.1.1 localhost refused it.")}
    assert [taken.recipients for taken in smtp.taken] == [[ADA]]


def test_a_message_without_an_accepted_recipient_is_not_sent(desk: Desk, smtp: SmtpServer) -> None:
    smtp.refused.add(ADA)
    with desk.signed_in() as client:
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            client.sendmail(ADDRESS, [ADA], MESSAGE)
        client.mail(ADDRESS)
        client.rcpt(ADA)
        assert client.docmd("DATA")[0] == 554
        smtp.refused.clear()
        client.rset()
        client.sendmail(ADDRESS, [ADA], MESSAGE)
    assert len(smtp.taken) == 1


def test_bounces_go_with_the_null_sender_and_the_mailboxs_from(desk: Desk, smtp: SmtpServer) -> None:
    with desk.signed_in() as client:
        client.sendmail("", [ADA], MESSAGE)
    assert [taken.sender for taken in smtp.taken] == ["<>"]  # as aiosmtpd names it


def test_addresses_beyond_ascii_go_with_smtputf8(desk: Desk, smtp: SmtpServer) -> None:
    with desk.signed_in() as client:
        client.command_encoding = "utf-8"
        client.sendmail(ADDRESS, ["jürgen@example.net"], MESSAGE, mail_options=["SMTPUTF8", "BODY=8BITMIME"])
    assert [taken.recipients for taken in smtp.taken] == [["jürgen@example.net"]]
    with desk.signed_in() as client:
        client.command_encoding = "utf-8"
        client.mail(ADDRESS)
        assert client.rcpt("jürgen@example.net")[0] == 553


def test_commands_may_come_all_at_once(desk: Desk, smtp: SmtpServer) -> None:
    with desk.signed_in() as client:
        client.send(f"MAIL FROM:<{ADDRESS}> SIZE=200 BODY=8BITMIME\r\nRCPT TO:<{ADA}>\r\nDATA\r\n")
        assert [client.getreply()[0] for _ in range(3)] == [250, 250, 354]
        client.send(MESSAGE + b".\r\nNOOP\r\nQUIT\r\n")
        assert [client.getreply()[0] for _ in range(3)] == [250, 250, 221]
    assert len(smtp.taken) == 1


def test_what_is_offered_is_said_and_nothing_else_is_done(desk: Desk) -> None:
    with desk.client() as client:
        client.ehlo()
        assert client.esmtp_features == {
            "pipelining": "", "size": str(50 * 2**20), "8bitmime": "", "smtputf8": "",
            "enhancedstatuscodes": "", "auth": " PLAIN LOGIN",
        }  # fmt: skip
        for command in (
            "VRFY help",
            "EXPN all",
            "HELP",
            "STARTTLS",
            "BDAT 5 LAST",
            "ETRN x",
            "TURN",
            "XCLIENT",
        ):
            assert client.docmd(command)[0] == 502, command
        assert client.mail(ADDRESS)[0] == 530


def test_recipients_that_are_too_many_are_told_and_the_others_get_it(sinking: Desk, sink: Sink) -> None:
    with sinking.signed_in() as client:
        client.mail(ADDRESS)
        codes = [client.rcpt(f"{number}@example.net")[0] for number in range(MOST_RECIPIENTS + 2 * MOST_BAD)]
        assert codes == [250] * MOST_RECIPIENTS + [452] * 2 * MOST_BAD
        assert client.data(MESSAGE)[0] == 250
    assert len(sink.handed[0].recipients) == MOST_RECIPIENTS


@pytest.mark.parametrize("mechanism", ["PLAIN", "PLAIN in two", "LOGIN", "LOGIN in two"])
def test_both_mechanisms_sign_in(desk: Desk, mechanism: str) -> None:
    with desk.client() as client:
        client.ehlo()
        client.user, client.password = ADDRESS, desk.password
        name, _, two = mechanism.partition(" ")
        auth = client.auth_plain if name == "PLAIN" else client.auth_login
        assert client.auth(name, auth, initial_response_ok=not two)[0] == 235
        assert client.docmd("AUTH", "PLAIN AAAA")[0] == 503


class Once(dict[str, bytes]):
    """Replies that are given once."""

    def get(self, verb: str, usual: bytes | None = None) -> bytes | None:  # type: ignore[override]
        return self.pop(verb, usual)


def test_a_server_that_was_left_waiting_too_long_is_asked_anew(sinking: Desk, sink: Sink) -> None:
    """Its goodbye lies there as though it answered the next command."""
    with sinking.signed_in() as client:
        client.sendmail(ADDRESS, ["ada@example.net"], MESSAGE)
        sink.replies = Once(MAIL=b"421 4.4.2 Timeout, goodbye")
        client.sendmail(ADDRESS, ["bob@example.net"], MESSAGE)
    assert [one.recipients for one in sink.handed] == [("ada@example.net",), ("bob@example.net",)]
    assert len(sink.logins) == 2
