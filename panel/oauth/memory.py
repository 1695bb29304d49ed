"""What one process remembers of tokens: access tokens, which are stored nowhere, and when to ask again.

Times are those of the monotonic clock: a wrong wall clock ends no token and keeps none alive.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace

from panel.errors import AppFault, PanelError, TokenUnavailable
from panel.oauth.client import Tokens
from panel.oauth.consents import Held
from panel.secret import Secret
from panel.vault.vault import Vault

EARLY, EARLY_PART = 300.0, 0.1  # seconds, or this part of its life: so long before its end a token is renewed
PAUSES = (5, 10, 20, 40, 80, 160, 300)  # seconds after the first, second, … failure in a row


@dataclass(frozen=True)
class AccessToken:
    """An access token and how long it is good for. `forced`: a server had refused the one before it."""

    secret: Secret
    renew_at: float
    ends_at: float
    forced: bool = False

    @classmethod
    def of(cls, tokens: Tokens, asked_at: float, *, forced: bool) -> AccessToken:
        """The one that came for a request of `asked_at`."""
        life = float(tokens.expires_in)
        early = min(max(EARLY, life * EARLY_PART), life / 2)
        return cls(tokens.access, asked_at + life - early, asked_at + life, forced)


@dataclass(frozen=True)
class Unsaved:
    """A refresh token that came in the place of `held.token`, and is not stored yet."""

    held: Held
    refresh: Secret
    token: AccessToken


@dataclass
class Slot:
    """One consent, or one app that signs in by itself.

    `stamp`: of whom the token is; another voids it. `opened`: for which account the row of the consent was
    opened last, and what stood in it.
    """

    lock: threading.Lock = field(default_factory=threading.Lock)
    stamp: object = None
    opened: object = None
    token: AccessToken | None = None
    unsaved: Unsaved | None = None

    def current(self, stamp: object, refused: Secret | None) -> AccessToken | None:
        """The token, if it belongs to `stamp`, is good for a while, and is not the `refused` one."""
        found = self.valid(stamp, refused)
        return found if found is not None and time.monotonic() < found.renew_at else None

    def valid(self, stamp: object, refused: Secret | None) -> AccessToken | None:
        """The token as long as it is good at all."""
        found = self.token
        if found is None or self.stamp != stamp or time.monotonic() >= found.ends_at:
            return None
        return None if refused is not None and found.secret.reveal() == refused.reveal() else found

    def keep(self, stamp: object, token: AccessToken) -> None:
        self.stamp, self.token = stamp, token


@dataclass(frozen=True)
class _Pause:
    until: float
    failures: int
    error: PanelError
    stamp: object  # of the app: a new client secret ends the pause
    demanded: bool  # by the provider (Retry-After): nobody is asked before


class Memory:
    """The tokens of one process, which its threads share."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slots: dict[str, Slot] = {}
        self._pauses: dict[str, _Pause] = {}

    @classmethod
    def of(cls, vault: Vault) -> Memory:
        """The one that belongs to `vault`."""
        found: Memory = vault.memory.setdefault("tokens", cls())
        return found

    def slot(self, name: str) -> Slot:
        with self._lock:
            return self._slots.setdefault(name, Slot())

    def require_no_pause(self, name: str, stamp: object, *, interactive: bool) -> None:
        """Raise the last error of the app or consent `name` again while it is too early to ask.

        A person may ask at any time but what the provider itself wants to wait. `stamp`: of the app.
        """
        pause = self._pauses.get(name)
        if pause is None or pause.stamp != stamp or (interactive and not pause.demanded):
            return
        left = pause.until - time.monotonic()
        if left > 0:
            error = pause.error
            if isinstance(error, TokenUnavailable):
                raise TokenUnavailable(error.message, error.remedy, retry_after=int(left) + 1)
            raise error

    def failed(self, name: str, stamp: object, error: PanelError) -> None:
        """Ask nothing for `name` for a while: as long as the provider wants, or longer each time."""
        before = self._pauses.get(name)
        failures = before.failures + 1 if before is not None and before.stamp == stamp else 0
        wanted = getattr(error, "retry_after", None)
        seconds = (
            PAUSES[min(failures, len(PAUSES) - 1)] if isinstance(error, TokenUnavailable) else PAUSES[-1]
        )
        until = time.monotonic() + max(wanted or 0, seconds)
        self._pauses[name] = _Pause(until, failures, error, stamp, wanted is not None)

    def worked(self, *names: str) -> None:
        """The provider gives tokens."""
        for name in names:
            self._pauses.pop(name, None)

    def fault_ended(self, app: str) -> None:
        """No fault of `app` is noted any more: another process was given tokens since."""
        pause = self._pauses.get(app)
        if pause is not None and isinstance(pause.error, AppFault):
            self.worked(app)

    def accepted(self, token: AccessToken) -> None:
        """A mail server took `token`: where it refuses it later, a fresh one is worth a try again."""
        if not token.forced:
            return
        with self._lock:
            for slot in self._slots.values():
                if slot.token is token:
                    slot.token = replace(token, forced=False)
