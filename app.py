"""The WSGI application. `flask …` finds it here; bad settings end with one sentence and exit status 3."""

from flask.cli import cli

from panel import create_app
from panel.shell import exit_on_error
from panel.shell_help import name_program

name_program(cli)
with exit_on_error():
    app = create_app()
