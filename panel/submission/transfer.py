"""The messages of one client on their way to its mailbox's own server, while the client waits."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from panel.errors import PanelError
from panel.submission import headers
from panel.submission.answers import Answers
from panel.submission.grammar import BadCommand, Route
from panel.submission.lines import CHUNK, Hangup
from panel.submission.passwords import SendingMailbox
from panel.wording import without_paths

IN_ASCII = str.maketrans({"“": '"', "”": '"', "’": "'", "…": "..."})
LONGEST_TEXT = 400  # characters of a reply: RFC 5321, 4.5.3.1.5

log = logging.getLogger(__name__)


class Upstream(Protocol):
    """The mailbox's own server, signed in to. It returns replies for the client; raises PanelError."""

    @property
    def is_fresh(self) -> bool: ...
    def mail(self, route: Route) -> str: ...
    def rcpt(self, recipient: str) -> str: ...
    def data(self, message: IO[bytes]) -> str: ...
    def reset(self) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class Exchange:
    """What is needed of the install. The callables raise PanelError."""

    sign_in: Callable[[str, bytes], SendingMailbox]  # by address and local password
    holds: Callable[[SendingMailbox], bool]  # whether nothing of it has changed since
    connect: Callable[[SendingMailbox], Upstream]
    answers: Answers
    largest: int  # bytes of a message
    spool: Path  # a folder that only we can read


@dataclass
class Transaction:
    """One message so far."""

    route: Route
    recipients: list[str] = field(default_factory=list)


class MessageTransfer:
    """One message after the other. Its methods return replies for the client."""

    def __init__(self, mailbox: SendingMailbox, exchange: Exchange) -> None:
        """Nothing is connected before the first message."""
        self._mailbox = mailbox
        self._exchange = exchange
        self._upstream: Upstream | None = None
        self._answered = ""  # the message whose answer the client may not have read
        self.under_way: Transaction | None = None

    def begin(self, route: Route) -> str:
        """MAIL. Raises BadCommand for a sender or size that is not taken; Hangup."""
        if route.address and headers.folded(route.address) not in self._mailbox.senders:
            raise BadCommand("553 5.7.1 The sender is not an address of this mailbox.")
        if route.size > self._exchange.largest:
            raise BadCommand("552 5.3.4 The message is larger than is taken here.")
        self._require_unchanged()
        reply = self._relayed(lambda upstream: upstream.mail(route))
        if reply.startswith("2"):
            self.under_way = Transaction(route)
        return reply

    def add(self, transaction: Transaction, recipient: str) -> str:
        """RCPT."""
        reply = self._relayed(lambda upstream: upstream.rcpt(recipient))
        if reply.startswith("2"):
            transaction.recipients.append(recipient)
        return reply

    def finish(self, transaction: Transaction, message: IO[bytes], has_more: Callable[[], bool]) -> str:
        """The server's answer to the whole message; the earlier one where it had it before.

        `has_more`: whether the client has sent a command before it can have read the answer. Raises Hangup.
        """
        self._require_unchanged()  # the message may have begun days ago
        if problem := self._problem(message):
            return problem
        answers, key = self._exchange.answers, digest(self._mailbox, transaction, message)
        with answers.alone(key) as is_alone:
            if not is_alone:
                return "451 4.4.1 This message is being sent on another connection."
            reply = answers.find(key)
            if reply is None:
                reply = self._relayed(lambda upstream: upstream.data(message))
                if not reply.startswith("2"):
                    return reply
                answers.store(key, reply, self._mailbox)
                self.under_way = None  # and the server's own has ended too
        self._answered = "" if has_more() else key
        return reply

    def confirm(self) -> None:
        """The client goes on, so it has read the last answer: it will not send that message again."""
        if self._answered:
            self._exchange.answers.forget(self._answered, self._mailbox)
        self._answered = ""

    def reset(self) -> None:
        """Forget the message under way, here and there."""
        if self.under_way is not None and self._upstream is not None:
            try:
                self._upstream.reset()
            except PanelError:
                self.close()
        self.under_way = None

    def close(self) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.close()

    def _require_unchanged(self) -> None:
        if not self._exchange.holds(self._mailbox):
            raise Hangup("421 4.7.0 The mailbox or its password has changed. Sign in again.")

    def _problem(self, message: IO[bytes]) -> str:
        message.seek(0)
        start = message.read(headers.LONGEST_HEADER + 4)
        end = start.find(b"\r\n\r\n")
        return headers.problem(start[: end + 2] if end >= 0 else start, self._mailbox.senders)

    def _relayed(self, command: Callable[[Upstream], str]) -> str:
        """The reply of the mailbox's server. Where it cannot be asked, the client may try later."""
        try:
            if self.under_way is None:
                return self._begun(command)
            if self._upstream is not None:
                return command(self._upstream)
            return "451 4.4.2 The connection to the mail server has ended. Send the message again."
        except PanelError as error:
            log.warning("%s: %s", self._mailbox.address, error)
            self.close()
            return worded(error, "451 4.3.0")

    def _begun(self, command: Callable[[Upstream], str]) -> str:
        """The reply to MAIL; a connection that has ended since the last message is made anew."""
        if self._upstream is not None and self._upstream.is_fresh:
            with suppress(PanelError):
                reply = command(self._upstream)
                if not reply.startswith("421"):  # which it said to the silence before, as it left
                    return reply
        self.close()
        self._upstream = self._exchange.connect(self._mailbox)
        return command(self._upstream)


def worded(error: PanelError, code: str) -> str:
    """What went wrong, as a reply with this code. Whoever reads it need not be an administrator."""
    texts = (str(error), error.message, "Mailkeep cannot do that now. Its Overview says why.")
    text = next(text for text in texts if without_paths(text) and "flask " not in text)
    return f"{code} {' '.join(text.translate(IN_ASCII).split())[:LONGEST_TEXT]}"


def digest(mailbox: SendingMailbox, transaction: Transaction, message: IO[bytes]) -> str:
    """Names this very message of the mailbox with its envelope."""
    envelope = repr((mailbox.uuid, transaction.route.address, sorted(transaction.recipients)))
    found = hashlib.sha256(hashlib.sha256(envelope.encode("utf-8", "replace")).digest())
    for piece in _pieces(message):
        found.update(piece)
    return found.hexdigest()


def _pieces(message: IO[bytes]) -> Iterator[bytes]:
    message.seek(0)
    while piece := message.read(CHUNK):
        yield piece
