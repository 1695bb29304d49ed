"""The state of mail and passwords in a word, with the results of all checks: for overview and /status."""

from __future__ import annotations

from dataclasses import dataclass

from panel.accounts.overview import Health
from panel.config import Settings
from panel.health import checks
from panel.health.check import Check, Install, Label
from panel.models.one_row import OneRows
from panel.vault.snapshot import Snapshot
from panel.vault.state import State
from panel.vault.vault import Vault

NOT_RUNNING = (Label.OFF, Label.PAUSED)


@dataclass(frozen=True)
class Badge:
    """A state in a word or two; `kind` is its look: good, warn, bad, busy, plain."""

    kind: str
    text: str


@dataclass(frozen=True)
class Summary:
    """The state of the install, as overview and /status show it."""

    mail: Badge
    passwords: Badge
    key: Snapshot
    accounts: int
    paused: int
    last_success_at: int | None
    checks: list[Check]

    @property
    def problems(self) -> list[Check]:
        """What administrators must act on."""
        return [check for check in self.checks if not check.ok]

    @property
    def problem_count(self) -> int:
        """How many problems these are."""
        return sum(check.count for check in self.problems)

    @property
    def pending(self) -> list[Check]:
        """Checks without a problem that cannot be called OK yet either."""
        return [check for check in self.checks if check.ok and check.status not in (Label.OK, *NOT_RUNNING)]

    @property
    def passed(self) -> list[Check]:
        """What was examined just now and is in order."""
        return [check for check in self.checks if check.status is Label.OK]

    @property
    def agent_messages(self) -> list[str]:
        """The problems that concern support staff."""
        return [check.agent_message for check in self.problems if check.agent_message]


def summary(settings: Settings, vault: Vault, rows: OneRows) -> Summary:
    """The state now. The state of a mailbox is what its last real run found, never a flag."""
    install = checks.gather(settings, vault, rows=rows)
    results = checks.run(install)
    return Summary(
        mail=_mail(install, {check.check for check in results if not check.ok}),
        passwords=_passwords(install.key),
        key=install.key,
        accounts=install.mailboxes.total,
        paused=install.mailboxes.health[Health.PAUSED],
        last_success_at=install.mailboxes.newest,
        checks=results,
    )


def _mail(install: Install, failed: set[str]) -> Badge:
    if not install.mailboxes.total:
        return Badge("plain", "No mailboxes yet")
    if install.key.state.no_key or install.copy is not None:
        return Badge("bad", "Paused")
    found = {health for health, count in install.mailboxes.health.items() if count} - {Health.PAUSED}
    if not found:
        return Badge("plain", "All mailboxes paused")
    if failed & {"worker", "collecting"} or not found & {Health.OK, Health.NEW}:
        return Badge("bad", "Failing")
    if found - {Health.OK, Health.NEW}:
        return Badge("bad", "Needs attention")
    if Health.NEW in found:
        return Badge("busy", "First run pending")
    return Badge("good", "OK")


def _passwords(key: Snapshot) -> Badge:
    if key.state.no_key or key.failures:
        return Badge("bad", "Needs attention")
    if key.state is State.ON:
        return Badge("good", "Encrypted") if key.total else Badge("plain", "None stored yet")
    if key.state.working:
        return Badge("busy", "In progress")
    return Badge("warn", "Not encrypted")
