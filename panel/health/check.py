"""The result of one check, what all checks read, and phrases they share."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from panel.accounts.totals import Totals
from panel.config import Settings
from panel.health.sending import SendingTotals
from panel.health.sign_ins import SignIns
from panel.health.spool import WaitingMail
from panel.identity import Restored
from panel.models import Heartbeat
from panel.models.one_row import OneRows
from panel.program import as_typed
from panel.vault.snapshot import Snapshot
from panel.vault.vault import Vault


class Label(StrEnum):
    OK = "OK"
    ATTENTION = "Needs attention"
    FAILING = "Failing"
    PAUSED = "Paused"
    OFF = "Off"
    PENDING = "Pending"


@dataclass(frozen=True)
class Link:
    """The page where a problem is solved: its path below the panel's root, and the text of the link.

    `about` follows the text for whoever does not see what the link stands beside.
    """

    path: str
    text: str
    about: str = ""


@dataclass(frozen=True)
class Check:
    """One result. `ok` is false where an administrator must act; `remedy` says how, and is empty otherwise.

    `agent_message`: for support staff, without paths and commands; empty where it does not concern them.
    `passed_as`: the status where `ok`; Label.OK only for what was examined just now and is in order.
    """

    check: str
    ok: bool
    message: str
    remedy: str = ""
    link: Link | None = None
    agent_message: str = ""
    passed_as: Label = Label.OK
    count: int = 1  # how many problems it stands for

    def __post_init__(self) -> None:
        """Name commands as they can be typed here."""
        object.__setattr__(self, "remedy", as_typed(self.remedy))

    @property
    def status(self) -> Label:
        return self.passed_as if self.ok else Label.ATTENTION

    @property
    def title(self) -> str:
        """The name of the check at the beginning of a sentence."""
        return self.check[0].upper() + self.check[1:]


@dataclass(frozen=True)
class Install:
    """What all checks examine, read once. `deep`: a check may take its time."""

    settings: Settings
    vault: Vault
    key: Snapshot
    copy: Restored | None  # where this is a restored copy that is not confirmed yet
    mailboxes: Totals
    sign_ins: SignIns
    waiting: WaitingMail
    sending: SendingTotals
    rows: OneRows
    deep: bool

    @property
    def heartbeat(self) -> Heartbeat:
        return self.rows.of(Heartbeat) or Heartbeat()
