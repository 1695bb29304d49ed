"""The WSGI application. `flask …` and the web server find it here."""

from panel import create_app

app = create_app()
