"""The end of every command that changes records."""

from __future__ import annotations

import click

from panel.encryption import facts, findings, switch
from panel.encryption.cli import words
from panel.encryption.old_copies import scan
from panel.encryption.state import State
from panel.services import current
from panel.shell import print_lines, progress


def finish(context: click.Context, *afterwards: str) -> None:
    """Carry what is under way to its end, and tell how that went.

    Then what is left to do: `afterwards`, or the backup of the key file where that is due. Exit status 1
    where a record does not open, the key is no good, or passwords stand where they should not: in a
    file of this server, or in old copies that could not be removed.
    """
    install = current()
    scan.again_where_found(install.keystore)
    with progress("Passwords") as bar:
        done = switch.resume(install.keystore, bar)
    scan.write_owed(install.keystore, install.settings)
    now, last = facts.look(install.keystore), findings.last()
    print_lines(words.status(now))
    print_lines(words.report(now, last))
    print_lines(afterwards or words.backup_due(now))
    if done.failures or now.state.no_key or now.state is State.INCONSISTENT or _stand_about(now, last):
        context.exit(1)


def _stand_about(now: facts.Status, last: findings.Findings | None) -> bool:
    """Whether passwords stand outside of their records. While encryption is off they are meant to."""
    if now.state.working:
        return now.scrub_owed
    found = last.scan if last is not None else None
    return now.state is not State.OFF and found is not None and found.on_this_server
