"""The WSGI application. `flask …` finds it here; bad settings end with one sentence and exit status 3."""

from panel import create_app
from panel.shell import exit_on_error

with exit_on_error():
    app = create_app()
