"""A trial of a mail server, step by step, for somebody who looks on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from panel.errors import MailError
from panel.mail.policy import Policy

# Somebody looks at the page meanwhile, and a thread of the web server is held, which is taken to stand still
# where none of its threads answers for half a minute (`panel.serve.children`).
TRIAL_SECONDS, TRIAL_PATIENCE = 25.0, 15.0


@dataclass(frozen=True)
class Step:
    """One step of a trial; `mend` says what to do if it failed.

    `name` is name, connect, tls or login; at last folder (IMAP), count (POP3) or send (SMTP).
    """

    name: str
    ok: bool
    seconds: float
    message: str
    remedy: str = ""


def interactive(policy: Policy) -> Policy:
    """The same limits, with a deadline for somebody who waits."""
    return replace(
        policy,
        deadline=min(policy.deadline, TRIAL_SECONDS),
        idle_timeout=min(policy.idle_timeout, TRIAL_PATIENCE),
    )


def timed(steps: Iterator[tuple[str, str]], close: Callable[[], None]) -> Iterator[Step]:
    """Each of `steps` (its name and what it found) as soon as it is done, ending with the first that fails.

    Raises nothing that a server, a network or a typing error can cause; closes at the end.
    """
    begun = time.monotonic()
    try:
        for name, message in steps:
            yield Step(name, True, time.monotonic() - begun, message)
            begun = time.monotonic()
    except MailError as error:
        yield Step(error.step, False, time.monotonic() - begun, error.message, error.remedy)
    finally:
        close()
