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
from panel.collect import parked
from panel.config import Settings
from panel.deliver import status
from panel.deliver.status import Outgoing
from panel.health import checks
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
    key, found, sign_ins = install.key, install.mailboxes, install.sign_ins
    sending, unread = install.sending, install.waiting.unread
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
        "accounts_oauth": ("Mailboxes that are collected by OAuth2.", sign_ins.by_consent),
        "accounts_outside": (
            "Mailboxes that are collected with a secret kept outside.",
            sign_ins.by_reference,
        ),
        "accounts_without_consent": ("Mailboxes that must be connected.", sign_ins.waiting_count),
        "accounts_paused": ("Paused mailboxes.", found.health[Health.PAUSED]),
        "accounts_failing": ("Mailboxes whose last run failed, without the paused ones.", found.problems),
        "accounts_connected": ("Mailboxes whose server announces new mail.", parked.connected()),
        **_delivery(status.outgoing(install.settings, reported_waiting=True)),
        "spool_unread_messages": ("Messages waiting for the helpdesk, as last counted.", unread),
        "submission_mailboxes": ("Mailboxes that a helpdesk can send as.", sending.mailboxes),
        "submission_sent_messages": ("Messages that helpdesks sent as those mailboxes.", sending.sent),
    }
    if found.newest:
        numbers["last_success_age_seconds"] = ("Since a mailbox was last collected.", _age(found.newest))
    if install.heartbeat.beat_at is not None:
        numbers["worker_beat_age_seconds"] = (
            "Since the worker's heartbeat.",
            _age(install.heartbeat.beat_at),
        )
    return numbers


def _delivery(found: Outgoing) -> dict[str, tuple[str, int]]:
    age = _age(found.oldest_at) if found.oldest_at else 0
    failing = sum(each.since is not None for each in found.used)
    return {
        "delivery_waiting_messages": ("Messages to go out.", sum(each.waiting for each in found.used)),
        "delivery_oldest_age_seconds": ("Since the oldest of them came; 0 without one.", age),
        "delivery_targets_failing": ("Targets that take no mail.", failing),
        "delivery_set_aside": ("Messages that were set aside.", sum(found.aside.values())),
    }


def _age(at: int) -> int:
    return max(0, db.now() - at)
