"""What a connection to a mail server may reach, and how much of our time and memory it may take."""

from __future__ import annotations

import ipaddress
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
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


class Interrupt:
    """Lets another thread end a session before its deadline: whatever it waits for on the network ends."""

    def __init__(self) -> None:
        self.ended = False
        self._connection: socket.socket | None = None
        self._lock = threading.Lock()

    def watch(self, connection: socket.socket) -> None:
        """This is the session's connection from now on."""
        with self._lock:
            self._connection = connection
            if self.ended:
                self._shut_down(connection)

    def end(self) -> None:
        """End the session, connected or not. It sees that as a server that did not answer in time."""
        with self._lock:
            self.ended = True
            if self._connection is not None:
                self._shut_down(self._connection)

    def _shut_down(self, connection: socket.socket) -> None:
        with suppress(OSError):  # closed meanwhile
            # SSLSocket's own would pull TLS from under a read.
            socket.socket.shutdown(connection, socket.SHUT_RDWR)


@dataclass(frozen=True)
class Policy:
    """Limits of one session. Sizes in bytes, times in seconds.

    `deadline` holds for the whole session, from the name to the last message;
    `idle_timeout` for one silence of the server.
    """

    ports: frozenset[int]
    deny: tuple[Network, ...] = ()
    ca_file: Path | None = None  # trusted besides the CAs of the system
    max_message: int = 50 * MIB
    max_line: int = 64 * KIB
    max_answer: int = 64 * MIB  # of one command, without the messages in it
    max_session: int = 16 * GIB
    connect_timeout: float = 10.0
    idle_timeout: float = 60.0
    deadline: float = 900.0
    interrupt: Interrupt = field(default_factory=Interrupt, compare=False)

    @classmethod
    def of(cls, settings: MailSettings) -> Self:
        return cls(settings.mail_ports, settings.mail_deny_networks, settings.mail_ca_file)
