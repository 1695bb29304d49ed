"""`flask collect`: collecting in this process, without the worker."""

from __future__ import annotations

import logging
import math
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

import click
from flask.cli import with_appcontext

from panel import db, identity
from panel.collect import due
from panel.collect.control import RoundControl
from panel.collect.due import DueAccount
from panel.collect.round import UNKNOWN, Collector, Outcome
from panel.collect.scheduler import Limits, Scheduler, look_up
from panel.errors import KeyAbsent, NotFound, PanelError, Refused, RestoredCopy
from panel.models import LISTED, Account
from panel.printing import print_json, reader_is_gone, say
from panel.services import current
from panel.shell import PanelCommand, json_option
from panel.wording import counted

log = logging.getLogger(__name__)

TICK_SECONDS = 5.0  # between two queries for what is due


@dataclass(frozen=True)
class RoundResult:
    """What one round did, as `collect --once --json` shows it."""

    account: str
    delivered: int = 0
    skipped: int = 0
    more: bool = False  # messages are left on the server; the next round is due at once
    elsewhere: bool = False  # another process is collecting it
    error: str | None = None
    remedy: str | None = None

    @property
    def text(self) -> str:
        """What a person should read of it; empty where it brought nothing."""
        if self.elsewhere:
            return "another process is collecting it"
        parts = [f"{self.delivered} new"] if self.delivered else []
        parts += [f"{self.skipped} skipped"] if self.skipped else []
        parts += ["more to come"] if self.more else []
        return ", ".join(parts)


@click.command("collect", cls=PanelCommand)
@click.option("--once", is_flag=True, help="One round of each mailbox that is due, then exit.")
@click.option("--account", "address", metavar="ADDRESS", help="Only this mailbox; at first even if not due.")
@click.option("-v", "--verbose", is_flag=True, help="A line for each mailbox, also without new mail.")
@json_option
@with_appcontext
def collect(once: bool, address: str | None, verbose: bool, json_: bool) -> None:
    """Collect mail, until Ctrl-C.

    The worker of script/server does the same all the time. With --once, exit status 1 if a mailbox failed.
    """
    if json_ and not once:
        raise click.UsageError("--json needs --once.")
    services = current()
    identity.require_ours(services.settings.data_dir)
    chosen = _find(address) if address else None
    show = Show.NOTHING if json_ else Show.ALL if verbose else Show.NEWS
    rounds = _Rounds(Collector(services.settings, services.vault), show, once=once)
    try:
        rounds.start([DueAccount(chosen)] if chosen else due.accounts(), force=chosen is not None)
        if once:
            rounds.finish()
            if json_:
                print_json(rounds.as_json())
            elif summary := rounds.summary():
                say(summary)
            sys.exit(0 if rounds.all_ok else 1)
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


class Show(Enum):
    """Of which rounds a line is printed."""

    NOTHING, NEWS, ALL = range(3)


class _Rounds:
    """Parallel rounds that print what they bring. With `once` they have no time slices."""

    def __init__(self, collector: Collector, show: Show, *, once: bool) -> None:
        self._collector = collector
        self._show = show
        self._once = once
        self._force = False
        self._paused: PanelError | None = None  # why nothing can be collected
        self._results: list[RoundResult] = []  # with `once` only
        self._scheduler = Scheduler(
            self._collect, Limits(slice_seconds=math.inf) if once else Limits(), look_up
        )

    @property
    def all_ok(self) -> bool:
        return self._paused is None and not any(result.error for result in self._results)

    def start(self, accounts: Sequence[DueAccount], *, force: bool = False) -> None:
        """One round of each, with `force` even if it is not due."""
        try:
            self._collector.require_ready()
        except (KeyAbsent, RestoredCopy) as error:
            say(f"Collecting is paused. {error}", err=True)
            self._paused = error
            return
        self._force = force
        self._scheduler.offer(accounts)

    def finish(self) -> None:
        self._scheduler.finish()

    def summary(self) -> str:
        """What all rounds did, in one line; empty where a line of a round has said it."""
        count, failed = len(self._results), sum(result.error is not None for result in self._results)
        new = sum(result.delivered for result in self._results)
        skipped = sum(result.skipped for result in self._results)
        mailboxes = counted(count, "mailbox")
        if self._paused:
            return "Nothing was collected."
        if not count:
            return "No mailbox is due."
        if not (new or skipped or failed):
            return f"No new mail in {mailboxes}."
        if count == 1:
            return ""
        parts = [counted(new, "new message") if new else "no new mail"]
        parts += [f"{skipped} skipped"] if skipped else []
        parts += [f"{failed} failed"] if failed else []
        return f"{mailboxes}: {', '.join(parts)}."

    def as_json(self) -> dict[str, Any]:
        return {
            "mailboxes": len(self._results),
            "delivered": sum(result.delivered for result in self._results),
            "skipped": sum(result.skipped for result in self._results),
            "failed": sum(result.error is not None for result in self._results),
            "paused": str(self._paused) if self._paused else None,
            "rounds": [asdict(result) for result in sorted(self._results, key=lambda each: each.account)],
        }

    def _collect(self, uuid: str, control: RoundControl) -> None:
        name = uuid  # until its address could be read
        with db.database.connection_context():
            try:
                with db.explained():
                    found = Account.select(Account.address).where(Account.uuid == uuid).scalar()
                    if found is None:
                        return  # removed meanwhile
                    name = str(found)
                    outcome = self._collector.collect(uuid, force=self._force, control=control)
                self._report(_result(name, outcome))
            except PanelError as error:
                self._report(RoundResult(name, error=error.message, remedy=error.remedy))
            except Exception:  # one account must not stop the others
                log.exception("%s: collecting failed with an unknown error.", name)
                self._report(RoundResult(name, error=UNKNOWN[0], remedy=UNKNOWN[1]))

    def _report(self, result: RoundResult) -> None:
        if self._once:
            self._results.append(result)
        if self._show is Show.NOTHING:
            return
        if result.error:
            say(f"{result.account}: {result.error} {result.remedy or ''}".rstrip(), err=True)
        elif result.text:
            say(f"{result.account}: {result.text}.")
        elif self._show is Show.ALL:
            say(f"{result.account}: no new mail.")


def _result(name: str, outcome: Outcome | None) -> RoundResult:
    if outcome is None:
        return RoundResult(name, elsewhere=True)
    return RoundResult(name, outcome.delivered, outcome.skipped, outcome.more)
