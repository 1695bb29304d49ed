"""The end of every command that changes records."""

from __future__ import annotations

from collections.abc import Collection

import click

from panel.encryption.cli import text
from panel.encryption.leftovers import scan
from panel.printing import print_lines, progress, say
from panel.services import current
from panel.vault import reports, unfinished
from panel.vault.reports import Findings
from panel.vault.snapshot import Snapshot
from panel.vault.state import State

ENCRYPTED = (State.ON, State.INCONSISTENT, State.ENABLING, State.ROTATING)  # or about to be


def finish(context: click.Context, *follow_up: str, wanted: Collection[State] = tuple(State)) -> None:
    """Finish what is under way, and print how that went: three lines where all is as it should be.

    Then what is left to do (`follow_up`). Exit status 1 where a password cannot be decrypted, the key cannot
    be used, leftovers were found on this server or could not be removed, or the state is not one of
    `wanted`, because another process changed it meanwhile.
    """
    install = current()
    scan.again_where_found(install.vault)
    with progress("Passwords") as bar:
        done = unfinished.resume(install.vault, bar)
    scan.finish_report(install.vault, install.settings)
    now = install.vault.read(counts=True)
    last = _report(now)
    held_by_reader = now.state.working and now.row.scrub_pending is not None
    if now.state not in wanted:
        say("Encryption was changed by another process.")
    print_lines(text.status(now, install.vault))
    if held_by_reader:
        say(text.OPEN_READER)
    if last is not None:
        print_lines(text.report(last))
    print_lines(follow_up)
    found = last is not None and last.scan is not None and last.scan.on_this_server
    bad_state = now.state not in wanted or now.state.no_key or now.state is State.INCONSISTENT
    if bad_state or done.failures or held_by_reader or found:
        context.exit(1)


def _report(now: Snapshot) -> Findings | None:
    """The newest report, where it is one of the state `now`."""
    last = reports.last()
    if last is None or now.state.working:
        return None
    if now.state is State.OFF and last.scan is not None:
        return None  # from before the key was given up: now passwords are in clear text on purpose
    return last
