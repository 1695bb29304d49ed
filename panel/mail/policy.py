"""What a connection to a mail server may reach, and how much of our time and memory it may take."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
KIB, MIB, GIB = 2**10, 2**20, 2**30


class MailSettings(Protocol):
    """The settings a policy is made of; `panel.config.Settings` has them."""

    @property
    def mail_ports(self) -> frozenset[int]: ...
    @property
    def mail_deny_networks(self) -> tuple[Network, ...]: ...
    @property
    def mail_ca_file(self) -> Path | None: ...


@dataclass(frozen=True)
class Policy:
    """Limits of one session. Sizes in bytes, times in seconds.

    `deadline` holds for the whole session, from the name to the last message;
    `patience` for one silence of the server.
    """

    ports: frozenset[int]
    deny: tuple[Network, ...] = ()
    ca_file: Path | None = None  # trusted besides the CAs of the system
    max_message: int = 50 * MIB
    max_line: int = 64 * KIB
    max_answer: int = 64 * MIB  # of one command, without the messages in it
    max_session: int = 16 * GIB
    connect_timeout: float = 10.0
    patience: float = 60.0
    deadline: float = 900.0

    @classmethod
    def of(cls, settings: MailSettings) -> Self:
        """The policy of this install."""
        return cls(settings.mail_ports, settings.mail_deny_networks, settings.mail_ca_file)
