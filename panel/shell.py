"""What all commands share: `flask GROUP COMMAND` in the repository root.

A command works on the install that environment and PANEL_ENV_FILE name, as the owner of its data
directory, with the database open. Exit status: 0 OK, 1 a problem was found, 2 wrong usage, 3 refused and
nothing changed.

Commands print through `panel.printing` only.
"""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from flask import current_app
from flask.cli import AppGroup, ScriptInfo

from panel import db, install, logs, process, program, text_file
from panel.errors import BadInput, Conflict, NotTheOwner, PanelError, Refused
from panel.logs import escaped
from panel.printing import (
    encodable,
    lose,
    open_standard_streams,
    print_lines,
    require_whole,
    say,
    whole_output,
)
from panel.secret import Secret
from panel.services import current
from panel.wording import reason

REFUSED = 3

json_option = click.option("--json", "json_", is_flag=True, help="Print JSON.")
count_option = click.option(
    "--count",
    type=click.IntRange(1, 1_000_000),  # SQLite takes no number beyond 63 bits
    default=50,
    show_default=True,
    help="How many of the newest.",
)
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")
confirm_option = click.option("--confirm", help="The text that you would have to type to confirm.")


@contextmanager
def exit_on_error(*, more: bool = False) -> Iterator[None]:
    """Print a PanelError to standard error, with `more` the page of the manual too; exit with its status."""
    try:
        yield
    except PanelError as error:
        say(str(error), err=True)
        if more and error.help:
            page, hash_, anchor = error.help.partition("#")
            say(f"More: docs/{page}.md{hash_}{anchor}", err=True)
        sys.exit(error.exit_code)


@contextmanager
def owner_named() -> Iterator[None]:
    """Tell another user than the data directory's owner what to type instead of this command."""
    try:
        yield
    except NotTheOwner as error:
        line = shlex.join(["sudo", "-u", error.owner, *shlex.split(program.flask()), *sys.argv[1:]])
        raise NotTheOwner(error.message, f"Run it as that user: {line}") from None


class _Parsed:
    """What commands and groups share: usage errors and help are printed like everything else."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Parse the arguments. Raises ClickException with escaped arguments."""
        open_standard_streams()
        with whole_output():
            try:
                return super().make_context(*args, **kwargs)  # type: ignore[misc, no-any-return]
            except OSError as error:  # while help was printed
                lose(sys.stdout, error)
            except click.ClickException as error:
                vars(error)["message"] = escaped(error.message)
                raise
        sys.exit(0)


class PanelCommand(_Parsed, click.Command):
    """One command on an install. Without one it is refused, unless it `creates_install`."""

    def __init__(self, *args: Any, creates_install: bool = False, **kwargs: Any) -> None:
        """`creates_install`: create or upgrade the install first (only `flask setup`)."""
        super().__init__(*args, **kwargs)
        self.creates_install = creates_install

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command with app context and open database; errors become plain sentences."""
        process.harden()
        with whole_output(), exit_on_error(more=True), owner_named(), _app_context(ctx):
            _require_text(ctx)
            settings = current().settings
            logs.configure(settings.log_format, logging.WARNING)
            if self.creates_install:
                install.prepare(settings)
            else:
                install.require(settings)
            with db.explained(), db.database.connection_context():
                return self._run(ctx)

    def _run(self, ctx: click.Context) -> Any:
        try:
            ask_missing(ctx)
            return super().invoke(ctx)
        except BadInput as error:
            _raise_usage(ctx, error)
            raise
        except (PanelError, click.ClickException, click.exceptions.Exit):
            raise
        except click.Abort:
            say("Nothing was changed.", err=True)
            sys.exit(REFUSED)
        except Exception:
            # Python's own traceback would print the exception's text, which may contain a secret.
            logging.getLogger(__name__).exception("The command failed with an unknown error.")
            sys.exit(1)


def _raise_usage(ctx: click.Context, error: BadInput) -> None:
    """Raise UsageError in the place of `error` where it is about an option or argument of the command."""
    option = next((each for each in ctx.command.params if each.name == error.field), None)
    if option is None or isinstance(error, Conflict):
        return
    if ctx.get_parameter_source(str(option.name)) is ParameterSource.COMMANDLINE:
        raise click.BadParameter(escaped(str(error)), ctx, option) from None
    missing = f": {option.opts[0]}" if error.remedy == "Enter it." else ""
    raise click.UsageError(escaped(str(error)).removesuffix("." if missing else "") + missing, ctx) from None


def _require_text(ctx: click.Context) -> None:
    """Raise UsageError for an argument that is not UTF-8."""
    for name, value in ctx.params.items():
        try:
            str(value).encode("utf-8")
        except UnicodeEncodeError:
            raise click.UsageError(f"The value of {name} is not UTF-8. Type it again.", ctx) from None


class PanelGroup(_Parsed, AppGroup):
    command_class = PanelCommand

    def group(self, *args: Any, **kwargs: Any) -> Any:
        """A group inside this one, of the same kind."""
        kwargs.setdefault("cls", PanelGroup)
        return super().group(*args, **kwargs)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what each command does as a whole sentence, where click would cut it off."""
        commands = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        rows = [(name, command.get_short_help_str(200)) for name, command in commands.items() if command]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@contextmanager
