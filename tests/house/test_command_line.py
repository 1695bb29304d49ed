"""Promises of the shell as a person meets it: help, passwords typed twice, completion, pipes, exit statuses."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from flask import Flask
from flask.cli import cli as flask_group

from panel import create_app, db, shell_help
from panel.config import ROOT, Settings
from panel.models import Account, Activity, Collection
from panel.people import service as people
from panel.shell_help import FLASKS_OWN, SECTIONS
from panel.vault.vault import Vault
from tests import installs, running
from tests.docs.pages import page
from tests.encryption.conftest import House
from tests.running import Environ, process_environ
from tests.terminal import Terminal

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
FLASK = ".venv/bin/flask"
PASSWORD = "grün, a long enough phrase 🐑"


@pytest.fixture
def house(settings: Settings) -> House:
    installs.prepare(settings)
    create_app(settings)
    return House(settings, Vault.of(settings, db.database))


def terminal(environ: Environ, *arguments: str) -> Terminal:
    return Terminal([FLASK, *arguments], process_environ(environ) | {"TERM": "dumb", "LANG": "C.UTF-8"})


# -- help --------------------------------------------------------------------------------


def test_help_names_mailkeep_and_groups_its_commands(environ: Environ) -> None:
    done = running.flask_from_cold(environ, "--help")
    assert done.returncode == 0, done.stderr
    assert "Mailkeep: collects the mail" in done.stdout
    at = [done.stdout.index(f"\n{title}:\n") for title in [*SECTIONS, "Flask's own, for development"]]
    assert at == sorted(at)
    assert "general utility" not in done.stdout and "--env-file" not in done.stdout
    assert "..." not in done.stdout.partition("COMMAND [ARGS]...")[2]


def test_every_command_has_its_group(app: Flask) -> None:
    named = [name for names in SECTIONS.values() for name in names]
    assert set(app.cli.commands) <= set(named) and len(named) == len(set(named))
    assert set(flask_group.commands) == set(FLASKS_OWN)


def test_flask_alone_shows_the_same_and_is_wrong_usage(environ: Environ) -> None:
    done = running.flask_from_cold(environ)
    assert done.returncode == 2
    assert shell_help.ABOUT.split(".")[0].split(":")[0] in done.stdout + done.stderr


# -- passwords that are typed -----------------------------------------------------------------


def test_a_password_is_asked_for_twice_and_not_shown(house: House, environ: Environ) -> None:
    with terminal(environ, "setup", "--admin-email", "ada@example.org", "--admin-name", "Ada") as shown:
        shown.wait_for("Password:")
        shown.enter(PASSWORD)
        shown.wait_for("Again:")
        shown.enter("something else")
        shown.wait_for("do not match")
        shown.wait_for("Password:")
        shown.enter(PASSWORD)
        shown.wait_for("Again:")
        shown.enter(PASSWORD)
        assert shown.end() == 0, shown.text
        assert "ada@example.org is its administrator" in shown.text
        assert "grün" not in shown.text and "something" not in shown.text
    with db.database.connection_context():
        assert [person.email for person in people.everybody()] == ["ada@example.org"]


def test_the_password_of_a_mailbox_too_once_all_else_is_known_to_be_right(
    house: House, environ: Environ
) -> None:
    add = ["accounts", "add", "support@example.org"]
    with terminal(environ, *add) as shown:
        assert shown.end() == 2
        assert "Missing option '--host'" in shown.text and "Password" not in shown.text
    with terminal(environ, *add, "--host", "imap.example.org") as shown:
        for prompt in ("Password:", "Again:"):
            shown.wait_for(prompt)
            shown.enter(PASSWORD)
        assert shown.end() == 0, shown.text
    for change in (["set-password"], ["edit", "--host", "imap.other.example"]):
        with terminal(environ, "accounts", change[0], "support@example.org", *change[1:]) as shown:
            shown.wait_for("Password of support@example.org")
            shown.enter("new" + PASSWORD)
            shown.wait_for("Again:")
            shown.enter("new" + PASSWORD)
            assert shown.end() == 0, shown.text


@pytest.mark.parametrize("key", ["\x03", "\x04"], ids=["Ctrl-C", "Ctrl-D"])
def test_who_gives_up_at_the_question_changes_nothing(house: House, environ: Environ, key: str) -> None:
    with terminal(environ, "setup", "--admin-email", "ada@example.org", "--admin-name", "Ada") as shown:
        shown.wait_for("Password:")
        shown.press(key)
        assert shown.end() == 3
        assert "Nothing was changed." in shown.text and "Traceback" not in shown.text
    with db.database.connection_context():
        assert people.everybody() == []


def test_where_nobody_can_be_asked_the_option_is_named(house: House, cli: Cli) -> None:
    done = cli("setup", "--admin-email", "ada@example.org", "--admin-name", "Ada")
    assert done.returncode == 2
    assert "Missing option '--password-file'" in done.stderr


def test_an_option_that_is_missing_because_of_another_is_named(house: House, cli: Cli) -> None:
    done = cli("oauth", "add", "Contoso", "--provider", "microsoft", "--client-id", "f00d")
    assert done.returncode == 2 and done.stderr.endswith("Error: The tenant is empty. Enter it: --tenant\n")


# -- completion, as docs/commands.md says -------------------------------------------------------


def line_of(shell: str) -> str:
    """The line that the manual names for `shell`."""
    found = re.search(rf"^\| {shell} \|[^|]*\| `(.+)` \|$", page("commands.md").text, re.MULTILINE)
    assert found
    return found[1].replace("\\|", "|").replace("/opt/mailkeep", shlex.quote(str(ROOT)))


def complete(environ: Environ, shell: str, script: str, tmp_path: Path) -> str:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    path = f"{ROOT / '.venv/bin'}:{os.environ['PATH']}"
    done = subprocess.run(
        [shell, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120,
        env=process_environ(environ) | {"PATH": path, "HOME": str(tmp_path), "TERM": "dumb"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_bash_completes(house: House, environ: Environ, tmp_path: Path) -> None:
    shown = complete(environ, "bash", """
        LINE
        for line in ".venv/bin/flask enc" "flask accounts rem" "flask people add --r"; do
            COMP_WORDS=($line) COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMPREPLY=()
            _flask_completion ${COMP_WORDS[0]}
            echo "${COMPREPLY[@]}"
        done
    """.replace("LINE", line_of("bash")), tmp_path)  # fmt: skip
    assert shown.splitlines() == ["encryption", "remove", "--role"]


def test_fish_completes(house: House, environ: Environ, tmp_path: Path) -> None:
    shown = complete(environ, "fish", """
        LINE
        complete -C "flask enc"
        complete -C "flask accounts rem"
    """.replace("LINE", line_of("fish")), tmp_path)  # fmt: skip
    words = [line.split("\t")[0] for line in shown.splitlines()]
    assert words == ["encryption", "remove"]


def test_zsh_completes(house: House, environ: Environ, tmp_path: Path) -> None:
    if shutil.which("zsh") is None:
        pytest.skip("zsh is not installed")
    (tmp_path / ".zshrc").write_text(
        f"PS1='ready> '\nautoload -Uz compinit && compinit -u\n{line_of('zsh')}\n"
    )
    path = f"{ROOT / '.venv/bin'}:{os.environ['PATH']}"
    more = {"PATH": path, "HOME": str(tmp_path), "ZDOTDIR": str(tmp_path), "TERM": "vt100"}
    with Terminal(["zsh", "-i"], process_environ(environ) | more) as shown:
        shown.wait_for("ready> ")
        shown.press("flask encryption stat\t")
        shown.wait_for("status")
        shown.press("\n")
        shown.wait_for("Encryption: off.")


# -- pipes and statuses -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "command", ["accounts list", "accounts list --json", "activity list", "people list", "doctor", "--help"]
)
def test_a_reader_that_goes_away_is_no_failure(house: House, environ: Environ, command: str) -> None:
    with db.database.connection_context():
        house.add()
        [row] = cast(list[dict[str, object]], list(Account.select().dicts()))
        for number in range(300):
            new = {"uuid": str(uuid.uuid4()), "address": f"{'x' * 200}{number}@example.org"}
            Account.insert(row | new).execute()
    line = f"{FLASK} {command} | head -1 >/dev/null; echo ${{PIPESTATUS[0]}}; {FLASK} {command} | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", line], cwd=ROOT, env=process_environ(environ), capture_output=True, text=True, timeout=120
    )  # fmt: skip
    expected = "1" if command == "doctor" else "0"
    assert done.stdout.split() == [expected, expected], done.stderr
    assert "Traceback" not in done.stderr and "Broken pipe" not in done.stderr


def test_a_failing_mailbox_is_listed_with_error_remedy_and_next_try(house: House, cli: Cli) -> None:
    with db.database.connection_context():
        row = house.add().account
        Collection.insert(
            account=row,
            problem="Refused.\x1b[2J",
            remedy="Enter it.",
            failures=1,
            next_due_at=db.now() + 900,
            waits=900,
        ).on_conflict_replace().execute()
    [shown] = json.loads(cli("accounts", "list", "--json").stdout)
    assert (shown["problem"], shown["remedy"]) == ("Refused.\x1b[2J", "Enter it.")
    assert 0 < shown["next_try_at"] - db.now() <= 900
    assert "\x1b" not in cli("accounts", "list").stdout


READS = [
    "accounts list",
    "activity list",
    "alerts list",
    "encryption status",
    "people list",
    "settings",
    "alerts signing-key",
]


@pytest.mark.parametrize("command", READS)
def test_a_command_that_reads_ends_with_0_where_nothing_is_wrong(
    house: House, cli: Cli, command: str
) -> None:
    for more in ((), ("--json",)):
        if more and command == "alerts signing-key":
            continue
        done = cli(*command.split(), *more)
        assert (done.returncode, done.stderr) == (0, ""), command
        if more:
            json.loads(done.stdout)


REFUSED = [
    "accounts show nobody@example.org", "accounts pause nobody@example.org", "accounts remove nobody@example.org --yes",
    "accounts test nobody@example.org", "sending test nobody@example.org", "sending remove nobody@example.org --yes",
    "people disable nobody@example.org", "people role nobody@example.org user", "collect --once --account nobody@example.org",
    "encryption rotate", "encryption disable --yes", "encryption key prune --confirm x", "backup confirm --yes",
    "backup create /nowhere/x.db", "alerts test", "encryption key add /etc/hostname", "encryption key import /etc/hostname",
]  # fmt: skip


@pytest.mark.parametrize("command", REFUSED)
def test_what_is_refused_ends_with_3_and_says_why(house: House, cli: Cli, command: str) -> None:
    done = cli(*command.split())
    assert done.returncode == 3, (command, done.stdout, done.stderr)
    assert done.stdout == "" and done.stderr


USAGE = ["accounts", "accounts nonsense", "accounts show", "people role x@example.org king", "collect --json", "alerts set",
         "encryption key check /nowhere", "activity list --count 0", "settings --nonsense",
         "encryption key export --to /dev/shm/never-made"]  # fmt: skip


@pytest.mark.parametrize("command", USAGE)
def test_wrong_usage_ends_with_2(house: House, cli: Cli, command: str) -> None:
    done = cli(*command.split())
    assert (done.returncode, "Traceback" in done.stderr) == (2, False), (command, done.stdout, done.stderr)


MAILBOX = "accounts add x@example.org --password-file - --host h.example.org"
ISSUER = "oauth add A --client-id c --provider issuer --issuer https://id.example.org"
WRONG = {
    "oauth add A --client-id c --provider yahoo": "Choose microsoft, google or issuer.",
    "oauth add A --client-id c --provider google --application": "Choose sign-in by a person.",
    "oauth add A --client-id c --provider microsoft --tenant common": "your own tenant's ID or domain",
    "oauth add A --client-id c --provider issuer --issuer https://a..b": "Enter it as https://login.example.org",
    f"{ISSUER} --scopes a\"b": "Separate scopes by spaces.",
    f"{ISSUER} --client-secret-expires soon": "Enter it as 2027-11-26",
    f"{MAILBOX} --protocol smtp": "Choose imap or pop3.",
    f"{MAILBOX} --security ssl": "Choose tls, starttls or none.",
    f"{MAILBOX} --port 70000": "Allowed are: 25,",
    f"{MAILBOX} --begin yesterday": "Choose now, unread or all.",
    f"{MAILBOX} --on-server shred": "Choose keep, seen, move or delete.",
    f"{MAILBOX} --interval 0": "Enter 30 to 86400 seconds.",
    f"{MAILBOX} --auth smoke": "Choose password, oauth or outside.",
    f"{MAILBOX} --app A": "Name a password, an app, or a secret's name.",
    "accounts add x@example.org --host h.example.org --secret-name A": "a-z, 0-9, . _ -",
    "accounts add x@example.org --host h.example.org --app A --sign-in-as a\nb": "control character",
    "accounts add x@example.org --host h.example.org --sign-in-as b": "--sign-in-as needs --app NAME.",
    "accounts set-password 0@example.org --password-file - --expect-host imap://h.example.org": "Enter the name alone",
    "accounts set-password 0@example.org --password-file - --expect-host ": "The name of the mail server is empty.",
    "accounts set-password 0@example.org --password-file - --expect-username ": "The username is empty.",
    "accounts add nobody --password-file - --host h.example.org": "Enter it as name@example.org.",
    "sending set 0@example.org --password-file - --host h.example.org --security ssl": "Choose tls, starttls or none.",
    "sending submission-password 0@example.org --alias nobody": "Enter addresses as name@example.org.",
    "deliver again 0@example.org --since soon": "Enter one such as 2026-11-25",
    "messages list --since soon": "Enter one such as 2026-11-25",
    "alerts set --to nobody": "Type it as name@example.org.",
    "alerts set --webhook http://hooks.example.org": "Enter it as https://name/path.",
    "alerts set --unverified-days 0": "Enter a number from 1 to 90.",
    "people add nobody --name N --role user": "Enter it as name@example.org.",
    "backup create ": "The name of DEST is empty.",
    "backup check /nowhere": "Name a file, a directory or an archive.",
    "encryption key export --sheet --to ": "The name after --to is empty.",
    "encryption key export --to - --passphrase-file -": "leave out --passphrase-file",
}  # fmt: skip


@pytest.mark.parametrize("command", WRONG)
def test_a_value_that_no_option_takes_is_wrong_usage_and_the_answer_names_what_it_takes(
    house: House, cli: Cli, command: str
) -> None:
    with db.database.connection_context():
        house.add()
    done = cli(*command.split(" "), stdin="secret")
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.splitlines()[-1].startswith("Error: ") and WRONG[command] in done.stderr
    with db.database.connection_context():
        assert not Activity.select().exists()
