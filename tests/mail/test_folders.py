"""What is listed opens, however its server writes it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panel.errors import MailError
from panel.mail.imap import ImapSession
from panel.mail.imap_names import folder_name, folder_of, folder_word, from_utf7, utf7
from panel.mail.imap_syntax import quoted
from panel.mail.policy import Policy
from panel.secret import Secret
from tests.mail.conftest import PASSWORD, at, tried
from tests.servers.hostile import ScriptedServer
from tests.servers.imap import ImapMailbox

# The line of LIST, the name that people read, and the word that alone opens it.
LISTED: dict[str, tuple[bytes, str, bytes]] = {
    "a bare &": (b'* LIST () "|" "R&D"', "R&D", b'"R&D"'),
    "a bare & at the end": (b'* LIST () "|" "Q&"', "Q&", b'"Q&"'),
    "a regular &": (b'* LIST () "|" "R&-D"', "R&D", b'"R&-D"'),
    "UTF-7": (b'* LIST () "/" "Entw&APw-rfe"', "Entwürfe", b'"Entw&APw-rfe"'),
    "UTF-7 that is none": (b'* LIST () "/" "A &2D8- B"', "A &2D8- B", b'"A &2D8- B"'),
    "UTF-7 in another spelling": (b'* LIST () "/" "&AGE-bc"', "&AGE-bc", b'"&AGE-bc"'),
    "raw UTF-8": ('* LIST () "/" "Entwürfe"'.encode(), "Entwürfe", '"Entwürfe"'.encode()),
    "raw UTF-8 with &": ('* LIST () "/" "Für & wider"'.encode(), "Für & wider", '"Für & wider"'.encode()),
    "8 bit": (b'* LIST () "/" "Entw\xfcrfe"', "Entw\\xfcrfe", b'"Entw\xfcrfe"'),
    "a control character": (b'* LIST () "/" "a\x1b[31mb"', "a\\x1b[31mb", b'"a\x1b[31mb"'),
    "a line break in UTF-7": (b'* LIST () "/" "a&AA0ACg-b"', "a\\r\\nb", b'"a&AA0ACg-b"'),
    "quotes": (b'* LIST () "/" "say \\"hi\\""', 'say "hi"', b'"say \\"hi\\""'),
    "a backslash": (b'* LIST () "\\\\" "a\\\\b"', "a\\b", b'"a\\\\b"'),
    "wildcards": (b'* LIST () "/" "100%*"', "100%*", b'"100%*"'),
    "a trailing blank": (b'* LIST () "/" "Sent "', "Sent ", b'"Sent "'),
    "a literal": (b'* LIST () "/" {7}\r\n"a" & b', '"a" & b', b'"\\"a\\" & b"'),
    "an atom": (b"* LIST () NIL Sent.Items", "Sent.Items", b'"Sent.Items"'),
    "blanks without quotes": (b"*  list  (\\HasNoChildren)  nil  Sent Items ", "Sent Items", b'"Sent Items"'),
    "XLIST": (b'* XLIST (\\Inbox) "/" "Alles"', "Alles", b'"Alles"'),
}  # fmt: skip


@pytest.mark.parametrize("how", LISTED)
def test_what_is_listed_opens(how: str) -> None:
    line, name, word = LISTED[how]
    folders = b'* LIST () "/" INBOX\r\n* LIST (\\Noselect) "/" "Shelf"\r\n' + line + b"\r\n"
    mailbox = ImapMailbox(
        {1: b"mail"}, folders=folders, known=frozenset({b'"INBOX"', word}), later=b"IMAP4rev1 UIDPLUS"
    )
    with ScriptedServer(mailbox) as server:
        policy = Policy(frozenset({server.port}), deadline=60)
        assert tried(at(server, "none"), policy)[-1].message.endswith(f"Folders: INBOX, {name}.")
        for typed in (name, name.strip()):  # a form takes blanks off both ends
            assert tried(at(server, "none"), policy, folder=typed)[-1].ok
            with ImapSession(at(server, "none"), Secret(PASSWORD), typed, policy, writable=True) as imap:
                assert imap.uids(0) == [1]
                mailbox.answer = lambda c: (
                    b"NO [TRYCREATE] no" if b"COPY" in c and not c.endswith(word) else None
                )
                imap.move([1], typed)


@pytest.mark.parametrize(
    "line",
    [b'* LIST () "/" {4}\r\na\r\nb', b'* LIST () "/" {3}\r\na\0b', b'* LIST () "/" ""', b"* LIST () x"],
)
def test_a_name_that_no_command_can_carry_is_not_listed(line: bytes) -> None:
    mailbox = ImapMailbox(folders=b'* LIST () "/" INBOX\r\n' + line + b"\r\n")
    with ScriptedServer(mailbox) as server:
        last = tried(at(server, "none"), Policy(frozenset({server.port}), deadline=60))[-1]
    assert last.message.endswith("Folders: INBOX.")


@pytest.mark.parametrize("typed", ["a\r\nb", "a\0", "", "\ud800"])
def test_a_name_that_cannot_be_sent_is_refused(typed: str) -> None:
    with pytest.raises(MailError, match="cannot be used"):
        folder_word(typed)


def test_of_two_that_read_alike_the_regular_one_is_meant() -> None:
    folders = b'* LIST () "/" "R&D"\r\n* LIST () "/" "R&-D"\r\n* LIST () "/" "inbox"\r\n'
    mailbox = ImapMailbox({1: b"mail"}, folders=folders, known=frozenset({b'"R&-D"', b'"R&D"'}))
    with ScriptedServer(mailbox) as server:
        last = tried(at(server, "none"), Policy(frozenset({server.port}), deadline=60), folder="R&D")[-1]
    assert last.message.endswith("Folders: inbox, R&D.") and mailbox.commands[1].startswith(b'STATUS "R&-D"')


@settings(max_examples=300, deadline=None)
@given(st.binary(min_size=1, max_size=40))
def test_every_name_is_printable_and_leads_back_to_itself(raw: bytes) -> None:
    name = folder_name(raw)
    assert name.isprintable()
    listed: Any = folder_of([b'* LIST () "/" ', raw, b""])
    assert listed == (None if any(c in raw for c in b"\r\n\0") else raw)
    if listed is not None and b"\\" not in raw:
        assert folder_word(name) == quoted(raw) or folder_name(listed) == name


# -- modified UTF-7 ------------------------------------------------------------------------

# RFC 3501, 5.1.3 names the first; the others are what IMAPClient 4.1.0 (imap_utf7.encode) wrote in November 2026.
UTF7 = {
    "~peter/mail/\u53f0\u5317/\u65e5\u672c\u8a9e": b"~peter/mail/&U,BTFw-/&ZeVnLIqe-",
    "INBOX": b"INBOX", "Entwürfe": b"Entw&APw-rfe", "R&D": b"R&-D", "&": b"&-", "&&": b"&-&-", "a-b&-c": b"a-b&--c",
    "ü": b"&APw-", "üü": b"&APwA,A-", "üüü": b"&APwA,AD8-", "-ü": b"-&APw-", "ü-": b"&APw--", "é&é": b"&AOk-&-&AOk-",
    "\u041e\u0442\u043f\u0440\u0430\u0432\u043b\u0435\u043d\u043d\u044b\u0435": b"&BB4EQgQ,BEAEMAQyBDsENQQ9BD0ESwQ1-",
    "Élèves & Maîtres": b"&AMk-l&AOg-ves &- Ma&AO4-tres", "\U0001f511": b"&2D3dEQ-", "\U0001d11e": b"&2DTdHg-",
    "\U0001f511\U0001f5dd\ufe0f keys": b"&2D3dEdg93d3+Dw- keys", "a\u0301": b"a&AwE-", "tab\there": b"tab&AAk-here",
    "\x7f": b"&AH8-", "\\\"~": b"\\\"~", "\u2013": b"&IBM-", "Hi Mom -\u263a-!": b"Hi Mom -&Jjo--!", "": b"",
}  # fmt: skip


@pytest.mark.parametrize("name", UTF7, ids=ascii)
def test_modified_utf7_is_written_and_read_as_in_the_rfc(name: str) -> None:
    assert utf7(name) == UTF7[name] and from_utf7(UTF7[name]) == name


@pytest.mark.parametrize(
    "raw",
    [
        b"&", b"a&", b"&A", b"&AOk", b"&AAA", b"&2D8-", b"&3wA-", b"&AGE-", b"&AOk=-", b"&AO k-", b"&U/BTFw-", b"&APx-",
        b"&AOk-&AOk-", b"\xff", "ü".encode(), b"a\tb", b"&****-", b"&" * 1000, b"&A" * 1000, b"&" + b"A" * 1001 + b"-",
    ],
)  # fmt: skip
def test_what_modified_utf7_never_writes_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError):
        from_utf7(raw)


def test_half_a_character_is_not_written() -> None:
    with pytest.raises(ValueError):
        utf7("a\ud800")


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=30), st.binary(max_size=30))
def test_every_name_comes_back_and_every_other_spelling_is_refused(name: str, raw: bytes) -> None:
    assert utf7(name).isascii() and from_utf7(utf7(name)) == name
    with suppress(ValueError):
        assert utf7(from_utf7(raw)) == raw
