"""A server that was asked too often: how long a pause it requires.

No RFC gives it one form. Exchange names milliseconds in a BAD, POP3 has response codes
(RFC 2449, 3206), IMAP has LIMIT (RFC 5530); the rest is text.
"""

from __future__ import annotations

import math
import re

from panel.errors import MailError
from panel.wording import counted

LONGEST = 24 * 3600  # seconds that any server is obeyed
UNNAMED = 300  # where a server asks for a pause and names none
LOOKED_AT = 400  # bytes of a line, so that no server makes reading it costly
UNITS = ((3600, "hour"), (60, "minute"), (1, "second"))
NEAR = 60  # characters between a phrase about waiting and its number

LIMITED = (
    "[throttled", "[limit", "[login-delay", "throttl", "rate limit", "rate-limit", "ratelimit",
    "bandwidth limit", "command limit", "connection limit", "exceeded command", "number of connections",
    "too many connection", "too many simultaneous", "too many concurrent", "too many login",
    "too many request", "too many command", "too many session", "too many attempt", "too frequent",
    "too quickly", "too fast",
)  # fmt: skip
CONNECTIONS = ("connection", "simultaneous", "concurrent", "too many session")
REFUSED = ("[authenticationfailed", "[authorizationfailed", "[expired", "[auth]")  # for good, not for now
CUE = re.compile(r"back.?off|login.delay|try again|retry|wait")
NUMBER = re.compile(r"(?<![a-z0-9])([0-9]{1,12}) ?(ms|milli|s\b|sec|m\b|min|h\b|hour|hr)?")
SECONDS = {"": 1, "ms": 0.001, "milli": 0.001, "m": 60, "min": 60, "h": 3600, "hour": 3600, "hr": 3600}


def suggested(line: bytes) -> int | None:
    """The whole seconds, 1 to `LONGEST`, for which a refusal asks not to be asked again.

    `line` is what stands behind NO, BAD, BYE or -ERR, its response code included. None where
    it is about something else.
    """
    text = line[:LOOKED_AT].decode("latin-1").casefold()
    limited = any(phrase in text for phrase in LIMITED)
    if not limited and any(code in text for code in REFUSED):
        return None
    named = _named(text, needs_unit=not limited)
    if named is not None:
        return min(max(named, 1), LONGEST)
    return UNNAMED if limited else None


def _named(text: str, *, needs_unit: bool) -> int | None:
    """The seconds behind the first phrase about waiting that has a number near it."""
    for cue in CUE.finditer(text):
        found = NUMBER.search(text, cue.end(), cue.end() + NEAR)
        if found and (found[2] or not needs_unit):
            return math.ceil(int(found[1]) * SECONDS.get(found[2] or "", 1))
    return None


def asked_to_wait(step: str, host: str, seconds: int, line: bytes = b"") -> MailError:
    """What is raised in the place of the refusal `line`. The session ends with it: nothing more is asked.

    Its `reason` is `connections` where too many of them are open.
    """
    text = line[:LOOKED_AT].decode("latin-1").casefold()
    return MailError(
        step,
        f"{host} limits how often it is asked, and requires a pause of {_duration(seconds)}.",
        "Mailkeep waits that long, then tries again. Check less often, or from fewer programs.",
        retry_after=seconds,
        reason="connections" if any(phrase in text for phrase in CONNECTIONS) else "",
    )


def _duration(seconds: int) -> str:
    size, name = next(each for each in UNITS if seconds >= each[0])
    count = math.ceil(seconds / size)
    return counted(count, name)
