"""The log: one line per event to standard error, as text or JSON, and never a value of a secret.

The text of an exception can repeat what a library was given: a rejected password,
a row. So a traceback tells class and places; the text only where the class is
known to carry none (SPEAKING). Tracebacks of Python show source lines, not values.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import traceback
from datetime import UTC, datetime
from typing import Any

from panel.errors import PanelError

SPEAKING = (PanelError, OSError, ImportError, AttributeError, NameError, TypeError, NotImplementedError)
# Chatter of libraries; their warnings and errors are kept.
QUIET = ("huey", "waitress", "werkzeug")
# What steers a terminal, ends a line, turns the order of what is shown, or has no UTF-8 form.
CONTROL = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


class PanelHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """The one handler that `configure` puts on the root logger."""


def configure(log_format: str, level: int = logging.INFO) -> None:
    """Send every log line of this process to standard error, as `text` or `json`.

    May be called again: the last call counts.
    """
    handler = PanelHandler()
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers = [h for h in root.handlers if not isinstance(h, PanelHandler)] + [handler]
    root.setLevel(level)
    logging.getLogger("peewee").setLevel(max(level, logging.INFO))
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def catch_all() -> None:
    """Have what nobody catches, in any thread, end in the log instead of in Python's own traceback."""
    sys.excepthook = lambda kind, error, trace: _uncaught((kind, error, trace))
    threading.excepthook = lambda found: _uncaught((found.exc_type, found.exc_value, found.exc_traceback))


def _uncaught(found: Any) -> None:
    if issubclass(found[0], KeyboardInterrupt):
        return
    logging.getLogger(__name__).critical("An error that nobody expected:", exc_info=found)


class TextFormatter(logging.Formatter):
    """`2026-11-23T22:10:05Z INFO panel.serve: what happened`, control characters escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and below it the traceback of what the record carries."""
        line = f"{_time(record)} {record.levelname} {record.name}: {escaped(record.getMessage())}"
        trace = _trace(record)
        return f"{line}\n{trace}" if trace else line


class JsonFormatter(logging.Formatter):
    """The same as an object with time, level, logger, message and, for exceptions, trace."""

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON."""
        event = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        trace = _trace(record)
        return json.dumps(event | {"trace": trace} if trace else event)


def describe(error: BaseException) -> str:
    """What may be said of `error` where anybody may read it: its class, its text only if that is safe."""
    name = type(error).__name__
    return f"{name}: {escaped(str(error))}" if isinstance(error, SPEAKING) else f"{name} (text withheld)"


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def escaped(text: str) -> str:
    """`text` as one line that forges no other and steers no terminal, whoever named something so.

    Control characters, line breaks, bidirectional controls and lone surrogates come out as `\\x1b` does.
    """
    return CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode("ascii"), text)


def _trace(record: logging.LogRecord) -> str:
    if not record.exc_info or record.exc_info[1] is None:
        return ""
    return "\n".join(_chain(record.exc_info[1]))


def _chain(error: BaseException) -> list[str]:
    """The causes first, as Python prints them."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    before = [*_chain(cause), "which led to:"] if cause else []
    places = "".join(traceback.format_tb(error.__traceback__)).rstrip()
    return [line for line in (*before, places, describe(error)) if line]
