"""The calls for one consent's access token, in the order that can lose no refresh token.

Before a refresh token is used, it is made sure that its successor can be stored (`consents.take`): this copy
of the install is the original, the key seals, the database takes the write. What comes is stored durably, and
only then used. The order of steps and what a kill at each costs: docs/decisions/0043-tokens.md.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

import peewee

from panel import db, identity
from panel.config import Settings
from panel.errors import AppFault, ConsentNeeded, DatabaseError, PanelError, TokenUnavailable
from panel.mail.policy import Policy
from panel.models import OauthApp
from panel.oauth import apps, client, consents, known_apps, sentences
from panel.oauth.client import Tokens
from panel.oauth.consents import LEASE_SECONDS, Held
from panel.oauth.memory import AccessToken, Memory, Slot, Unsaved
from panel.oauth.sentences import UnknownRefusal
from panel.oauth.session import AnswerLost
from panel.secret import Secret
from panel.vault.vault import Vault

TURN_PAUSE = 0.2  # seconds until a lease that another process holds is tried again
WAITING_SECONDS = 5.0  # how long a person waits for another process's call
COMMITS, COMMIT_PAUSE = 3, 0.5  # tries to store a new refresh token, and seconds between two

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProviderRequest:
    """To ask the provider for the access token of one consent. `refused`: the one that a mail server has
    just refused.

    `interactive`: a person waits for it, and may have corrected what failed before.
    """

    consent: str  # uid
    account: str  # uuid, of the endpoint that was opened
    vault: Vault
    settings: Settings
    refused: Secret | None = None
    interactive: bool = False

    @property
    def memory(self) -> Memory:
        return Memory.of(self.vault)

    @property
    def longest_wait(self) -> float:
        """Seconds to wait for another process or thread that asks for the same."""
        return WAITING_SECONDS if self.interactive else LEASE_SECONDS

    @property
    def _is_forced(self) -> bool:
        """Whether a mail server refused the one before: a person's test takes a fresh one for no reason."""
        return self.refused is not None and not self.interactive

    def open_app(self, uid: str) -> tuple[OauthApp, Secret]:
        """The app, once its record has opened, and its client secret. Raises ConsentNeeded, CannotOpen."""
        app = OauthApp.get_or_none(OauthApp.uid == uid)
        if app is None:
            raise sentences.no_app()
        return app, known_apps.opened(app, self.vault)

    def refreshed(self, slot: Slot, stamp: object, app_uid: str) -> AccessToken | None:
        """By the refresh token. None where the mailbox was connected anew meanwhile."""
        if slot.unsaved is not None and self._store(slot, slot.unsaved):
            found = slot.current(stamp, self.refused)
            if found is not None:
                return found
        app, secret = self.open_app(app_uid)
        self._require_may_ask(app)
        held = self._turn(slot, stamp)
        try:
            return self._with_lease(slot, held, app, secret)
        finally:
            self._release(held)

    @staticmethod
    def give_up() -> NoReturn:
        """Nobody waits any longer."""
        raise TokenUnavailable("Another process is asking for this mailbox's access token.", sentences.AGAIN)

    def _require_may_ask(self, app: OauthApp) -> None:
        identity.require_ours(self.settings.data_dir)
        if app.problem is None:
            self.memory.fault_ended(str(app.uid))
        for name in (str(app.uid), self.consent):
            self.memory.require_no_pause(name, app.rev, interactive=self.interactive)

    def _turn(self, slot: Slot, stamp: object) -> Held:
        ends_at = time.monotonic() + self.longest_wait
        while (held := consents.take(self.consent, self.account, self.vault)) is None:
            if time.monotonic() > ends_at or slot.valid(stamp, self.refused):
                self.give_up()
            time.sleep(TURN_PAUSE)
        return held

    def _with_lease(self, slot: Slot, held: Held, app: OauthApp, secret: Secret) -> AccessToken | None:
        asked_at = time.monotonic()
        try:
            with self._noting(app):
                tokens = self._ask(app, secret, held)
        except ConsentNeeded as error:
            slot.token = None
            consents.end(held, error, self.vault)
            raise
        token = AccessToken.of(tokens, asked_at, forced=self._is_forced)
        if tokens.refresh is None:
            slot.keep(held.stamp, token)
            return token
        return token if self._store(slot, Unsaved(held, tokens.refresh, token)) else None

    def _ask(self, app: OauthApp, secret: Secret, held: Held) -> Tokens:
        """Use the refresh token; once more where the answer was lost: it may never have been given."""
        policy = Policy.of(self.settings)
        for last in (True,) if self.interactive else (False, True):
            if time.monotonic() > held.begins_before:
                break
            try:
                return client.refresh(app.place, secret, held.token, policy)
            except AnswerLost:
                if last:
                    raise
        raise TokenUnavailable("The provider did not answer in time.", sentences.AGAIN)

    def _store(self, slot: Slot, unsaved: Unsaved) -> bool:
        """Store what came, durably, then use it. False where the mailbox was connected anew meanwhile.

        What cannot be stored stays in memory: the next request for the consent begins here.
        """
        slot.unsaved = unsaved
        for left in reversed(range(COMMITS)):
            try:
                stored = consents.store(unsaved.held, unsaved.refresh, self.vault)
                break
            except (PanelError, peewee.PeeweeException, OSError):
                if not left:
                    raise
                time.sleep(COMMIT_PAUSE)
        slot.unsaved = None
        if stored:
            slot.keep(unsaved.held.stamp, unsaved.token)
        return stored

    @staticmethod
    def _release(held: Held) -> None:
        try:
            consents.release(held)
        except DatabaseError as error:  # it ends by itself
            log.warning("%s", error)

    def of_the_app(self, slot: Slot, app: OauthApp, secret: Secret) -> AccessToken:
        """By the app itself (client credentials)."""
        self._require_may_ask(app)
        asked_at = time.monotonic()
        with self._noting(app):
            try:
                tokens = client.application_token(app.place, secret, Policy.of(self.settings))
            except ConsentNeeded as error:  # there is nobody whose consent it could be
                raise AppFault(error.message, error.remedy, app=str(app.uid), code=error.code) from None
        token = AccessToken.of(tokens, asked_at, forced=self._is_forced)
        slot.keep(app.rev, token)
        return token

    @contextmanager
    def _noting(self, app: OauthApp) -> Iterator[None]:
        """Remember how the provider answered: when `app` may ask again, and its own fault in its row."""
        try:
            yield
        except (AppFault, TokenUnavailable) as error:
            of_one = isinstance(error, UnknownRefusal)
            self.memory.failed(self.consent if of_one else str(app.uid), app.rev, error)
            if isinstance(error, AppFault):
                _store_problem(app, error)
            raise
        self.memory.worked(str(app.uid), self.consent)
        if app.problem is not None:
            apps.works(str(app.uid))


def _store_problem(app: OauthApp, error: AppFault) -> None:
    if app.problem != error.message:
        OauthApp.update(problem=error.message, problem_remedy=error.remedy, problem_at=db.now()).where(
            OauthApp.uid == app.uid
        ).execute()
