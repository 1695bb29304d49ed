"""The WSGI application. `flask …` finds it here; bad settings end with one sentence and exit status 3."""

import os
import sys

from flask.cli import cli

from panel import create_app
from panel.shell import exit_on_error, owner_named
from panel.shell_help import name_program

if sys.argv[1:] == ["deliver", "run"]:  # another Unix user, who can read neither database nor key
    os.execv(sys.executable, [sys.executable, "-m", "panel.deliver"])  # noqa: S606

name_program(cli)
with exit_on_error(), owner_named():
    app = create_app()
