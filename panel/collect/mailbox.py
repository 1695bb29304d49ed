"""The open mailbox of a round, over either protocol."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from panel.collect.lease import Lease
from panel.collect.pop3 import Pop3Mailbox
from panel.mail.imap import ImapSession
from panel.mail.policy import Policy
from panel.mail.pop3 import Pop3Session
from panel.models import Account
from panel.vault.credential import Credential


class MailboxSession(Protocol):
    """Messages with ascending UIDs, which are valid under one `uidvalidity` only.

    `uidvalidity` and `uidnext` are 0 where the server does not name them. `panel.mail.imap.ImapSession`
    documents each method. All raise MailError.
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
def open_mailbox(
    opened: Credential, account: Account, policy: Policy, lease: Lease, mark: bytes
) -> Iterator[MailboxSession]:
    """Log in to the server that the credential is bound to, which the row may no longer name.

    `mark` identifies server and folder. Raises MailError, LeaseLost.
    """
    server, secret = opened.server, opened.secret
    if server.protocol == "pop3":
        with Pop3Session(server, secret, policy) as session:
            pop3 = Pop3Mailbox(session, lease, mark, policy.max_message)
            yield pop3
            if account.begin == "now":
                pop3.store_headers()
    else:
        writable = account.on_server != "keep"
        with ImapSession(server, secret, account.folder, policy, writable=writable) as imap:
            yield imap
