"""The connection test: try a mail server before it is saved, with each step reported as it happens."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from panel import audit
from panel.accounts import service
from panel.audit import Actor
from panel.config import Settings
from panel.errors import Throttled
from panel.mail import imap, pop3, smtp
from panel.mail.policy import Policy
from panel.mail.server import MailServer
from panel.mail.session import PROBE_SECONDS, ProbeStep
from panel.secret import Secret
from panel.vault import credential
from panel.vault.credential import Credential
from panel.vault.vault import Vault

TESTED, FAILED = "connection tested", "connection test failed"
PER_HOUR = 60  # in the whole install: a test connects to any server that was entered
# For all servers of one test: saving holds a thread of the web server for so long (`panel.mail.session`).
SECONDS, LEAST_SECONDS = PROBE_SECONDS, 5.0
LOGIN_STEPS = ("name", "connect", "tls", "login")  # of every protocol, in order
LAST_STEP = {"imap": ["folder"], "pop3": ["count"]}


def credential_for(where: MailServer, entered: Secret | None, uuid: str | None, vault: Vault) -> Credential:
    """What to log in with: the entered password, or the stored one for exactly the stored server.

    Raises as `service.password_for`, CannotOpen if the stored one cannot be decrypted.
    """
    endpoint = service.find(uuid)[1] if uuid is not None else None
    password = service.password_for(where, entered, endpoint)
    if password is not None:
        return Credential(where, password)
    assert endpoint is not None  # password_for has found the stored one to be enough
    return credential.open_for(endpoint, vault)


def plan(credentials: Sequence[Credential]) -> list[str]:
    """The names of all steps of a test in which none fails."""
    return [step for each in credentials for step in (*LOGIN_STEPS, *LAST_STEP.get(each.server.protocol, []))]


def run(
    credentials: Sequence[Credential], folder: str, settings: Settings, actor: Actor, subject: str
) -> Iterator[ProbeStep]:
    """Test one server after the other: the steps as they happen, up to the first that fails.

    Raises Throttled, before the first step, after too many tests.
    """
    recent = audit.recent(TESTED)
    if recent >= PER_HOUR:
        raise Throttled(f"There were {recent} tests within an hour.", "Wait a few minutes, then try again.")
    actor.record(TESTED, subject)
    return _steps(credentials, folder, Policy.of(settings), actor, subject)


def _steps(
    credentials: Sequence[Credential], folder: str, policy: Policy, actor: Actor, subject: str
) -> Iterator[ProbeStep]:
    ends_at = time.monotonic() + SECONDS
    for each in credentials:
        left = max(ends_at - time.monotonic(), LEAST_SECONDS)
        for step in _probe(each, folder, replace(policy, deadline=min(policy.deadline, left))):
            if not step.ok:
                actor.record(FAILED, subject, f"At this step: {step.name}.")
            yield step
            if not step.ok:
                return


def _probe(one: Credential, folder: str, policy: Policy) -> Iterator[ProbeStep]:
    if one.server.protocol == "pop3":
        return pop3.probe(one.server, one.secret, policy)
    if one.server.protocol == "smtp":
        return smtp.probe(one.server, one.secret, policy)
    return imap.probe(one.server, one.secret, folder, policy)
