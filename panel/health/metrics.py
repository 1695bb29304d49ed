"""The same checks as numbers, in the text format of Prometheus.

No address, no path and no secret: what carries a label carries the name of a state or of a check.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

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


def asked_on_this_machine(peer: str, host: str, headers: Iterable[str]) -> bool:
    """Whether a request comes from a program beside us, and not through a proxy from anywhere.

    `peer` is who connected, `host` the Host header, `headers` the names of all headers.
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
    """Everything as it is now. Raises what the database raises; a failed scrape is a finding too."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Found(checks.look(settings, vault)))
    return generate_latest(registry)


class _Found(Collector):
    """One look at the install. Made for one answer: nothing is counted in between."""

    def __init__(self, install: Install) -> None:
        """Take what all checks look at."""
        self._install = install

    def collect(self) -> Iterator[Metric]:
        """Every number with its name."""
        yield from _key(self._install)
        yield from _mail(self._install)
        yield from _problems(self._install)


def _key(install: Install) -> Iterator[Metric]:
    now = install.key
    states = GaugeMetricFamily("mailkeep_key_state", "1 for the state that the key is in.", labels=["state"])
    for state in State:
        states.add_metric([state.value], now.state is state)
    yield states
    yield _gauge("passwords_stored", "Stored mailbox passwords.", now.total)
    yield _gauge("passwords_sealed", "Those that are encrypted.", now.sealed)
    yield _gauge("passwords_clear", "Those that are stored in clear.", now.clear)
    yield _gauge("passwords_unreadable", "Those that are known not to open.", now.unreadable)
    proved = now.times.backup_proved_at is not None
    yield _gauge("key_backup_proved", "1 where somebody has proved a copy of today's key.", proved)


def _mail(install: Install) -> Iterator[Metric]:
    found = install.mailboxes
    yield _gauge("accounts", "Mail accounts.", found.total)
    yield _gauge("accounts_paused", "Those paused on purpose.", found.health[Health.PAUSED])
    yield _gauge("accounts_failing", "Those whose last round failed, and are not paused.", found.problems)
    yield from _age("last_success_age_seconds", "Since any mailbox was last collected.", found.newest)
    yield from _age(
        "worker_beat_age_seconds", "Since the worker was last heard of.", install.heartbeat.beat_at
    )
    unread = spool.waiting(None, mail.MANY_UNREAD, mail.LONG_UNREAD).unread
    yield _gauge("spool_unread_messages", "Delivered and not taken away, as the worker counted last.", unread)


def _problems(install: Install) -> Iterator[Metric]:
    words = "How much a check found wrong; flask doctor says what."
    problems = GaugeMetricFamily("mailkeep_problems", words, labels=["check"])
    for name, count in checks.problems(install).items():
        problems.add_metric([name], count)
    yield problems


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(f"mailkeep_{name}", words, value=value)


def _age(name: str, words: str, at: int | None) -> Iterator[Metric]:
    """Seconds since `at`; nothing at all where it never was."""
    if at is not None:
        yield _gauge(name, words, max(0, db.now() - at))
