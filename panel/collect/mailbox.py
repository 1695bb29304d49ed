"""The open mailbox of a round, over either protocol."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from panel.collect.lease import Lease
from panel.collect.pop3 import Pop3Mailbox
from panel.mail.imap import ImapSession
from panel.mail.policy import Policy
from panel.mail.pop3 import Pop3Session
from panel.models import Account
from panel.vault.credential import Credential

# Both have the same methods, documented in ImapSession. UIDs ascend, and are valid under one `uidvalidity`
# only; that and `uidnext` are 0 where the server does not name them. Every method raises MailError.
MailboxSession = ImapSession | Pop3Mailbox


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
