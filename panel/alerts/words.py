"""What a notice looks like: as a mail, and as the JSON that the webhook gets (docs/alerts.md)."""

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

MOST_LINES = 50  # of one kind in a mail
LONGEST_SUBJECT = 150  # characters

Json = dict[str, object]


def name_of(settings: Settings) -> str:
    """What this install is called in notices: the host of PANEL_URL, or the machine's own name."""
    host = urlsplit(settings.url).hostname if settings.url else None
    return host or socket.gethostname()


def url_of(settings: Settings, path: str) -> str:
    """The address of a page."""
    host = f"[{settings.bind_host}]" if ":" in settings.bind_host else settings.bind_host
    return (settings.url or f"http://{host}:{settings.bind_port}") + path


# -- mail ----------------------------------------------------------------------------


def mail(due: Due, recipients: Iterable[str], settings: Settings, sender: str) -> EmailMessage:
    """One mail for all that is due."""
    text = "\n".join(_paragraphs(due, settings))
    return _message(_subject(due, settings), text, recipients, sender)


def test_mail(recipients: Iterable[str], settings: Settings, sender: str) -> EmailMessage:
    """A mail that only shows that mail arrives."""
    text = (
        f"This is a test. Mailkeep on {name_of(settings)} can send notices to you.\n\n"
        f"Whom it tells: {url_of(settings, '/server/alerts')}\n"
    )
    return _message(f"Mailkeep on {name_of(settings)}: a test of notices", text, recipients, sender)


def _message(subject: str, text: str, recipients: Iterable[str], sender: str) -> EmailMessage:
    domain = address_to_wire(sender).rpartition("@")[2]
    message = EmailMessage()
    message["From"] = sender
    message["To"] = ", ".join(recipients)
    message["Subject"] = _one_line(subject)[:LONGEST_SUBJECT]
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(domain=domain)
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's absence note answers it
    message.set_content(text)
    return message


def _subject(due: Due, settings: Settings) -> str:
    begin = f"Mailkeep on {name_of(settings)}:"
    if len(due.troubles) == 1:
        return f"{begin} {due.troubles[0].message}"
    if due.troubles:
        return f"{begin} {len(due.troubles)} things need you"
    if due.others:
        return f"{begin} {len(due.over)} over, {len(due.others)} not"
    return f"{begin} no other notice is open"


def _paragraphs(due: Due, settings: Settings) -> Iterable[str]:
    yield from _listed(
        "This needs you:" if due.troubles else "", [_trouble(each, settings) for each in due.troubles]
    )
    yield from _listed("This is over:" if due.over else "", [_over(each, settings) for each in due.over])
    yield from _listed(
        "This is still so:" if due.others else "", [f"- {_one_line(each.message)}" for each in due.others]
    )
    if due.over and not due.troubles and not due.others:
        yield "No other notice is open.\n"
    yield f"Who is told, and how often: {url_of(settings, '/server/alerts')}"


def _listed(title: str, lines: list[str]) -> Iterable[str]:
    if title:
        yield f"{title}\n"
        yield from lines[:MOST_LINES]
        if len(lines) > MOST_LINES:
            yield f"- And {len(lines) - MOST_LINES} more."
        yield ""


def _trouble(entry: Entry, settings: Settings) -> str:
    return (
        f"- {_one_line(entry.message)}\n"
        f"  Since {exact(entry.since, settings.timezone)}. {_one_line(entry.remedy)}\n"
        f"  {url_of(settings, entry.path)}"
    )


def _over(entry: Entry, settings: Settings) -> str:
    since, over = exact(entry.since, settings.timezone), exact(entry.over_at or 0, settings.timezone)
    return f"- {_one_line(entry.message)}\n  It was so from {since} to {over}."


def _one_line(text: str) -> str:
    """`text` without line breaks and other control characters, whoever wrote them."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


# -- the webhook -----------------------------------------------------------------------


def called(entry: Entry, settings: Settings) -> Json:
    """What the webhook is told of one trouble."""
    event = "well" if entry.over_at is not None else "reminder" if entry.notified_times else "trouble"
    told = _json(
        settings, event, entry.condition, _one_line(entry.message), entry.since, url_of(settings, entry.path)
    )
    return told if event == "well" else told | {"remedy": _one_line(entry.remedy)}


def test_call(settings: Settings) -> Json:
    """What the webhook is told by way of trial."""
    page = url_of(settings, "/server/alerts")
    return _json(settings, "test", "test", "This is a test of notices.", db.now(), page)


def _json(settings: Settings, event: str, condition: str, message: str, since: int, url: str) -> Json:
    return {
        "install": name_of(settings), "event": event, "condition": condition, "message": message,
        "since": machine(since), "url": url, "at": machine(db.now()),
    }  # fmt: skip
