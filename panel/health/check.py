"""One finding, and what all checks look at."""

from __future__ import annotations

from dataclasses import dataclass

from panel.accounts.totals import Totals
from panel.config import Settings
from panel.identity import Restored
from panel.models import Heartbeat
from panel.models.one_row import OneRows
from panel.vault.snapshot import Snapshot
from panel.vault.vault import Vault

NOTHING_TO_CHECK = ("Off", "Paused", "No mailbox", "No password")


@dataclass(frozen=True)
class Link:
    """The page that mends something: its path below the panel's root, and words to click."""

    path: str
    words: str


@dataclass(frozen=True)
class Check:
    """One finding. `mend` is empty where nothing is wrong.

    `told` is what support staff are told of it: no path, no command; empty where it is not their matter.
    `instead` stands where OK would, if nothing is wrong but nothing can be vouched for either: "Not known
    yet", or what somebody chose (NOTHING_TO_CHECK).
    """

    check: str
    ok: bool
    message: str
    remedy: str = ""
    link: Link | None = None
    told: str = ""
    instead: str = ""
    count: int = 1  # how many findings it stands for

    @property
    def is_green(self) -> bool:
        """Whether this was looked at just now and is as it should be."""
        return self.ok and not self.instead

    @property
    def is_unknown(self) -> bool:
        """Whether nothing is wrong that is known, and something still to be known."""
        return self.ok and self.instead not in ("", *NOTHING_TO_CHECK)


@dataclass(frozen=True)
class Install:
    """What all checks look at, read once. `deep`: a check may take its time."""

    settings: Settings
    vault: Vault
    key: Snapshot
    copy: Restored | None  # where this is a restored copy that nobody has confirmed yet
    mailboxes: Totals
    rows: OneRows
    deep: bool

    @property
    def heartbeat(self) -> Heartbeat:
        """What the running processes noted of themselves."""
        return self.rows.of(Heartbeat) or Heartbeat()
