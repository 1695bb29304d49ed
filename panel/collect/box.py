"""The mailbox that a round has open, whichever protocol it is reached by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from panel.collect.lease import Lease
from panel.collect.pop import PopBox
from panel.mail.imap import ImapSession
from panel.mail.policy import Policy
from panel.mail.pop3 import Pop3Session
from panel.models import Account
from panel.vault.credential import Credential


class Box(Protocol):
    """Messages numbered by ascending UIDs, which mean something under one `uidvalidity` only.

    Both it and `uidnext` are 0 where the server does not tell. Every method raises MailError.
    `panel.mail.imap.ImapSession` says what each does.
    """

    uidvalidity: int
    uidnext: int

    @property
    def pause(self) -> int: ...  # seconds that the server wants between two sessions
    @property
    def ended(self) -> bool: ...

    def highest(self) -> int: ...
    def uids(self, after: int) -> list[int]: ...
    def unseen(self) -> list[int]: ...
    def arrived_since(self, moment: int) -> list[int]: ...
    def sizes(self, uids: Iterable[int]) -> dict[int, int]: ...
    def fetch(self, uids: Iterable[int]) -> Iterator[tuple[int, bytes]]: ...
    def seconds_left(self) -> float: ...
    def mark_seen(self, uids: Iterable[int]) -> None: ...
    def move(self, uids: Iterable[int], folder: str) -> None: ...
    def delete(self, uids: Iterable[int]) -> None: ...


@contextmanager
def open_box(
    opened: Credential, account: Account, policy: Policy, lease: Lease, mark: bytes
) -> Iterator[Box]:
    """Log in to the very server that the password was opened for: nothing is read from the row again.

    `mark` stands for endpoint and folder. Raises MailError, LeaseLost.
    """
    server, secret = opened.server, opened.secret
    if server.protocol == "pop3":
        with Pop3Session(server, secret, policy) as session:
            pop = PopBox(session, lease, mark, policy.max_message)
            yield pop
            if account.begin == "now":
                pop.keep_heads()
    else:
        writable = account.on_server != "keep"
        with ImapSession(server, secret, account.folder, policy, writable=writable) as box:
            yield box
