"""`flask collect`: collecting in this process, without the worker."""

from __future__ import annotations

import logging
import math
import os
import sys
import time
from collections.abc import Sequence
from functools import partial

import click
from flask.cli import with_appcontext

from panel import db, identity
from panel.collect import due
from panel.collect.due import Waiting
from panel.collect.round import Collector, Outcome
from panel.collect.scheduler import Limits, Scheduler
from panel.collect.turn import Turn
from panel.errors import KeyAbsent, NotFound, PanelError, Refused, RestoredCopy
from panel.mail import addresses
from panel.models import Account
from panel.services import current
from panel.shell import PanelCommand, reader_is_gone, say

log = logging.getLogger(__name__)

LOOK_UP_SECONDS = 5.0  # for the address of a mail server
PAUSE = 5.0  # seconds between two looks at what is due


@click.command("collect", cls=PanelCommand)
@click.option("--once", is_flag=True, help="One round of what is due, then end.")
@click.option(
    "--account", "address", metavar="ADDRESS", help="Only this account; at first whether due or not."
)
@with_appcontext
def collect(once: bool, address: str | None) -> None:
    """Collect mail, until Ctrl-C. The worker of script/server does the same all the time."""
    services = current()
    collector = Collector(services.settings, services.vault)
    identity.require_ours(services.settings.data_dir)
    chosen = _find(address) if address else None
    rounds = _Rounds(collector, once=once)
    try:
        if chosen:
            rounds.begin([Waiting(chosen)], force=True)
        else:
            rounds.begin(due.waiting())
        if once:
            sys.exit(0 if rounds.ended_well() else 1)
        _go_on(rounds, chosen)
    except KeyboardInterrupt:
        say("Stopped. What was under way goes on at the next start.")
        os._exit(0)  # rounds may be killed at any moment; to wait for a slow server would take minutes


def _go_on(rounds: _Rounds, chosen: str | None) -> None:
    say("Collecting until Ctrl-C.")
    while not reader_is_gone():
        time.sleep(PAUSE)
        rounds.begin([one for one in due.waiting() if chosen in (None, one.uuid)])


def _find(address: str) -> str:
    account = Account.get_or_none(Account.address == address)
    if account is None:
        raise NotFound(f"There is no account {address}.", "flask accounts list shows them.")
    if account.paused_at is not None:
        raise Refused(f"{address} is paused.", f"Resume it first: flask accounts resume {address}")
    return str(account.uuid)


class _Rounds:
    """Rounds side by side; with `once` they may take their time, because each has one turn only."""

    def __init__(self, collector: Collector, *, once: bool) -> None:
        self._collector = collector
        self._all_well = True
        self._anyway = False
        limits = Limits(turn=math.inf) if once else Limits()
        self._scheduler = Scheduler(
            self._collect, limits, partial(addresses.number_of, seconds=LOOK_UP_SECONDS)
        )

    def begin(self, waiting: Sequence[Waiting], *, force: bool = False) -> None:
        """One round of each. `anyway`: whether it is due or not."""
        try:
            self._collector.require_ready()
        except (KeyAbsent, RestoredCopy) as error:
            say(f"Collecting is paused. {error}", err=True)
            self._all_well = False
            return
        self._anyway = force
        self._scheduler.offer(waiting)

    def ended_well(self) -> bool:
        """Wait until all have ended. Whether all went well."""
        self._scheduler.finish()
        return self._all_well

    def _collect(self, uuid: str, turn: Turn) -> None:
        if not _one(self._collector, self._anyway, uuid, turn):
            self._all_well = False


def _one(collector: Collector, force: bool, uuid: str, turn: Turn) -> bool:
    name = uuid  # until its address could be read
    with db.database.connection_context():
        try:
            with db.explained():
                found = Account.select(Account.address).where(Account.uuid == uuid).scalar()
                if found is None:
                    return True  # removed meanwhile
                name = str(found)
                outcome = collector.collect(uuid, force=force, turn=turn)
        except PanelError as error:
            say(f"{name}: {error}", err=True)
            return False
        except Exception:  # one account must not end the others'
            log.exception("%s: collecting met an error that Mailkeep does not know.", name)
            return False
    say(f"{name}: {_told(outcome)}")
    return True


def _told(outcome: Outcome | None) -> str:
    if outcome is None:
        return "somebody else is collecting it."
    skipped = f", {outcome.passed} listed as not fetched" if outcome.passed else ""
    more = "; more to come" if outcome.more else ""
    return f"{outcome.delivered} new{skipped}{more}."
