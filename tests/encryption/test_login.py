"""The whole point: what was typed logs in to a real mail server, whatever state the key went through."""

from __future__ import annotations

import pytest

from panel.mail.imap import ImapSession
from panel.mail.policy import Policy
from panel.models import Endpoint
from panel.vault import credential
from tests.encryption.conftest import House
from tests.models.test_secret_row import TYPED
from tests.servers.dovecot import DovecotServer

pytestmark = pytest.mark.dovecot

# Dovecot itself refuses passwords with control characters; that they are sealed as typed is tested elsewhere.
CONTROL = {chr(n) for n in range(32)}


def test_every_password_logs_in_before_enabling_after_it_and_after_disabling(
    house: House, dovecot: DovecotServer
) -> None:
    policy = Policy(frozenset({dovecot.tls_port}), ca_file=dovecot.ca_file)
    typed = [text for text in TYPED if not CONTROL & set(text)]
    endpoints = []
    for number, text in enumerate(typed):
        user = f"typed-{number}@example.org"
        dovecot.add_user(user, text)
        endpoints.append(house.add(text, host="localhost", port=dovecot.tls_port, username=user))
    for step in (lambda: None, house.enable, house.disable):
        step()
        for endpoint in endpoints:
            found = credential.open_for(Endpoint.get_by_id(endpoint.id), house.vault)
            with ImapSession(found.server, found.secret, "INBOX", policy) as session:
                assert session.exists == 0
