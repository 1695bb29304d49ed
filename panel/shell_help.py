"""`flask --help` as Mailkeep's own: one line of what it is, its commands in groups, Flask's own set aside."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import click
from flask.cli import FlaskGroup

from panel.printing import print_lines

ABOUT = (
    "Mailkeep: collects the mail of many mailboxes for a helpdesk, and keeps their passwords encrypted. "
    "These commands do what its pages do."
)
SECTIONS = {
    "Mailboxes": ("accounts", "oauth", "sending"),
    "Mail": ("collect", "deliver", "messages"),
    "Encryption": ("encryption",),
    "People": ("people",),
    "Server": ("setup", "doctor", "settings", "alerts", "backup", "activity"),
}
WRONG_USAGE = 2
FLASKS_OWN = ("routes", "run", "shell")
MORE = "More about a command: flask accounts --help. Completion in bash, zsh and fish: docs/commands.md"


def name_program(group: FlaskGroup) -> None:
    """Have `group`, the `flask` that loads our application, show our help.

    Flask loads the application while it writes its own, and asks for the end of the text last: by then ours
    can stand in its place.
    """
    group.format_epilog = partial(_write, group)  # type: ignore[method-assign]


def _write(group: FlaskGroup, context: click.Context, formatter: click.HelpFormatter) -> None:
    formatter.buffer.clear()
    group.format_usage(context, formatter)
    formatter.write_paragraph()
    with formatter.indentation():
        formatter.write_text(ABOUT)
    commands = {name: group.get_command(context, name) for name in group.list_commands(context)}
    known = {name for names in SECTIONS.values() for name in (*names, *FLASKS_OWN)}
    others = tuple(name for name in commands if name not in known)
    for title, names in SECTIONS.items():
        names = (*names, *others) if title == "Server" else names
        _write_section(title, {name: commands[name] for name in names if name in commands}, formatter)
    _write_section("Flask's own, for development", {n: commands[n] for n in FLASKS_OWN}, formatter)
    formatter.write_paragraph()
    formatter.write_text(MORE)
    print_lines(formatter.getvalue().splitlines())
    context.exit(0 if sys.argv[1:] else WRONG_USAGE)  # click would end with 1 where the reader has left


def _write_section(title: str, commands: dict[str, Any], formatter: click.HelpFormatter) -> None:
    limit = formatter.width - 18
    rows = [(name, command.get_short_help_str(limit)) for name, command in commands.items() if command]
    if rows:
        with formatter.section(title):
            formatter.write_dl(rows, col_max=12)
