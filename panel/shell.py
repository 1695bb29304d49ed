"""What all commands share: `flask GROUP COMMAND` in the repository root.

A command works on the install that environment and PANEL_ENV_FILE name, as the
owner of its data directory, with the database open. Exit status: 0 fine, 1 a
problem was found, 2 wrong usage, 3 refused and nothing changed.
"""

from __future__ import annotations

import json
import logging
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click
from flask import current_app
from flask.cli import AppGroup, ScriptInfo

from panel import db, install, logs, process
from panel.config import Settings
from panel.errors import BadInput, NotTheOwner, PanelError, Refused
from panel.secret import Secret
from panel.services import current

REFUSED = 3
SECONDS_BETWEEN_LINES = 2

Progress = Callable[[int, int], None]  # done, in all

json_option = click.option("--json", "json_", is_flag=True, help="Print JSON.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")
confirm_option = click.option("--confirm", help="The words that would have to be typed to confirm.")


@contextmanager
def exit_on_error() -> Iterator[None]:
    """Turn an error that a person may read into its sentences on standard error and its exit status."""
    try:
        yield
    except PanelError as error:
        click.echo(str(error), err=True)
        sys.exit(error.exit_code)


class PanelCommand(click.Command):
    """One command on an install. Refused where there is none, unless it `creates_install`."""

    def __init__(self, *args: Any, creates_install: bool = False, **kwargs: Any) -> None:
        """Take `creates_install`: make or upgrade the install first (only `flask setup` does)."""
        super().__init__(*args, **kwargs)
        self.creates_install = creates_install

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command with app context and open database, telling errors in plain sentences."""
        process.harden()
        with exit_on_error(), _app_context(ctx):
            _require_text(ctx.params)
            settings = current().settings
            logs.configure(settings.log_format, logging.WARNING)
            self._require_install(settings)
            with db.explained(), db.database.connection_context():
                return self._run(ctx)

    def _require_install(self, settings: Settings) -> None:
        try:
            if self.creates_install:
                install.prepare(settings)
            else:
                install.require(settings)
        except NotTheOwner as error:
            owner = settings.data_dir.owner()
            line = shlex.join(["sudo", "-u", owner, *sys.argv])
            raise NotTheOwner(error.message, f"Run it as that user: {line}") from None

    def _run(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (PanelError, click.ClickException, click.exceptions.Exit):
            raise
        except click.Abort:
            click.echo("Nothing was changed.", err=True)
            sys.exit(REFUSED)
        except Exception:
            # Python's own traceback would print the text of the exception, whatever it repeats.
            logging.getLogger(__name__).exception("The command met an error that it does not know.")
            sys.exit(1)


def _require_text(params: Mapping[str, Any]) -> None:
    """Raise BadInput for an argument that is no UTF-8: nothing here is called so."""
    for name, value in params.items():
        try:
            str(value).encode("utf-8")
        except UnicodeEncodeError:
            raise BadInput(f"What was given for {name} is no UTF-8.", "Type it again.") from None


class PanelGroup(AppGroup):
    """A group whose commands are PanelCommands."""

    command_class = PanelCommand

    def group(self, *args: Any, **kwargs: Any) -> Any:
        """A group inside this one, of the same kind."""
        kwargs.setdefault("cls", PanelGroup)
        return super().group(*args, **kwargs)


@contextmanager
def _app_context(ctx: click.Context) -> Iterator[None]:
    with ExitStack() as stack:
        if not current_app:
            stack.enter_context(ctx.ensure_object(ScriptInfo).load_app().app_context())
        yield


class PasswordFile(click.ParamType[Secret]):
    """The content of a file, or of standard input for `-`, as a Secret.

    Taken byte for byte but one final newline; it must be UTF-8.
    """

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Secret:
        """Read it. Ends with wrong usage where that is not possible."""
        if isinstance(value, Secret):
            return value
        try:
            data = sys.stdin.buffer.read() if value == "-" else Path(value).read_bytes()
            return Secret(data.decode("utf-8").removesuffix("\n"))
        except OSError as error:
            why = f"{value} cannot be read: {(error.strerror or '').lower()}."
        except UnicodeDecodeError:
            why = "the password is not UTF-8."
        except BadInput as error:
            why = str(error)
        raise click.BadParameter(why, ctx=ctx, param=param)


def password_option(required: bool = True, name: str = "password") -> Callable[[Any], Any]:
    """`--password-file F`, handed to the command as `password`: a Secret, or None if not required."""
    return click.option(
        f"--{name}-file",
        name,
        type=PasswordFile(),
        required=required,
        help=f"File that holds the {name}; - for standard input.",
    )


def ask(question: str, yes: bool) -> None:
    """Have a dangerous step confirmed, unless `yes`. Raises Refused where nobody can be asked or says no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Refused("This needs a confirmation; nothing was changed.", "Add --yes if you are sure.")
    if not click.confirm(question):
        raise Refused("Nothing was changed.")


def ask_password(label: str, option: str) -> Secret:
    """Have a password typed on the terminal, unseen. Ends with wrong usage where nobody can be asked."""
    if not sys.stdin.isatty():
        raise click.UsageError(f"Missing option '{option}'.")
    return Secret(click.prompt(label, hide_input=True))


def ask_typed(told: str, words: str, given: str | None) -> None:
    """Have `words` typed to confirm what cannot be undone; `given`: what --confirm brought, if anything."""
    click.echo(told)
    if given is None and not sys.stdin.isatty():
        raise Refused("This needs a confirmation; nothing was changed.", f'Add: --confirm "{words}"')
    if given is None:
        given = click.prompt(f'Type "{words}" to go on', default="", show_default=False)
    if given.strip() != words:
        raise Refused("The confirmation does not fit; nothing was changed.", f'It is: "{words}"')


def print_lines(lines: Iterable[str]) -> None:
    """Print `lines` for people."""
    for line in lines:
        click.echo(line)


def print_json(value: object) -> None:
    """Print `value` as JSON for programs."""
    click.echo(json.dumps(value, indent=1, ensure_ascii=False))


@contextmanager
def progress(label: str, quiet: bool = False) -> Iterator[Progress]:
    """Show how far work is, on standard error: a bar on a terminal, plain lines otherwise.

    Yields what is called with the number done and the number in all.
    """
    if quiet:
        yield lambda done, total: None
    elif sys.stderr.isatty():
        with _bar(label) as show:
            yield show
    else:
        yield _lines(label)


@contextmanager
def _bar(label: str) -> Iterator[Progress]:
    with click.progressbar(length=0, label=label, file=sys.stderr) as bar:

        def show(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        yield show


def _lines(label: str) -> Progress:
    last = 0.0

    def show(done: int, total: int) -> None:
        nonlocal last
        if done == total or time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            click.echo(f"{label}: {done} of {total}", err=True)

    return show
