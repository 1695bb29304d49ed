"""Access tokens for mailboxes: from memory, or by a refresh that can lose no consent.

While refreshing fails, the access token of before is used, as long as it is good.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from panel import db
from panel.errors import ConsentNeeded, PanelError, TokenUnavailable
from panel.models import Consent, OauthApp
from panel.oauth import consents, providers, sentences
from panel.oauth.memory import AccessToken, Slot
from panel.oauth.refreshing import ProviderRequest
from panel.vault import credential

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TokenRequest(ProviderRequest):
    """For the access token of one consent."""

    def token(self) -> AccessToken:
        """The token to sign in with; the refused one again where a fresh one was refused too.

        Raises ConsentNeeded, AppFault, TokenUnavailable, RestoredCopy, CannotOpen, CannotStore or
        DatabaseError.
        """
        assert not db.database.in_transaction(), "what comes must be committed before it is used"
        found = self._unchanged()
        if found is not None:
            return found
        for _ in range(3):
            row = consents.find(self.consent)
            refresh_token = consents.opened(row, self.account, self.vault)
            found = self._delegated(row) if refresh_token.reveal() else self._application(row)
            if found is not None:
                return found
        raise TokenUnavailable("The mailbox was being connected anew.", sentences.AGAIN)

    def _unchanged(self) -> AccessToken | None:
        """The token in use, if the row is what it was when it was opened: that need not be done each time."""
        slot = self.memory.slot(self.consent)
        if (
            slot.unsaved is not None
            or slot.opened is None
            or slot.opened != (self.account, consents.glance(self.consent))
        ):
            return None
        return slot.current(slot.stamp, self.refused)

    def _delegated(self, row: Consent) -> AccessToken | None:
        """By the refresh token. None where the mailbox was connected anew meanwhile."""
        stamp = consents.stamp(row)
        slot = self.memory.slot(self.consent)
        slot.opened = (self.account, consents.glanced(row))
        return self._from(slot, stamp, lambda: self.refreshed(slot, stamp, str(row.app)))

    def _application(self, row: Consent) -> AccessToken | None:
        """By the app itself. Raises ConsentNeeded where it is none that signs in by itself."""
        app, secret = self.open_app(str(row.app))
        if app.access != providers.APPLICATION:
            raise sentences.waits()
        slot = self.memory.slot(f"app {app.uid}")
        return self._from(slot, app.rev, lambda: self.of_the_app(slot, app, secret))

    def fresh(self) -> AccessToken:
        """A token that was not in use yet, for a person who tests the connection. Raises as `token`."""
        row = consents.find(self.consent)
        slots = (self.memory.slot(name) for name in (self.consent, f"app {row.app}"))
        used = next((slot.token for slot in slots if slot.token is not None), None)
        return replace(self, refused=used.secret if used else None, interactive=True).token()

    def app(self) -> OauthApp:
        """The app of the consent, once both records have opened. Raises ConsentNeeded, CannotOpen."""
        row = consents.find(self.consent)
        credential.open_row(row, self.vault)
        return self.open_app(str(row.app))[0]

    # -- from memory, or by one thread at a time ---------------------------------------------

    def _from(self, slot: Slot, stamp: object, renew: Callable[[], AccessToken | None]) -> AccessToken | None:
        """The token in `slot`, or what `renew` brings; the old one while renewing fails and it is good."""
        found = slot.current(stamp, self.refused) or self._refused_again(slot, stamp)
        if found is not None and slot.unsaved is None:
            return found
        still_good = slot.valid(stamp, self.refused)
        if not slot.lock.acquire(timeout=0 if still_good else self.longest_wait):
            if still_good is None:
                self.give_up()
            return still_good
        try:
            found = slot.current(stamp, self.refused) if slot.unsaved is None else None
            return found or renew()
        except ConsentNeeded:
            raise
        except PanelError as error:
            if still_good is None:
                raise
            log.debug("%s The access token of before is used.", error)
            return still_good
        finally:
            slot.lock.release()

    def _refused_again(self, slot: Slot, stamp: object) -> AccessToken | None:
        """The refused token, if the one before it was refused too: a third one would not help."""
        found = slot.valid(stamp, None)
        again = found is not None and found.forced and slot.current(stamp, self.refused) is None
        return found if again and self.refused is not None and not self.interactive else None
