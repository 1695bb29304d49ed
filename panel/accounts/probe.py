"""Trying out a mail server before it is saved, in the request that asks: each step as it happens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from panel import audit
from panel.accounts import service
from panel.audit import Actor
from panel.config import Settings
from panel.errors import PasswordNeeded, Throttled
from panel.mail import imap, pop3, smtp
from panel.mail.policy import Policy
from panel.mail.server import MailServer
from panel.mail.steps import Step
from panel.secret import Secret
from panel.vault import credential
from panel.vault.credential import Credential
from panel.vault.vault import Vault

TRIED, FAILED = "connection tested", "connection test failed"
PER_HOUR = 60  # of the whole install: a test connects wherever it is told
WAY_IN = ("name", "connect", "tls", "login")  # the steps of every protocol, in their order


def credential_for(where: MailServer, password: Secret | None, uuid: str | None, vault: Vault) -> Credential:
    """What to log in with: the typed password, or the stored one for exactly the stored server.

    Raises PasswordNeeded where neither fits, CannotOpen where the stored one does not open.
    """
    if password is not None:
        return Credential(where, password)
    if uuid is not None:
        _, endpoint = service.find(uuid)
        if service.same_server(endpoint, where):
            return credential.open_for(endpoint, vault)
        raise PasswordNeeded(
            "The stored password is only ever shown to the stored server.",
            "Enter the password to test another one.",
        )
    raise PasswordNeeded("The password is empty.", "Enter the mailbox's password.")


def plan(found: Sequence[Credential]) -> list[str]:
    """The names of all steps that a test of `found` takes where none fails."""
    last = {"imap": ["folder"], "pop3": ["count"]}
    return [step for one in found for step in (*WAY_IN, *last.get(one.server.protocol, []))]


def run(
    found: Sequence[Credential], folder: str, settings: Settings, actor: Actor, subject: str
) -> Iterator[Step]:
    """Begin a test of one server after the other: the steps as they happen, up to the first that fails.

    Raises Throttled before the first one after too many.
    """
    recent = audit.recent(TRIED)
    if recent >= PER_HOUR:
        raise Throttled(f"There were {recent} tests within an hour.", "Wait some minutes, then try again.")
    audit.record(TRIED, subject, who=actor.who, address=actor.address)
    return _steps(found, folder, Policy.of(settings), actor, subject)


def _steps(
    found: Sequence[Credential], folder: str, policy: Policy, actor: Actor, subject: str
) -> Iterator[Step]:
    for one in found:
        for step in _probe(one, folder, policy):
            if not step.ok:
                at = f"At this step: {step.name}."
                audit.record(FAILED, subject, at, who=actor.who, address=actor.address)
            yield step
            if not step.ok:
                return


def _probe(one: Credential, folder: str, policy: Policy) -> Iterator[Step]:
    if one.server.protocol == "pop3":
        return pop3.probe(one.server, one.secret, policy)
    if one.server.protocol == "smtp":
        return smtp.probe(one.server, one.secret, policy)
    return imap.probe(one.server, one.secret, folder, policy)
