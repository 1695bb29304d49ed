"""The web applications that `bench.pages` compares, each on its own database of the same mailboxes.

python -m bench._sites PROGRAM DIRECTORY fill MAILBOXES   prints the cookie of a person who is signed in
python -m bench._sites PROGRAM DIRECTORY count PATH…      prints SQL statements and bytes of one answer each
python -m bench._sites PROGRAM DIRECTORY serve SOCKET     one web process, as `panel.serve` runs one
"""

from __future__ import annotations

import importlib
import json
import re
import socket
import sqlite3
import sys
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from werkzeug.test import Client

LIST = "list of mailboxes"
PASSWORD = "correct horse battery staple"

Wsgi = Callable[[dict[str, Any], Any], Iterable[bytes]]


class Site(Protocol):
    """One web application, working in `directory`."""

    def __init__(self, directory: Path) -> None: ...

    def fill(self, mailboxes: int) -> str:
        """Make the database; returns the Cookie header of an administrator who has signed in."""

    def application(self) -> Wsgi:
        """The WSGI application (PEP 3333) on that database."""


# name: module and class, the package that must be installed for it, and the pages by name
SITES = {
    "Mailkeep": (
        "bench._mailkeep", "MailkeepSite", "peewee",
        {
            LIST: "/accounts",
            "its last page": "/accounts?page=1000000",
            "its middle page": "/accounts?page=1000&sort=address",
            "by server, last page": "/accounts?page=1000000&sort=server",
            "those that fail": "/accounts?state=failing",
            "those that are OK": "/accounts?state=ok",
            "search, some": "/accounts?q=17@",
            "search, all": "/accounts?q=example",
            "search, none": "/accounts?q=no-such-mailbox",
            "Encryption": "/server/encryption",
            "Overview": "/",
        },
    ),
    "Django admin": ("bench._django_admin", "DjangoAdmin", "django", {LIST: "/admin/bench/mailbox/"}),
    "Flask-Admin": ("bench._flask_admin", "FlaskAdmin", "flask_admin", {LIST: "/admin/mailbox/"}),
}  # fmt: skip
# What the writer beside the readers executes; collecting writes as much. The database's file is the key.
WRITES = {
    "Mailkeep": ("data/panel.db", "UPDATE heartbeat SET beat_at = unixepoch()"),
    "Django admin": ("peer.db", "UPDATE mailbox SET last_success_at = unixepoch() WHERE id = 1"),
    "Flask-Admin": ("peer.db", "UPDATE mailbox SET last_success_at = unixepoch() WHERE id = 1"),
}


def installed(name: str) -> bool:
    return find_spec(SITES[name][2]) is not None


def pages(name: str) -> dict[str, str]:
    """The paths of the program's pages, by the page's name."""
    return SITES[name][3]


def site(name: str, directory: Path) -> Site:
    module, kind = SITES[name][:2]
    made: Site = getattr(importlib.import_module(module), kind)(directory)
    return made


def sign_in(application: Wsgi, path: str, **fields: str) -> str:
    """Send the sign-in form at `path`; returns the Cookie header that a browser would send from then on."""
    client = Client(application)
    found = re.search(r'name="(csrf\w+)" value="([^"]+)"', client.get(path).text)
    answer = client.post(path, data=fields | ({found[1]: found[2]} if found else {}))
    assert answer.status_code in (302, 303), answer.text
    return "; ".join(each.partition(";")[0].strip() for each in answer.headers.getlist("Set-Cookie"))


def main(arguments: list[str]) -> None:
    """Do one of the three things."""
    name, directory, what, *rest = arguments
    chosen = site(name, Path(directory))
    match what:
        case "fill":
            print(chosen.fill(int(rest[0])))
        case "count":
            print(json.dumps(_count(chosen, rest)))
        case "serve":
            _serve(chosen.application(), int(rest[0]))


def _serve(application: Wsgi, listening: int) -> None:
    from panel.serve.__main__ import WEB_STOP_SECONDS, WEB_THREADS
    from panel.serve.http_server import Server
    from panel.web.headers import LARGEST_REQUEST

    accepting = socket.socket(fileno=listening)
    Server(application, accepting, WEB_THREADS, lambda *_: LARGEST_REQUEST).serve(WEB_STOP_SECONDS)


def _count(chosen: Site, paths: list[str]) -> dict[str, dict[str, int]]:
    """Every statement that SQLite executes for each path, PRAGMA and COMMIT included, once all is warm."""
    executed: list[str] = []
    connect = sqlite3.connect

    def watched(*args: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*args, **options)
        connection.set_trace_callback(executed.append)
        return connection

    for module in (sqlite3, sqlite3.dbapi2):
        setattr(module, "connect", watched)  # noqa: B010 - its type has six forms
    client = Client(chosen.application(), use_cookies=False)
    cookie, found = sys.stdin.readline().strip(), {}
    for path in paths:
        for _ in range(2):
            executed.clear()
            answer = client.get(path, headers={"Cookie": cookie})
            assert answer.status_code == 200, f"{path}: {answer.status}"
        found[path] = {"statements": len(executed), "bytes": len(answer.data)}
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
