"""`flask collect`: collecting in this process, without the worker."""

from __future__ import annotations

import logging
import math
import os
import sys
import time
from collections.abc import Sequence

import click
from flask.cli import with_appcontext

from panel import db, identity
from panel.collect import due
from panel.collect.control import RoundControl
from panel.collect.due import DueAccount
from panel.collect.round import Collector, Outcome
from panel.collect.scheduler import Limits, Scheduler, look_up
from panel.errors import KeyAbsent, NotFound, PanelError, Refused, RestoredCopy
from panel.models import LISTED, Account
from panel.services import current
from panel.shell import PanelCommand, reader_is_gone, say

log = logging.getLogger(__name__)

TICK_SECONDS = 5.0  # between two queries for what is due


@click.command("collect", cls=PanelCommand)
@click.option("--once", is_flag=True, help="One round of each mailbox that is due, then exit.")
@click.option("--account", "address", metavar="ADDRESS", help="Only this mailbox; at first even if not due.")
@with_appcontext
def collect(once: bool, address: str | None) -> None:
    """Collect mail, until Ctrl-C. The worker of script/server does the same all the time."""
    services = current()
    identity.require_ours(services.settings.data_dir)
    chosen = _find(address) if address else None
    rounds = _Rounds(Collector(services.settings, services.vault), chosen, once=once)
    try:
        rounds.start([DueAccount(chosen)] if chosen else due.accounts(), force=chosen is not None)
        if once:
            sys.exit(0 if rounds.finish() else 1)
        say("Collecting until Ctrl-C.")
        while not reader_is_gone():
            time.sleep(TICK_SECONDS)
            rounds.start([account for account in due.accounts() if chosen in (None, account.uuid)])
    except KeyboardInterrupt:
        say("Stopped. The next start continues unfinished rounds.")
        os._exit(0)  # rounds may be killed at any moment; to wait for a slow server would take minutes


def _find(address: str) -> str:
    account = Account.get_or_none(Account.address == address, LISTED)
    if account is None:
        raise NotFound(f"There is no mailbox {address}.", "To list them, run: flask accounts list")
    if account.paused_at is not None:
        raise Refused(f"{address} is paused.", f"Resume it first: flask accounts resume {address}")
    return str(account.uuid)


class _Rounds:
    """Parallel rounds that print what they bring. With `once` they have no time slices."""

    def __init__(self, collector: Collector, chosen: str | None, *, once: bool) -> None:
        self._collector = collector
        self._chosen = chosen
        self._all_ok = True
        self._force = False
        self._count = self._with_news = 0
        limits = Limits(slice_seconds=math.inf) if once else Limits()
        self._scheduler = Scheduler(self._collect, limits, look_up)

    def start(self, accounts: Sequence[DueAccount], *, force: bool = False) -> None:
        """One round of each, with `force` even if it is not due."""
        try:
            self._collector.require_ready()
        except (KeyAbsent, RestoredCopy) as error:
            say(f"Collecting is paused. {error}", err=True)
            self._all_ok = False
            return
        self._force = force
        self._scheduler.offer(accounts)

    def finish(self) -> bool:
        """Wait for all rounds. Whether all succeeded."""
        self._scheduler.finish()
        if self._all_ok and not self._with_news:
            mailboxes = f"{self._count} mailbox{'' if self._count == 1 else 'es'}"
            say(f"No new mail in {mailboxes}." if self._count else "No mailbox is due.")
        return self._all_ok

    def _collect(self, uuid: str, control: RoundControl) -> None:
        name = uuid  # until its address could be read
        with db.database.connection_context():
            try:
                with db.explained():
                    found = Account.select(Account.address).where(Account.uuid == uuid).scalar()
                    if found is None:
                        return  # removed meanwhile
                    name = str(found)
                    self._report(name, self._collector.collect(uuid, force=self._force, control=control))
                return
            except PanelError as error:
                say(f"{name}: {error}", err=True)
            except Exception:  # one account must not stop the others
                log.exception("%s: collecting failed with an unknown error.", name)
        self._all_ok = False

    def _report(self, name: str, outcome: Outcome | None) -> None:
        self._count += 1
        if text := _text(outcome):
            self._with_news += 1
            say(f"{name}: {text}.")


def _text(outcome: Outcome | None) -> str:
    """What a person should read of a round; empty for one without news."""
    if outcome is None:
        return "another process is collecting it"
    parts = [f"{outcome.delivered} new"] if outcome.delivered else []
    if outcome.skipped:
        parts.append(f"{outcome.skipped} skipped")
    if outcome.more:
        parts.append("more to come")
    return ", ".join(parts)
