"""Signing in at a mail server, by whatever the mailbox has: a password, a secret kept outside, or a consent.

Collecting, sending, submission and connection tests all sign in here, and nowhere else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import TypeVar

from panel.config import Settings
from panel.errors import MailError, PanelError
from panel.mail import https
from panel.mail.policy import Policy
from panel.mail.session import ProbeStep
from panel.models import Endpoint
from panel.models.endpoint import CONSENT, REFERENCE
from panel.oauth import consents, providers, sentences
from panel.oauth.memory import AccessToken, Memory
from panel.oauth.tokens import TokenRequest
from panel.vault import credential, outside
from panel.vault.credential import Credential, Opened
from panel.vault.vault import Vault
from panel.wording import counted

T = TypeVar("T")
TOKEN_STEPS = ("app", "token")  # of a connection test, before those of the mail server


def with_login(
    endpoint: Endpoint,
    vault: Vault,
    settings: Settings,
    use: Callable[[Credential], T],
    *,
    interactive: bool = False,
) -> T:
    """What `use` returns for the credential of `endpoint`, a row read whole.

    `use` signs in and does its work. It is called once more where the access token was refused, with a fresh
    one, and where a session ended by the server's clock: so what it did before is not to be done twice.
    `interactive`: a person waits. Call it outside of any transaction. Raises what `use` raises, what opening
    the record raises, OutsideSecretError, and for a consent what `TokenRequest.token` raises.
    """
    opened = credential.open_for(endpoint, vault)
    if opened.kind == CONSENT:
        request = _request(opened, endpoint, vault, settings, interactive=interactive)
        return _ByToken(request, opened).use(use)
    login = _without_token(opened, settings)
    try:
        return use(login)
    except MailError as error:
        if not error.session_ended:
            raise
    return use(login)


def _without_token(opened: Opened, settings: Settings) -> Credential:
    if opened.kind == REFERENCE:
        return Credential(opened.server, outside.read(opened.secret.reveal(), opened.server, settings))
    return opened.with_password()


def _request(
    opened: Opened, endpoint: Endpoint, vault: Vault, settings: Settings, *, interactive: bool
) -> TokenRequest:
    uid = opened.secret.reveal()
    return TokenRequest(uid, str(endpoint.account_id), vault, settings, interactive=interactive)


@dataclass
class _ByToken:
    """One sign-in by access token, with a second try for each of the two reasons that are worth it."""

    request: TokenRequest
    opened: Opened
    ended: bool = False

    def use(self, use: Callable[[Credential], T]) -> T:
        token = self.request.token()
        while True:
            try:
                result = use(Credential(self.opened.server, token.secret))
                break
            except MailError as error:
                token = self._next(token, error)
        Memory.of(self.request.vault).accepted(token)
        return result

    def _next(self, token: AccessToken, error: MailError) -> AccessToken:
        """The token for another try, or the error for people."""
        if error.session_ended and not self.ended:
            self.ended = True
            return self.request.token()
        if error.token_refused and self.request.refused is None:
            self.request = replace(self.request, refused=token.secret)
            fresh = self.request.token()
            if fresh.secret.reveal() != token.secret.reveal():
                return fresh
        raise self._explained(error)

    def _explained(self, error: MailError) -> MailError:
        """`error` with who signed in, where that is what people need to know."""
        if error.reason != "not-connected":
            return error
        row = consents.find(self.request.consent)
        who = str(row.signs_in_as) or self.opened.server.username
        error.message, error.remedy = sentences.not_connected(who, self.opened.server.username)
        error.args = (error.message,)
        return error


def token_steps(
    endpoint: Endpoint, vault: Vault, settings: Settings
) -> Generator[ProbeStep, None, Credential | None]:
    """The steps of a connection test before the mail server: `app` and `token` of a consent, else none.

    The token is a fresh one. Returns what to log in with; None where a step failed. Raises what opening the
    record raises, before the first step.
    """
    opened = credential.open_for(endpoint, vault)
    if opened.kind != CONSENT:
        return _without_token(opened, settings)
    request = _request(opened, endpoint, vault, settings, interactive=True)
    step, started = "app", time.monotonic()
    try:
        message = _app_found(request)
        yield ProbeStep("app", True, time.monotonic() - started, message)
        step, started = "token", time.monotonic()
        token = request.fresh()
    except PanelError as error:
        yield ProbeStep(step, False, time.monotonic() - started, error.message, error.remedy)
        return None
    minutes = round((token.ends_at - time.monotonic()) / 60)
    message = f"The provider gave an access token, which is valid for {counted(minutes, 'minute')}."
    yield ProbeStep("token", True, time.monotonic() - started, message)
    return Credential(opened.server, token.secret)


def _app_found(request: TokenRequest) -> str:
    app = request.app()
    at = providers.endpoints(app.place, Policy.of(request.settings))
    return f"The app “{app.name}” asks for access tokens at {https.target(at.token).origin}."
