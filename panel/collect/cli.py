"""`flask collect`: collecting in this process, without the worker."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import click
from flask.cli import with_appcontext

from panel import db, identity
from panel.collect import due
from panel.collect.round import Collector, Outcome
from panel.errors import KeyAbsent, NotFound, PanelError, Refused, RestoredCopy
from panel.models import Account
from panel.services import current
from panel.shell import PanelCommand, reader_is_gone, say

log = logging.getLogger(__name__)

AT_ONCE = 8  # accounts; mail servers answer slowly and cost little
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
    collector = Collector(services.settings, services.keystore)
    identity.require_ours(services.settings.data_dir)
    chosen = _find(address) if address else None
    try:
        fine = _turn(collector, [chosen] if chosen else due.accounts(), anyway=chosen is not None)
        if once:
            sys.exit(0 if fine else 1)
        _go_on(collector, chosen)
    except KeyboardInterrupt:
        say("Stopped. What was under way goes on at the next start.")
        os._exit(0)  # rounds may be killed at any moment; to wait for a slow server would take minutes


def _go_on(collector: Collector, chosen: str | None) -> None:
    say("Collecting until Ctrl-C.")
    while not reader_is_gone():
        time.sleep(PAUSE)
        _turn(collector, [uuid for uuid in due.accounts() if chosen in (None, uuid)], anyway=False)


def _find(address: str) -> str:
    account = Account.get_or_none(Account.address == address)
    if account is None:
        raise NotFound(f"There is no account {address}.", "flask accounts list shows them.")
    if account.paused_at is not None:
        raise Refused(f"{address} is paused.", f"Resume it first: flask accounts resume {address}")
    return str(account.uuid)


def _turn(collector: Collector, uuids: Sequence[str], *, anyway: bool) -> bool:
    """One round of each, several at once. Whether all went well."""
    try:
        collector.require_ready()
    except (KeyAbsent, RestoredCopy) as error:
        say(f"Collecting is paused. {error}", err=True)
        return False
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return all(list(pool.map(partial(_one, collector, anyway), uuids)))


def _one(collector: Collector, anyway: bool, uuid: str) -> bool:
    name = uuid  # until its address could be read
    with db.database.connection_context():
        try:
            with db.explained():
                found = Account.select(Account.address).where(Account.uuid == uuid).scalar()
                if found is None:
                    return True  # removed meanwhile
                name = str(found)
                outcome = collector.collect(uuid, anyway=anyway)
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
