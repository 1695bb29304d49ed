"""The log: one line per event to standard error, as text or JSON, and never a secret.

An exception's text can repeat what a library was given: a rejected password, a row. So a traceback shows
class and places, and the text only of classes that never contain values (SAFE). Python's own
tracebacks show source lines, not values.
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

SAFE = (PanelError, OSError, ImportError, AttributeError, NameError, TypeError, NotImplementedError)
# Libraries of which only warnings and errors are logged.
QUIET = ("huey", "waitress", "werkzeug")
# Controls a terminal, ends a line, reorders text, or has no UTF-8 form.
CONTROL = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


class PanelHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """The handler that `configure` puts on the root logger."""


def configure(log_format: str, level: int = logging.INFO) -> None:
    """Log to standard error as `text` or `json`. The last call counts."""
    handler = PanelHandler()
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers = [h for h in root.handlers if not isinstance(h, PanelHandler)] + [handler]
    root.setLevel(level)
    logging.getLogger("peewee").setLevel(max(level, logging.INFO))
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def catch_all() -> None:
    """Log uncaught exceptions of all threads, instead of Python's own traceback."""
    sys.excepthook = lambda kind, error, trace: _uncaught((kind, error, trace))
    threading.excepthook = lambda found: _uncaught((found.exc_type, found.exc_value, found.exc_traceback))


def _uncaught(found: Any) -> None:
    if issubclass(found[0], KeyboardInterrupt):
        return
    logging.getLogger(__name__).critical("Unknown error:", exc_info=found)


class TextFormatter(logging.Formatter):
    """`2026-11-23T22:10:05Z INFO panel.serve: text`, control characters escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, followed by the traceback if there is one."""
        line = f"{_time(record)} {record.levelname} {record.name}: {escaped(record.getMessage())}"
        trace = _trace(record)
        return f"{line}\n{trace}" if trace else line


class JsonFormatter(logging.Formatter):
    """The same as JSON: time, level, logger, message and, for exceptions, trace."""

    def format(self, record: logging.LogRecord) -> str:
        event = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        trace = _trace(record)
        return json.dumps(event | {"trace": trace} if trace else event)


def describe(error: BaseException) -> str:
    """The class of `error`, and its text only if that is safe to show."""
    name = type(error).__name__
    return f"{name}: {escaped(str(error))}" if isinstance(error, SAFE) else f"{name} (text withheld)"


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def escaped(text: str) -> str:
    """`text` as one line that cannot forge another or control a terminal.

    Control characters, line breaks, bidirectional controls and lone surrogates become `\\x1b` and the like.
    """
    return CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode("ascii"), text)


def _trace(record: logging.LogRecord) -> str:
    if not record.exc_info or record.exc_info[1] is None:
        return ""
    return "\n".join(_chain(record.exc_info[1]))


def _chain(error: BaseException) -> list[str]:
    """Causes first, in Python's order."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    before = [*_chain(cause), "which led to:"] if cause else []
    places = "".join(traceback.format_tb(error.__traceback__)).rstrip()
    return [line for line in (*before, places, describe(error)) if line]
