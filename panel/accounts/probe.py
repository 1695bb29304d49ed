"""The connection test: try a mail server before it is saved, with each step reported as it happens."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from panel import audit
from panel.accounts import service
from panel.accounts.auth import Auth, Login, Outside
from panel.audit import Actor
from panel.config import Settings
from panel.errors import ConsentNeeded, Throttled
from panel.mail import imap, pop3, smtp
from panel.mail.policy import Policy
from panel.mail.server import MailServer
from panel.mail.session import PROBE_SECONDS, ProbeStep
from panel.models import Consent, Endpoint
from panel.models.endpoint import CONSENT, REFERENCE
from panel.oauth import sentences
from panel.oauth.login import TOKEN_STEPS, token_steps
from panel.secret import Secret
from panel.vault import credential, outside
from panel.vault.credential import Credential
from panel.vault.vault import Vault

TESTED, FAILED = "connection tested", "connection test failed"
PER_HOUR = 60  # in the whole install: a test connects to any server that was entered
# For all servers of one test: saving holds a thread of the web server for so long (`panel.mail.session`).
SECONDS, LEAST_SECONDS = PROBE_SECONDS, 5.0
LOGIN_STEPS = ("name", "connect", "tls", "login")  # of every protocol, in order
LAST_STEP = {"imap": ["folder"], "pop3": ["count"]}


@dataclass(frozen=True)
class ByConsent:
    """A stored server with a consent: the first steps of its test are those of the access token."""

    endpoint: Endpoint
    vault: Vault
    settings: Settings

    @property
    def server(self) -> MailServer:
        """Where the token is shown."""
        return self.endpoint.server


Source = Credential | ByConsent


def source_for(
    where: MailServer, entered: Auth | None, uuid: str | None, settings: Settings, vault: Vault
) -> Source:
    """What to log in with: what was entered, or what is stored for exactly the stored server.

    Raises as `service.require_entered`, `entered` and `stored`.
    """
    endpoint = service.find(uuid)[1] if uuid is not None else None
    service.require_entered(where, entered, endpoint)
    if entered is not None:
        return entered_source(Login(where, entered), settings)
    assert endpoint is not None  # require_entered has found the stored one to be enough
    return stored(endpoint, settings, vault)


def entered_source(login: Login, settings: Settings) -> Source:
    """What to log in with at a server that is not stored yet.

    Raises OutsideSecretError, ConsentNeeded where a person must sign in at the provider first.
    """
    if isinstance(login.auth, Secret):
        return Credential(login.server, login.auth)
    if isinstance(login.auth, Outside):
        return Credential(login.server, outside.read(login.auth.name, login.server, settings))
    raise ConsentNeeded(
        "This mailbox has no consent yet, so it cannot be tested.", "Add it, then connect it."
    )


def stored(endpoint: Endpoint, settings: Settings, vault: Vault) -> Source:
    """What to log in with at a stored server. Raises CannotOpen, PasswordNeeded, OutsideSecretError."""
    opened = credential.open_for(endpoint, vault)
    if opened.kind == CONSENT:
        return ByConsent(endpoint, vault, settings)
    if opened.kind == REFERENCE:
        return Credential(opened.server, outside.read(opened.secret.reveal(), opened.server, settings))
    return opened.with_password()


def plan(sources: Sequence[Source]) -> list[str]:
    """The names of all steps of a test in which none fails."""
    return [
        step
        for each in sources
        for step in (
            *(TOKEN_STEPS if isinstance(each, ByConsent) else ()),
            *LOGIN_STEPS,
            *LAST_STEP.get(each.server.protocol, []),
        )
    ]


def run(
    sources: Sequence[Source], folder: str, settings: Settings, actor: Actor, subject: str
) -> Iterator[ProbeStep]:
    """Test one server after the other: the steps as they happen, up to the first that fails.

    Raises Throttled, before the first step, after too many tests.
    """
    recent = audit.recent(TESTED)
    if recent >= PER_HOUR:
        raise Throttled(f"There were {recent} tests within an hour.", "Wait a few minutes, then try again.")
    actor.record(TESTED, subject)
    return _steps(sources, folder, Policy.of(settings), actor, subject)


def _steps(
    sources: Sequence[Source], folder: str, policy: Policy, actor: Actor, subject: str
) -> Iterator[ProbeStep]:
    ends_at = time.monotonic() + SECONDS
    for each in sources:
        for step in _of(each, folder, policy, ends_at):
            if not step.ok:
                actor.record(FAILED, subject, f"At this step: {step.name}.")
            yield step
            if not step.ok:
                return


def _of(source: Source, folder: str, policy: Policy, ends_at: float) -> Iterator[ProbeStep]:
    one: Credential | None
    if isinstance(source, ByConsent):
        one = yield from token_steps(source.endpoint, source.vault, source.settings)
    else:
        one = source
    if one is not None:
        left = max(ends_at - time.monotonic(), LEAST_SECONDS)
        steps = _probe(one, folder, replace(policy, deadline=min(policy.deadline, left)))
        yield from (_explained(step, source) for step in steps)


def _explained(step: ProbeStep, source: Source) -> ProbeStep:
    """The step; with who signed in, where the server knows that person but opens another mailbox to them."""
    if step.error is None or step.error.reason != "not-connected" or not isinstance(source, ByConsent):
        return step
    consent = Consent.get_or_none(Consent.account == source.endpoint.account_id)
    person = (consent and str(consent.signs_in_as)) or source.server.username
    message, remedy = sentences.not_connected(person, source.server.username)
    return replace(step, message=message, remedy=remedy)


def _probe(one: Credential, folder: str, policy: Policy) -> Iterator[ProbeStep]:
    if one.server.protocol == "pop3":
        return pop3.probe(one.server, one.secret, policy)
    if one.server.protocol == "smtp":
        return smtp.probe(one.server, one.secret, policy)
    return imap.probe(one.server, one.secret, folder, policy)
