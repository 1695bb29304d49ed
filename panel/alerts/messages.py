"""Alerts as mail, and as the JSON that the webhook receives (docs/alerts.md)."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from urllib.parse import urlsplit

from panel import db
from panel.alerts.alert_log import Due, Entry
from panel.config import Settings
from panel.mail.server import address_to_wire
from panel.times import exact, machine

MOST_LISTED = 50  # alerts of one kind in a mail
LONGEST_SUBJECT = 150  # characters
PAGE = "/server/alerts"

Json = dict[str, object]


def install_name(settings: Settings) -> str:
    """The name of this install in alerts: the host of PANEL_URL, or the machine's own name."""
    host = urlsplit(settings.url).hostname if settings.url else None
    return host or socket.gethostname()


def url_of(settings: Settings, path: str) -> str:
    host = f"[{settings.bind_host}]" if ":" in settings.bind_host else settings.bind_host
    return (settings.url or f"http://{host}:{settings.bind_port}") + path


# -- mail ----------------------------------------------------------------------------


def mail(due: Due, recipients: Iterable[str], settings: Settings, sender: str) -> EmailMessage:
    zone = settings.timezone
    opened = [
        f"- {_one_line(each.message)}\n"
        f"  Since {exact(each.since, zone)}. {_one_line(each.remedy)}\n"
        f"  {url_of(settings, each.path)}"
        for each in due.opened
    ]
    resolved = [
        f"- {_one_line(each.message)}\n"
        f"  From {exact(each.since, zone)} to {exact(each.resolved_at or 0, zone)}."
        for each in due.resolved
    ]
    still_open = [f"- {_one_line(each.message)}" for each in due.still_open]
    text = _section("Needs attention:", opened) + _section("Resolved:", resolved)
    text += _section("Still open:", still_open)
    if not opened and not still_open:
        text += "No other alerts are open.\n\n"
    text += f"Recipients and history: {url_of(settings, PAGE)}\n"
    return _message(_subject(due), text, recipients, settings, sender)


def test_mail(recipients: Iterable[str], settings: Settings, sender: str) -> EmailMessage:
    text = (
        f"This is a test. Mailkeep on {install_name(settings)} can send alerts to you.\n\n"
        f"Recipients: {url_of(settings, PAGE)}\n"
    )
    return _message("test alert", text, recipients, settings, sender)


def _message(
    subject: str, text: str, recipients: Iterable[str], settings: Settings, sender: str
) -> EmailMessage:
    message = EmailMessage()
    message["From"] = sender
    message["To"] = ", ".join(recipients)
    message["Subject"] = _one_line(f"Mailkeep on {install_name(settings)}: {subject}")[:LONGEST_SUBJECT]
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(domain=address_to_wire(sender).rpartition("@")[2])
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office reply answers it
    message.set_content(text)
    return message


def _subject(due: Due) -> str:
    if len(due.opened) == 1:
        return due.opened[0].message
    if due.opened:
        return f"{len(due.opened)} problems need attention"
    return f"{len(due.resolved)} resolved, {len(due.still_open) or 'none'} still open"


def _section(title: str, items: list[str]) -> str:
    more = [f"- {len(items) - MOST_LISTED} more."] if len(items) > MOST_LISTED else []
    return "\n".join([title, "", *items[:MOST_LISTED], *more, "", ""]) if items else ""


def _one_line(text: str) -> str:
    """`text` without line breaks and other control characters, wherever it comes from."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


# -- the webhook -----------------------------------------------------------------------


def event(entry: Entry, settings: Settings) -> Json:
    """What the webhook receives for one alert."""
    name = "resolved" if entry.resolved_at is not None else "reminder" if entry.notified_times else "opened"
    url, message = url_of(settings, entry.path), _one_line(entry.message)
    values = _json(settings, name, entry.condition, message, entry.since, url)
    values |= {"severity": entry.severity, "mailboxes": entry.mailboxes}
    return values if name == "resolved" else values | {"remedy": _one_line(entry.remedy)}


def test_event(settings: Settings) -> Json:
    """What the webhook receives in a test."""
    return _json(settings, "test", "test", "This is a test alert.", db.now(), url_of(settings, PAGE))


def _json(settings: Settings, name: str, condition: str, message: str, since: int, url: str) -> Json:
    return {
        "install": install_name(settings), "event": name, "condition": condition, "message": message,
        "since": machine(since), "url": url, "at": machine(db.now()),
    }  # fmt: skip
