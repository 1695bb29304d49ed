"""One round of one account: new mail comes into its Maildir, and the outcome is stored."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from peewee import IntegrityError

from panel import db, identity
from panel.collect import due, parked
from panel.collect.control import RoundControl
from panel.collect.lease import Lease, LeaseLost
from panel.collect.parked import Terms
from panel.collect.parking import Parking
from panel.collect.visit import Visit
from panel.config import Settings
from panel.errors import KeyAbsent, MailError, PanelError
from panel.messages import record
from panel.models import LISTED, Account, Collection
from panel.vault.vault import Vault

UNKNOWN = ("Collecting failed with an unknown error.", "Look for it in the server's log.")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What a round brought. `more`: it did not reach the end, and the next one is due at once.

    `pause`: the seconds that the server wants between two sessions.
    """

    address: str
    delivered: int
    skipped: int
    more: bool
    pause: int = 0


@dataclass(frozen=True)
class Collector:
    settings: Settings
    vault: Vault
    parking: Parking | None = None  # where sessions stay open between rounds

    def require_ready(self) -> None:
        """Raise RestoredCopy or KeyAbsent where no account may be collected, or none can be."""
        identity.require_ours(self.settings.data_dir)
        self.vault.read().require_readable()

    def collect(
        self, uuid: str, *, force: bool = False, control: RoundControl | None = None
    ) -> Outcome | None:
        """One round of one account. None where it is not due (unless `force`), or is being collected.

        `control`: reports progress to a scheduler, which may ask the round to yield.

        Raises RestoredCopy or KeyAbsent, which are no fault of the account and not stored,
        and any other PanelError after storing it as the account's problem.
        """
        identity.require_ours(self.settings.data_dir)
        if not (force or (self.parking and self.parking.calls(uuid)) or due.find(uuid)):
            return None
        lease = Lease(uuid)
        if not _begin(lease):
            return None
        account = None
        try:
            account = Account.get_or_none(Account.uuid == uuid, LISTED)
            if account is None or account.paused_at is not None:
                return None
            return self._stored(account, lease, control or RoundControl())
        except LeaseLost:
            log.warning("%s: another collector has taken over.", account.address if account else uuid)
            return None
        finally:
            lease.release()
            if self.parking:
                self.parking.forget(uuid)

    def _stored(self, account: Account, lease: Lease, control: RoundControl) -> Outcome:
        started = db.now()
        visit = Visit(self.settings, self.vault, self.parking, account, lease, control)
        try:
            with db.explained():
                visit.run()
        except (KeyAbsent, LeaseLost):
            if self.parking:  # nothing is stored of such a round but that its session is gone
                parked.release(self.parking.holder, [account.uuid])
            raise
        except Exception as error:
            if isinstance(error, MailError) and not error.permanent and error.step != "after":
                control.result = "failed"
            known = error if isinstance(error, PanelError) else PanelError(*UNKNOWN)
            with db.transaction():  # unless the failure is about an older configuration
                if lease.is_ours() and _is_same(visit.terms, parked.terms(account.uuid)):
                    due.store_failure(account, known, _ended(started, control, known.message))
            raise
        control.result = "worked"
        try:
            self._store_success(visit, started)
        except BaseException:
            if visit.rests:
                visit.rests.session.close()
            raise
        if visit.rests and self.parking:
            self.parking.park(visit.rests)
        return Outcome(account.address, control.new, control.skipped, visit.more, visit.pause)

    def _store_success(self, visit: Visit, started: int) -> None:
        holder = self.parking.holder if self.parking and visit.rests else None
        after = due.after_success(
            visit.account, started, more=visit.more, pause=visit.pause, parked_by=holder
        )
        if not _release(visit.lease, after, _ended(started, visit.control)):
            raise LeaseLost(visit.account.uuid)


def _is_same(began: Terms | None, now: Terms | None) -> bool:
    """Whether a round that began under these terms was about what is configured now."""
    return began is None or (now is not None and began.entered == now.entered)


def _ended(started: int, control: RoundControl, error: str | None = None) -> record.Round:
    took = int(control.seconds * 1000)
    return record.Round(started, took, control.found, control.new, control.skipped, error)


def _release(lease: Lease, values: dict[str, object], this: record.Round) -> bool:
    """Give the lease back and store how the round went: one statement where it brought nothing."""
    values["took"] = this.took
    if not (this.delivered or this.skipped):
        return lease.release(**values, quiet_rounds=Collection.quiet_rounds + 1)
    with db.transaction():
        quiet = Collection.select(Collection.quiet_rounds).where(Collection.account == lease.account).scalar()
        released = lease.release(**values, quiet_rounds=0)
        if released:
            record.round_ended(lease.account, this, quiet or 0)
    return released


def _begin(lease: Lease) -> bool:
    """Whether nobody else collects it. An account's first round creates its Collection row.

    Where a person waits for the round, the lease is taken at once: by it pages show that it is under way.
    """
    if not lease.look():
        try:
            Collection.insert(account=lease.account).on_conflict_ignore().execute()
        except IntegrityError:
            return False  # there is no such account
        if not lease.look():
            return False
    return lease.take() if lease.asked else True
