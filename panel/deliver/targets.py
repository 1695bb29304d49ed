"""What mailboxes can deliver to, as the targets file says (`panel.deliver.targets_file`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from panel.errors import Conflict
from panel.mail import https

MAILDIR = "maildir"  # leaves mail for whoever takes it
RECIPIENT = re.compile(r"[^\s<>\x00-\x20\x7f]{1,320}\Z")


@dataclass(frozen=True)
class DeliveryTarget:
    """What all kinds share. `timeout`: seconds that one message may take."""

    name: str
    timeout: int


@dataclass(frozen=True)
class CommandTarget(DeliveryTarget):
    """A program that reads the message from standard input."""

    command: tuple[str, ...]

    def __str__(self) -> str:
        return f"runs {self.command[0]}"


@dataclass(frozen=True)
class HttpTarget(DeliveryTarget):
    """A POST. `encoding`: raw, form or base64form; then `form_field` holds the message. Secrets by name."""

    url: str = field(repr=False)
    encoding: str
    form_field: str
    headers: Mapping[str, str] = field(repr=False)
    header_secrets: Mapping[str, str]
    hmac_secret: str

    def __str__(self) -> str:
        """What it does, for people: without the path, where many services put a secret."""
        return f"posts to {https.target(self.url).origin}"


@dataclass(frozen=True)
class LmtpTarget(DeliveryTarget):
    """An LMTP server: the path of a socket, or host:port. `recipient` empty: the mailbox itself."""

    address: str
    recipient: str

    def __str__(self) -> str:
        """What it does, for people."""
        return f"delivers by LMTP to {self.address}"


@dataclass(frozen=True)
class Targets:
    """The whole file. `default`: where mail of mailboxes goes that chose none."""

    by_name: Mapping[str, DeliveryTarget] = field(default_factory=dict)
    default: str = MAILDIR
    same_user: bool = False
    keep_days: int = 7
    directory: Path = Path("/")  # where its secrets lie

    def chosen(self, name: str) -> str:
        """The name of the target of a mailbox that has chosen `name`, or nothing."""
        return name or self.default

    def require(self, name: str) -> None:
        """Raise Conflict unless there is a target of that name; nothing is the default."""
        known = [MAILDIR, *self.by_name]
        if name and name not in known:
            message = f"There is no target “{name[:40]}” in the targets file."
            remedy = f"Choose one of these: {', '.join(known)}. Or add it to the file of PANEL_TARGETS_FILE."
            raise Conflict(message, remedy, "deliver_to")
