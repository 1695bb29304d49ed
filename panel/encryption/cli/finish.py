"""The end of every command that changes records."""

from __future__ import annotations

import click

from panel.encryption import facts, findings, switch
from panel.encryption.cli import words
from panel.encryption.old_copies import scan
from panel.encryption.state import State
from panel.services import current
from panel.shell import print_lines, progress


def finish(context: click.Context) -> None:
    """Carry what is under way to its end and tell how that went. Exit status 1 where something is wrong."""
    install = current()
    with progress("Passwords") as bar:
        done = switch.resume(install.keystore, bar)
    scan.write_owed(install.keystore, install.settings)
    now = facts.look(install.keystore)
    print_lines(words.status(now))
    print_lines(words.report(now, findings.last()))
    if done.failures or now.state.no_key or now.state is State.INCONSISTENT:
        context.exit(1)
