"""Where and as whom to log in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Endpoint:
    """One mail server and one user of it. The value a password was opened for is the value connected to."""

    protocol: str  # imap, pop3, smtp
    host: str  # as `normalise_host` makes it
    port: int
    security: str  # tls, starttls, none
    username: str
    auth_method: str = "plain"
    token_url: str = ""
