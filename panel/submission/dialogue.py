"""The commands of one client (RFC 5321, 6409, 4954), and what may follow which."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO

from panel.errors import PanelError
from panel.submission import grammar
from panel.submission.grammar import BadCommand
from panel.submission.lines import Client, Hangup
from panel.submission.passwords import WrongPassword
from panel.submission.transfer import Exchange, MessageTransfer, Transaction, worded

SIGN_IN_SECONDS = 30.0  # for a command of a client that has not signed in; `server` bounds all of them
COMMAND_SECONDS = 300.0  # RFC 5321, 4.5.3.2.7
MESSAGE_SECONDS = 600.0  # for a message to come in
IN_MEMORY = 2**20  # bytes of a message; a larger one is spooled
MOST_RECIPIENTS = 1_000
MOST_COMMANDS = 20_000  # of one connection,
MOST_FIRST = 20  # before it has signed in,
MOST_BAD = 20  # and of those that are not understood

log = logging.getLogger(__name__)


class Dialogue:
    """One connection, from greeting to end."""

    def __init__(self, client: Client, exchange: Exchange) -> None:
        self._client = client
        self._exchange = exchange
        self._greeted = False
        self._transfer: MessageTransfer | None = None  # once it has signed in
        self._refused = b""  # digest of the wrong password that it sent last,
        self._refusal = ""  # and the answer to that

    def run(self) -> None:
        """Answer commands until the client leaves or is sent away."""
        try:
            self._client.send("220 Mailkeep ESMTP")
            self._answer_all()
        except Hangup as end:
            if end.reply:
                self._client.send(end.reply)
        finally:
            if self._transfer is not None:
                self._transfer.close()

    def _answer_all(self) -> None:
        bad = 0
        for number in range(MOST_COMMANDS):
            if bad > MOST_BAD or (self._transfer is None and number >= MOST_FIRST):
                break
            line = self._client.line(COMMAND_SECONDS if self._transfer else SIGN_IN_SECONDS)
            try:
                self._client.send(self._reply(line))
            except BadCommand as error:
                bad += 1
                self._client.send(error.reply)
            except PanelError as error:
                log.warning("%s", error)
                self._client.send(worded(error, "451 4.3.0"))
        raise Hangup("421 4.7.0 Too many commands.")

    def _reply(self, line: bytes) -> str:
        if self._transfer is not None:
            self._transfer.confirm()
        verb, _, argument = grammar.text(line).partition(" ")
        command = COMMANDS.get(verb.upper())
        if command is None:
            raise BadCommand("502 5.5.1 This command is not offered.")
        return command(self, argument.strip())

    # -- commands ------------------------------------------------------------------------

    def _ehlo(self, argument: str) -> str:
        self._rset("")
        self._greeted = True
        offers = (
            "Mailkeep", "PIPELINING", f"SIZE {self._exchange.largest}", "8BITMIME", "SMTPUTF8",
            "ENHANCEDSTATUSCODES", "AUTH PLAIN LOGIN",
        )  # fmt: skip
        return "\n".join([*(f"250-{offer}" for offer in offers[:-1]), f"250 {offers[-1]}"])

    def _helo(self, argument: str) -> str:
        self._ehlo(argument)
        return "250 Mailkeep"

    def _auth(self, argument: str) -> str:
        if self._transfer is not None or not self._greeted:
            raise BadCommand("503 5.5.1 Not now.")
        username, password = self._credentials(argument)
        sent = hashlib.sha256(username.encode() + b"\0" + password).digest()
        if sent == self._refused:  # smtplib tries PLAIN, then LOGIN: that is one wrong password
            raise BadCommand(self._refusal)
        try:
            mailbox = self._exchange.sign_in(username, password)
        except WrongPassword as error:
            self._refused, self._refusal = sent, worded(error, "535 5.7.8")
            raise BadCommand(self._refusal) from None
        except PanelError as error:
            raise BadCommand(worded(error, "454 4.7.0")) from None
        self._transfer = MessageTransfer(mailbox, self._exchange)
        return "235 2.7.0 Signed in."

    def _credentials(self, argument: str) -> tuple[str, bytes]:
        mechanism, _, initial = argument.partition(" ")
        match mechanism.upper():
            case "PLAIN":
                return grammar.plain(initial.encode() or self._ask(""))
            case "LOGIN":
                username = grammar.decoded(initial.encode() or self._ask("VXNlcm5hbWU6"))
                return username.decode("utf-8", "replace"), grammar.decoded(self._ask("UGFzc3dvcmQ6"))
        raise BadCommand("504 5.5.4 Sign in with PLAIN or LOGIN.")

    def _ask(self, prompt: str) -> bytes:
        self._client.send(f"334 {prompt}")
        return self._client.line(SIGN_IN_SECONDS)

    def _mail(self, argument: str) -> str:
        if self._transfer is None:
            raise BadCommand("530 5.7.0 Sign in first.")
        if self._transfer.under_way is not None:
            raise BadCommand("503 5.5.1 A message is under way.")
        return self._transfer.begin(grammar.sender(argument))

    def _rcpt(self, argument: str) -> str:
        transfer, transaction = self._under_way()
        recipient = grammar.recipient(argument, utf8=transaction.route.utf8)
        if len(transaction.recipients) >= MOST_RECIPIENTS:
            return "452 4.5.3 Too many recipients."  # which clients send the rest to afterwards
        return transfer.add(transaction, recipient)

    def _data(self, argument: str) -> str:
        transfer, transaction = self._under_way()
        if argument or not transaction.recipients:
            raise BadCommand("554 5.5.1 No recipient was accepted.")
        try:
            with _spool(self._exchange.spool) as spool:
                self._client.send("354 End the message with a dot on a line of its own.")
                refusal = self._client.message(
                    partial(_write, spool), self._exchange.largest, MESSAGE_SECONDS
                )
                return refusal or transfer.finish(transaction, spool, self._client.has_more)
        finally:
            transfer.reset()

    def _under_way(self) -> tuple[MessageTransfer, Transaction]:
        if self._transfer is None or self._transfer.under_way is None:
            raise BadCommand("503 5.5.1 MAIL comes first.")
        return self._transfer, self._transfer.under_way

    def _rset(self, argument: str) -> str:
        if self._transfer is not None:
            self._transfer.reset()
        return "250 2.0.0 OK"

    def _noop(self, argument: str) -> str:
        return "250 2.0.0 OK"

    def _quit(self, argument: str) -> str:
        raise Hangup("221 2.0.0 Bye.")


@contextmanager
def _spool(directory: Path) -> Iterator[IO[bytes]]:
    """A place for one message. To close it raises nothing: what could not be written was refused before."""
    spool = tempfile.SpooledTemporaryFile(IN_MEMORY, dir=str(directory))  # noqa: SIM115
    try:
        yield spool
    finally:
        with suppress(OSError):
            spool.close()


def _write(spool: IO[bytes], piece: bytes) -> None:
    """Write it through to the disk's own buffers, where a full disk is noticed. Raises OSError."""
    spool.write(piece)
    spool.flush()


COMMANDS: dict[str, Callable[[Dialogue, str], str]] = {
    "EHLO": Dialogue._ehlo, "HELO": Dialogue._helo, "AUTH": Dialogue._auth, "MAIL": Dialogue._mail,
    "RCPT": Dialogue._rcpt, "DATA": Dialogue._data, "RSET": Dialogue._rset, "NOOP": Dialogue._noop,
    "QUIT": Dialogue._quit,
}  # fmt: skip
