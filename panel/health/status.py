"""Is mail coming in, and is it protected: what support staff need to know, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

from panel.accounts import overview
from panel.accounts.overview import Line
from panel.encryption import facts
from panel.encryption.keystore import KeyStore


@dataclass(frozen=True)
class Trouble:
    """One mailbox that no mail comes from, and why in words for support staff."""

    address: str
    why: str
    last_success_at: int | None


@dataclass(frozen=True)
class Summary:
    """The state of the whole. `good`: mail comes in from every mailbox that is not paused."""

    good: bool
    key: facts.Status
    accounts: int
    paused: int
    last_success_at: int | None
    troubles: list[Trouble]


def summary(keystore: KeyStore) -> Summary:
    """What `/status` shows. Health is what the last real collections did, never a flag."""
    key = facts.look(keystore)
    lines = overview.lines(keystore)
    running = [line for line in lines if not line.paused]
    troubles = [Trouble(line.address, _why(line), line.last_success_at) for line in running if _why(line)]
    return Summary(
        good=not key.state.no_key and not troubles,
        key=key,
        accounts=len(lines),
        paused=len(lines) - len(running),
        last_success_at=max((line.last_success_at or 0 for line in lines), default=0) or None,
        troubles=troubles,
    )


def _why(line: Line) -> str:
    if line.password in ("unreadable", "none"):
        return "Its password must be entered again."
    return line.problem or ""
