"""The state of mail and passwords in a word, with the results of all checks: for overview and /status."""

from __future__ import annotations

from dataclasses import dataclass

from panel.accounts.overview import Health
from panel.accounts.totals import Totals
from panel.config import Settings
from panel.health import checks
from panel.health.check import Check, Install, Label, Link
from panel.models.one_row import OneRows
from panel.vault.snapshot import Snapshot
from panel.vault.state import State
from panel.vault.vault import Vault

NOT_RUNNING = (Label.OFF, Label.PAUSED)
BAD = {Health.FAILING, Health.NO_PASSWORD, Health.OVERDUE}
# Of checks, the gravest first; several have an address after their name.
GRAVE = ("database", "encryption", "passwords", "restored copy", "worker", "collecting", "mailbox")
ICONS = {
    "encryption": "shield", "passwords": "key", "key backup": "key", "mailbox": "inbox", "clock": "clock",
    "alerts": "bell", "disk": "file", "mail spool": "file", "proxy": "link",
}  # fmt: skip
SENTENCES = {
    "OK": "Collecting mail", "Needs attention": "Collecting mail, but not from every mailbox",
    "Failing": "Not collecting mail", "Paused": "Collecting is paused",
}  # fmt: skip


@dataclass(frozen=True)
class Badge:
    """A state in a word or two; `kind` is its look: good, warn, bad, busy, plain."""

    kind: str
    text: str

    @property
    def sentence(self) -> str:
        """The state of the mail in some more words."""
        return SENTENCES.get(self.text, self.text)


@dataclass(frozen=True)
class Cause:
    """One thing that needs attention. `kind`: bad or warn."""

    kind: str
    icon: str
    title: str
    text: str
    link: Link | None


@dataclass(frozen=True)
class Summary:
    """The state of the install, as overview and /status show it."""

    mail: Badge
    passwords: Badge
    key: Snapshot
    mailboxes: Totals
    checks: list[Check]

    @property
    def accounts(self) -> int:
        """How many mailboxes there are."""
        return self.mailboxes.total

    @property
    def paused(self) -> int:
        """How many of them are paused, by a person or until the key is back, as the list counts them."""
        return self.mailboxes.health[Health.PAUSED] + self.mailboxes.health[Health.WAITS_FOR_KEY]

    @property
    def good(self) -> int:
        """How many of them are collected."""
        return self.mailboxes.health[Health.OK]

    @property
    def bad(self) -> int:
        """How many of them are not, and should be."""
        return sum(count for health, count in self.mailboxes.health.items() if health in BAD)

    @property
    def new(self) -> int:
        """How many of them wait for their first round."""
        return self.mailboxes.health[Health.NEW]

    @property
    def last_success_at(self) -> int | None:
        """When a round last succeeded."""
        return self.mailboxes.newest

    @property
    def problems(self) -> list[Check]:
        """What administrators must act on."""
        return [check for check in self.checks if not check.ok]

    @property
    def causes(self) -> list[Cause]:
        """The same, the gravest first, and of mailboxes what most of them fail by."""
        return [_cause(check) for check in sorted(self.problems, key=_weight)]

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

    @property
    def why_none(self) -> str:
        """Why no first message came yet, and what to do, where there are mailboxes."""
        if self.key.state.no_key:
            return "Collecting is paused until the encryption key is back."
        if self.paused == self.accounts:
            return "All mailboxes are paused. Resume one to collect its mail."
        if self.new == self.accounts - self.paused:
            return "The first run has not ended yet. It begins within a minute after a mailbox was added."
        if not self.good:
            return "No mailbox could be collected. “Needs attention” says why."
        return (
            "Collecting works and has found no new mail so far. Send a message to one of the mailboxes: it"
            " appears here within a minute. Older mail stays on its server; to collect it, open its mailbox."
        )


def summary(settings: Settings, vault: Vault, rows: OneRows) -> Summary:
    """The state now. The state of a mailbox is what its last real run found, never a flag."""
    install = checks.gather(settings, vault, rows=rows)
    results = checks.run(install)
    return Summary(
        mail=_mail(install, {check.check for check in results if not check.ok}),
        passwords=_passwords(install.key),
        key=install.key,
        mailboxes=install.mailboxes,
        checks=results,
    )


def _weight(check: Check) -> tuple[int, int]:
    return GRAVE.index(_kind(check)) if _is_grave(check) else len(GRAVE), -check.count


def _is_grave(check: Check) -> bool:
    """Whether mail or passwords are affected now. Encryption that is off has been chosen."""
    return _kind(check) in GRAVE and not check.message.startswith("Encryption is off")


def _kind(check: Check) -> str:
    """The check's name without the address in it."""
    return next((name for name in ("mailbox", "mail spool") if check.check.startswith(name)), check.check)


def _cause(check: Check) -> Cause:
    title, text = check.title, check.message
    if check.count > 1:
        title, _, text = text.partition(": ")  # "12 mailboxes: the server refused …"
    look = "bad" if _is_grave(check) else "warn"
    return Cause(look, ICONS.get(_kind(check), "server"), title, f"{text} {check.remedy}".strip(), check.link)


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
