"""The end of every command that changes records."""

from __future__ import annotations

from collections.abc import Collection

import click

from panel.encryption.cli import words
from panel.encryption.leftovers import scan
from panel.services import current
from panel.shell import print_lines, progress, say
from panel.vault import reports, snapshot, turn_on
from panel.vault.reports import Findings
from panel.vault.state import State


def finish(context: click.Context, *afterwards: str, wanted: Collection[State] = tuple(State)) -> None:
    """Carry what is under way to its end, and tell how that went.

    Then what is left to do: `afterwards`, or the backup of the key file where that is due. Exit status 1
    where a record does not open, the key is no good, or passwords stand where they should not: in a
    file of this server, or in old copies that could not be removed; and where the state is not one of
    `wanted`, because it was changed from elsewhere meanwhile.
    """
    install = current()
    scan.again_where_found(install.keystore)
    with progress("Passwords") as bar:
        done = turn_on.resume(install.keystore, bar)
    scan.write_owed(install.keystore, install.settings)
    now = snapshot.look(install.keystore)
    last, kept_by_reader = _report(now), now.state.working and now.scrub_pending
    if now.state not in wanted:
        say("This was changed from elsewhere meanwhile, and is now as follows.")
    print_lines(words.status(now))
    if kept_by_reader:
        say(words.OPEN_READER)
    if last is not None:
        print_lines(words.report(last))
    print_lines(afterwards or words.backup_due(now))
    found = last is not None and last.scan is not None and last.scan.on_this_server
    if (
        now.state not in wanted
        or done.failures
        or now.state.no_key
        or now.state is State.INCONSISTENT
        or kept_by_reader
        or found
    ):
        context.exit(1)


def _report(now: snapshot.Status) -> Findings | None:
    """The newest report, where it is one of the state `now`."""
    last = reports.last()
    if last is None or now.state.working:
        return None
    if now.state is State.OFF and last.scan is not None:
        return None  # of the time before the key was given up: now passwords stand in clear on purpose
    return last
