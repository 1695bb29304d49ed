"""The state of mail and passwords in a word, with the results of all checks: for overview and /status."""

from __future__ import annotations

from dataclasses import dataclass

from panel.accounts.listing import STATES
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
# Of checks, the gravest first; several have an address after their name.
GRAVE = ("database", "encryption", "passwords", "restored copy", "worker", "collecting", "mailbox")
ICONS = {
    "encryption": "shield", "passwords": "key", "key backup": "key", "mailbox": "inbox", "clock": "clock",
    "alerts": "bell", "disk": "file", "mail spool": "file", "proxy": "link", "app": "key",
    "outside secrets": "lock", "delivery": "upload", "helpdesk sending": "mail",
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
    def states(self) -> dict[str, int]:
        """How many of them are in each state, as the list of mailboxes counts them."""
        health = self.mailboxes.health
        return {state: sum(health[each] for each in healths) for state, healths in STATES.items()}

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
        """The problems that concern support staff, each said once."""
        return list(dict.fromkeys(check.agent_message for check in self.problems if check.agent_message))

    @property
    def why_none(self) -> str:
        """Why no first message came yet, and what to do, where there are mailboxes."""
        if self.key.state.no_key:
            return "Collecting is paused until the encryption key is back."
        states, total = self.states, self.mailboxes.total
        if states["paused"] == total:
            return "All mailboxes are paused. Resume one to collect its mail."
        if states["new"] == total - states["paused"]:
            return "The first run has not ended yet. It begins within a minute after a mailbox was added."
        if not states["ok"]:
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
        passwords=_passwords(install),
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
    """The check's name without the address or name in it."""
    several = ("mailbox", "mail spool", "delivery", "app")
    return next((name for name in several if check.check.startswith(name)), check.check)


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
    if failed & {"worker", "collecting"} or not found & {Health.OK, Health.NEW, Health.CONSENT}:
        return Badge("bad", "Failing")
    if found - {Health.OK, Health.NEW}:
        return Badge("bad", "Needs attention")
    if Health.NEW in found:
        return Badge("busy", "First run pending")
    return Badge("good", "OK")


def _passwords(install: Install) -> Badge:
    key = install.key
    if key.state.no_key or key.failures:
        return Badge("bad", "Needs attention")
    if key.state is State.ON:
        if install.sign_ins.others and not install.sign_ins.passwords:
            return Badge("good", "None stored here")
        return Badge("good", "Encrypted") if key.stored else Badge("plain", "None stored yet")
    if key.state.working:
        return Badge("busy", "In progress")
    return Badge("warn", "Not encrypted" if key.stored else "Encryption is off")
