"""Is mail coming in, is it protected, what is wrong: in a few words, from the one set of checks."""

from __future__ import annotations

from dataclasses import dataclass

from panel.accounts.overview import Health
from panel.config import Settings
from panel.health import checks
from panel.health.check import Check, Install
from panel.models.one_row import OneRows
from panel.vault.snapshot import Snapshot
from panel.vault.state import State
from panel.vault.vault import Vault


@dataclass(frozen=True)
class Verdict:
    """A state in a word or two; `kind` is how it looks: good, warn, bad, busy, plain."""

    kind: str
    words: str


@dataclass(frozen=True)
class Summary:
    """The state of the whole, as overview and /status show it."""

    mail: Verdict
    passwords: Verdict
    key: Snapshot
    accounts: int
    paused: int
    last_success_at: int | None
    checks: list[Check]

    @property
    def wrong(self) -> list[Check]:
        """What is not well, for administrators."""
        return [check for check in self.checks if not check.ok]

    @property
    def wrong_count(self) -> int:
        """How much that is in all."""
        return sum(check.count for check in self.wrong)

    @property
    def unknown(self) -> list[Check]:
        """What is not known yet."""
        return [check for check in self.checks if check.is_unknown]

    @property
    def green(self) -> list[Check]:
        """What was looked at and is as it should be."""
        return [check for check in self.checks if check.is_green]

    @property
    def told(self) -> list[Check]:
        """What is not well and the matter of support staff, to be shown as `told`."""
        return [check for check in self.wrong if check.told]


def summary(settings: Settings, vault: Vault, rows: OneRows) -> Summary:
    """What there is to say. Health is what the last real collections did, never a flag."""
    install = checks.look(settings, vault, rows=rows)
    found = checks.run(install)
    return Summary(
        mail=_mail(install, {check.check for check in found if not check.ok}),
        passwords=_passwords(install.key),
        key=install.key,
        accounts=install.mailboxes.total,
        paused=install.mailboxes.health[Health.PAUSED],
        last_success_at=install.mailboxes.newest,
        checks=found,
    )


def _mail(install: Install, wrong: set[str]) -> Verdict:
    if not install.mailboxes.total:
        return Verdict("plain", "No mailbox yet")
    if install.key.state.no_key or install.copy is not None:
        return Verdict("bad", "Paused")
    found = {health for health, count in install.mailboxes.health.items() if count} - {Health.PAUSED}
    if not found:
        return Verdict("plain", "Every mailbox is paused")
    if wrong & {"worker", "collecting"} or not found & {Health.OK, Health.NEW}:
        return Verdict("bad", "Not coming in")
    if found - {Health.OK, Health.NEW}:
        return Verdict("bad", "Not from every mailbox")
    if Health.NEW in found:
        words = "Waiting for the first round" if len(found) == 1 else "Not from every mailbox yet"
        return Verdict("busy", words)
    return Verdict("good", "Coming in")


def _passwords(key: Snapshot) -> Verdict:
    if key.state.no_key or key.failures:
        return Verdict("bad", "Need attention")
    if key.state is State.ON:
        return Verdict("good", "Protected") if key.total else Verdict("plain", "None stored yet")
    if key.state.working:
        return Verdict("busy", "Being changed")
    return Verdict("warn", "Not encrypted")
