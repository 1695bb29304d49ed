"""The same checks as numbers, in the text format of Prometheus.

No address, no path and no secret: what carries a label carries the name of a state or of a check.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from panel import db
from panel.accounts.overview import Health
from panel.config import Settings
from panel.health import checks, mail, spool
from panel.health.check import Install
from panel.vault.state import State
from panel.vault.vault import Vault

PROXIES_SEND = frozenset(
    {"forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"}
)


def is_local(peer: str, host: str, headers: Iterable[str]) -> bool:
    """Whether a request comes from a program on this server, and not through a proxy.

    `peer` is the address that connected, `host` the Host header, `headers` the names of all headers.
    """
    through_proxy = not PROXIES_SEND.isdisjoint(name.lower() for name in headers)
    return not through_proxy and _is_loopback(peer) and _is_loopback(urlsplit(f"//{host}").hostname or "")


def _is_loopback(name: str) -> bool:
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name == "localhost"
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def text(settings: Settings, vault: Vault) -> bytes:
    """All numbers as they are now. Raises what the database raises: a failed scrape is a signal too."""
    install, registry = checks.gather(settings, vault), CollectorRegistry(auto_describe=False)
    for name, (help_, value) in _numbers(install).items():
        Gauge(f"mailkeep_{name}", help_, registry=registry).set(value)
    states = Gauge("mailkeep_key_state", "1 for the current state of the key.", ["state"], registry=registry)
    for state in State:
        states.labels(state.value).set(install.key.state is state)
    help_ = "Problems that a check found; flask doctor names them."
    problems = Gauge("mailkeep_problems", help_, ["check"], registry=registry)
    for name, count in checks.problems(install).items():
        problems.labels(name).set(count)
    return generate_latest(registry)


def _numbers(install: Install) -> dict[str, tuple[str, int]]:
    """Each number without a label: its name, its meaning, its value. Ages only where there is one."""
    key, found = install.key, install.mailboxes
    unread = spool.waiting(None, mail.MANY_UNREAD, mail.LONG_UNREAD).unread
    numbers = {
        "passwords_stored": ("Stored mailbox passwords.", key.total),
        "passwords_encrypted": ("Stored passwords that are encrypted.", key.sealed),
        "passwords_clear_text": ("Stored passwords in clear text.", key.clear),
        "passwords_unreadable": ("Stored passwords that cannot be decrypted.", key.unreadable),
        "key_backup_verified": (
            "1 where today's key has a verified backup.",
            key.times.backup_proved_at is not None,
        ),
        "accounts": ("Mailboxes.", found.total),
        "accounts_paused": ("Paused mailboxes.", found.health[Health.PAUSED]),
        "accounts_failing": ("Mailboxes whose last run failed, without the paused ones.", found.problems),
        "spool_unread_messages": ("Messages waiting for the helpdesk, as last counted.", unread),
    }
    if found.newest:
        numbers["last_success_age_seconds"] = ("Since a mailbox was last collected.", _age(found.newest))
    if install.heartbeat.beat_at is not None:
        numbers["worker_beat_age_seconds"] = (
            "Since the worker's heartbeat.",
            _age(install.heartbeat.beat_at),
        )
    return numbers


def _age(at: int) -> int:
    return max(0, db.now() - at)
