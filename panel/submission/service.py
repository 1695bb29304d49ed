"""Serving the clients of one install."""

from __future__ import annotations

import socket
import threading

from panel import db
from panel.config import Settings
from panel.submission import passwords, relay
from panel.submission.answers import Answers
from panel.submission.dialogue import Dialogue
from panel.submission.lines import Client
from panel.submission.passwords import SendingMailbox
from panel.submission.server import Admit, Serve, owner_of
from panel.submission.transfer import Exchange, Upstream
from panel.vault.vault import Vault


def serving(settings: Settings, vault: Vault) -> Serve:
    """What `server.SubmissionServer` does with each client."""
    answers, servers = Answers(), relay.Servers(settings, vault)
    one_at_a_time = threading.Lock()  # a password counts as wrong until it was checked

    def connect(mailbox: SendingMailbox) -> Upstream:
        with db.explained(), db.database.connection_context():
            return servers.connect(mailbox)

    def holds(mailbox: SendingMailbox) -> bool:
        with db.explained(), db.database.connection_context():
            return passwords.holds(mailbox)

    def serve(connection: socket.socket, admit: Admit) -> None:
        def sign_in(address: str, password: bytes) -> SendingMailbox:
            with one_at_a_time, db.explained(), db.database.connection_context():
                found = passwords.check(vault, address, password, owner_of(connection))
            admit(found.uuid)
            return found

        exchange = Exchange(
            sign_in, holds, connect, answers, settings.submission_max * 2**20, settings.data_dir
        )
        Dialogue(Client(connection), exchange).run()

    return serve
