"""What all commands share: `flask GROUP COMMAND` in the repository root.

A command works on the install that environment and PANEL_ENV_FILE name, as the owner of its data
directory, with the database open. Exit status: 0 OK, 1 a problem was found, 2 wrong usage, 3 refused and
nothing changed.

Commands print through `say` or `print_json` only: names come from mail servers, folders and people, and
none of them may control a terminal.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import click
from flask import current_app
from flask.cli import AppGroup, ScriptInfo

from panel import db, install, logs, process, program, text_file
from panel.config import Settings
from panel.errors import BadInput, NotTheOwner, PanelError, Refused
from panel.logs import escaped
from panel.secret import Secret
from panel.services import current

REFUSED = 3
SECONDS_BETWEEN_LINES = 2

Progress = Callable[[int, int], None]  # done, in all

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


class _Parsed:
    """What commands and groups share: usage errors and help are printed like everything else."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Parse the arguments. Raises ClickException with escaped arguments."""
        _open_standard_streams()
        with _whole_output():
            try:
                return super().make_context(*args, **kwargs)  # type: ignore[misc, no-any-return]
            except OSError as error:  # while help was printed
                _lose(sys.stdout, error)
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
        with _whole_output(), exit_on_error(more=True), _app_context(ctx):
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
            line = shlex.join(
                ["sudo", "-u", install.owner(settings), *shlex.split(program.flask()), *sys.argv[1:]]
            )
            raise NotTheOwner(error.message, f"Run it as that user: {line}") from None

    def _run(self, ctx: click.Context) -> Any:
        try:
            ask_missing(ctx)
            return super().invoke(ctx)
        except (PanelError, click.ClickException, click.exceptions.Exit):
            raise
        except click.Abort:
            say("Nothing was changed.", err=True)
            sys.exit(REFUSED)
        except Exception:
            # Python's own traceback would print the exception's text, which may contain a secret.
            logging.getLogger(__name__).exception("The command failed with an unknown error.")
            sys.exit(1)


def _require_text(params: Mapping[str, Any]) -> None:
    """Raise BadInput for an argument that is not UTF-8."""
    for name, value in params.items():
        try:
            str(value).encode("utf-8")
        except UnicodeEncodeError:
            raise BadInput(f"The value of {name} is not UTF-8.", "Type it again.") from None


class PanelGroup(_Parsed, AppGroup):
    """A group whose commands are PanelCommands."""

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
            why = f"{value} cannot be read: {(error.strerror or '').lower()}."
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
        f"--{name}-file",
        name,
        cls=PasswordOption,
        type=PasswordFile(),
        asked=required,
        help=f"File that holds the {name}; - for standard input.{asked}",
    )


def ask_missing(ctx: click.Context) -> None:
    """Ask for the passwords that were not given, where the command needs them."""
    for option in ctx.command.params:
        if isinstance(option, PasswordOption) and option.asked and ctx.params.get(str(option.name)) is None:
            ctx.params[str(option.name)] = ask_new(str(option.name).capitalize())


def ask(question: str, yes: bool) -> None:
    """Ask to confirm a dangerous step, unless `yes`. Raises Refused without a terminal, or after a no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Refused("This needs a confirmation; nothing was changed.", "Add --yes if you are sure.")
    with _question_shown():
        confirmed = click.confirm(_encodable(escaped(question), sys.stdout))
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
            typed = click.prompt(_encodable(question, sys.stdout), hide_input=True, **more)
        except UnicodeError:
            raise BadInput("What was typed is not UTF-8.", "Set the terminal to UTF-8.") from None
    if "\0" in typed:
        raise BadInput("A password cannot contain a NUL character.", "Type it again.")
    return Secret(typed)


@contextmanager
def _question_shown() -> Iterator[None]:
    """Raise Refused where the question cannot be printed: no one could have confirmed it."""
    try:
        if _lost:
            raise _lost[0]
        yield
    except OSError:
        raise Refused("The question could not be shown; nothing was changed.") from None


# -- printing ----------------------------------------------------------------------------

# The errors of standard output during the current command.
_lost: list[OSError] = []


def say(text: str, *, err: bool = False, alarm: bool = False) -> None:
    """Print one line for people, to standard error with `err`; `alarm`: red where there are colours.

    A command goes on where printing fails, so that its work does not depend on its reader. The loss is
    reported at its end, and the exit status is 1.
    """
    line = escaped(text)
    _write((click.style(line, fg="red", bold=True) if alarm else line) + "\n", err)


def print_lines(lines: Iterable[str]) -> None:
    """Print `lines` for people."""
    for line in lines:
        say(line)


def print_json(value: object) -> None:
    """Print `value` as JSON in ASCII, which cannot control a terminal."""
    _write(json.dumps(value, indent=1) + "\n")


def print_exactly(content: bytes) -> None:
    """Print bytes that Mailkeep itself generated for a file."""
    _write(content)


def on_a_terminal(*, err: bool = False) -> bool:
    """Whether standard output, or with `err` standard error, is a terminal."""
    stream = sys.stderr if err else sys.stdout
    return stream is not None and stream.isatty()


def reader_is_gone() -> bool:
    """Whether the reader of standard output has closed it (`| head`)."""
    return any(error.errno == errno.EPIPE for error in _lost)


def _write(text: str | bytes, err: bool = False) -> None:
    stream = sys.stderr if err else sys.stdout
    try:
        if stream is None:
            raise OSError(errno.EBADF, "it was closed before the command started")
        shown = text if isinstance(text, bytes) else _encodable(text, stream)
        click.echo(shown, file=stream, nl=False)
    except OSError as error:
        _lose(stream, error)


def _encodable(text: str, stream: TextIO) -> str:
    """`text` for the encoding of `stream`; other characters become `\\xfc` and the like."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _lose(stream: TextIO | None, error: OSError) -> None:
    """Discard all further output, so that Python does not fail on it at exit."""
    if stream is not sys.stderr:
        _lost.append(error)
    with suppress(OSError, AttributeError):  # closed, or a test's stream
        fd = os.open(os.devnull, os.O_WRONLY)
        os.dup2(fd, stream.fileno())  # type: ignore[union-attr]
        os.close(fd)


@contextmanager
def _whole_output() -> Iterator[None]:
    """Exit status 1 where a successful command lost output; not where the reader closed it."""
    _lost.clear()
    try:
        yield
    except (SystemExit, click.exceptions.Exit) as ended:
        if ended.exit_code if isinstance(ended, click.exceptions.Exit) else ended.code:
            raise
        if not _lost:
            raise
    if _lost and not reader_is_gone():
        why = (_lost[0].strerror or "unknown reason").lower()
        say(f"The output could not be written ({why}). The command's changes are in effect.", err=True)
        sys.exit(1)


def _open_standard_streams() -> None:
    """Open closed standard streams on /dev/null; otherwise the next file would get their number."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one
    if sys.stdin is None:
        sys.stdin = Path(os.devnull).open("r")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115


@contextmanager
def progress(label: str, quiet: bool = False) -> Iterator[Progress]:
    """Show progress on standard error: a bar on a terminal, lines otherwise.

    Yields a function of the number done and the total.
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
            say(f"{label}: {done} of {total}", err=True)

    return show