def _app_context(ctx: click.Context) -> Iterator[None]:
    with ExitStack() as stack:
        if not current_app:
            stack.enter_context(ctx.ensure_object(ScriptInfo).load_app().app_context())
        yield


class PasswordFile(click.ParamType[Secret]):
    """The content of a file, or of standard input for `-`, as a Secret (`text_file.secret`)."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Secret:
        """Read it, or end with wrong usage."""
        if isinstance(value, Secret):
            return value
        try:
            if value == "-":
                return Secret(text_file.secret(sys.stdin.buffer))
            with Path(value).open("rb") as file:
                return Secret(text_file.secret(file))
        except OSError as error:
            why = f"{value} cannot be read: {reason(error)}."
        except ValueError:  # a path with NUL
            why = f"{value} is not a path."
        except BadInput as error:
            why = str(error)
        raise click.BadParameter(why, ctx=ctx, param=param)


class PasswordOption(click.Option):
    """`--password-file F`. Without it, where the command cannot do without, a terminal is asked twice."""

    def __init__(self, *args: Any, asked: bool, **kwargs: Any) -> None:
        """`asked`: the command needs one."""
        super().__init__(*args, **kwargs)
        self.asked = asked

    def process_value(self, ctx: click.Context, value: Any) -> Any:
        """The Secret; nothing where a terminal is asked later, once all else was read (`ask_missing`)."""
        found = super().process_value(ctx, value)
        if self.asked and not isinstance(found, Secret) and not sys.stdin.isatty():
            raise click.MissingParameter(ctx=ctx, param=self)
        return found


def password_option(required: bool = True, name: str = "password") -> Callable[[Any], Any]:
    """`--password-file F`, handed to the command as `password`: a Secret, or None if not required."""
    asked = " Without it, it is asked for." if required else ""
    return click.option(
        f"--{name.replace(' ', '-')}-file",
        name.replace(" ", "_"),
        cls=PasswordOption,
        type=PasswordFile(),
        asked=required,
        help=f"File that holds the {name}; - for standard input.{asked}",
    )


SIGN_IN_NAMES = ("password", "auth", "app", "signs_in_as", "secret_name")


def sign_in_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """How a mailbox signs in, handed to the command as SIGN_IN_NAMES: with a password or what replaces it."""
    for option in (
        click.option("--secret-name", help="Name of a secret kept outside, in PANEL_SECRETS_DIR."),
        click.option(
            "--sign-in-as", "signs_in_as", help="Who signs in, where that is not the mailbox itself."
        ),
        click.option("--app", help="Sign in by OAuth2 through the app of that name."),
        click.option("--auth", help="password, oauth or outside; the other options show it too."),
        password_option(required=False),
    ):
        command = option(command)
    return command


def ask_missing(ctx: click.Context) -> None:
    """Ask for the passwords that were not given, where the command needs them."""
    for option in ctx.command.params:
        if isinstance(option, PasswordOption) and option.asked and ctx.params.get(str(option.name)) is None:
            ctx.params[str(option.name)] = ask_new(str(option.name).replace("_", " ").capitalize())


def ask(question: str, yes: bool) -> None:
    """Ask to confirm a dangerous step, unless `yes`. Raises Refused without a terminal, or after a no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Refused("This needs a confirmation; nothing was changed.", "Add --yes if you are sure.")
    with _question_shown():
        confirmed = click.confirm(encodable(escaped(question), sys.stdout))
    if not confirmed:
        raise Refused("Nothing was changed.")


def ask_typed(lines: Iterable[str], text: str, given: str | None) -> None:
    """Print `lines` and ask to type `text`, to confirm what cannot be undone.

    `given`: the value of --confirm, if any.
    """
    print_lines(lines)
    if given is None and not sys.stdin.isatty():
        raise Refused("This needs a confirmation; nothing was changed.", f'Add: --confirm "{text}"')
    if given is None:
        with _question_shown():
            given = click.prompt(f'Type "{text}" to continue', default="", show_default=False)
    if given.strip() != text:
        raise Refused("The confirmation does not match; nothing was changed.", f'Type: "{text}"')


def ask_hidden(what: str) -> Secret:
    """Ask for a secret, without echo."""
    return _ask_secret(escaped(what))


def ask_new(what: str) -> Secret:
    """Ask for a secret that is going to be stored, twice, so that nobody stores what they mistyped."""
    return _ask_secret(escaped(what), confirmation_prompt="Again")


def _ask_secret(question: str, **more: Any) -> Secret:
    with _question_shown():
        try:
            typed = click.prompt(encodable(question, sys.stdout), hide_input=True, **more)
        except UnicodeError:
            raise BadInput("What was typed is not UTF-8.", "Set the terminal to UTF-8.") from None
    if "\0" in typed:
        raise BadInput("A password cannot contain a NUL character.", "Type it again.")
    return Secret(typed)


@contextmanager
def _question_shown() -> Iterator[None]:
    """Raise Refused where the question cannot be printed: no one could have confirmed it."""
    try:
        require_whole()
        yield
    except OSError:
        raise Refused("The question could not be shown; nothing was changed.") from None
