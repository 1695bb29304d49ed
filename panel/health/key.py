"""Checks of the key: its state, the records sealed under it, its backup."""

from __future__ import annotations

from collections.abc import Iterator

from panel import db
from panel.health.check import Check, Install, Link
from panel.times import ago
from panel.vault import verification
from panel.vault.state import Failure, State

PAGE = Link("/server/encryption", "Open Encryption")
NAMED = 5  # accounts; the page has them all


def encryption(install: Install) -> Iterator[Check]:
    """Whether passwords are protected and the key is there. What staff are told, /status says itself."""
    now = install.key
    if now.state.no_key:
        yield Check("encryption", False, f"{now.reason} Collecting is paused.", now.remedy, PAGE)
    elif now.state is State.OFF:
        message = f"Encryption is off. Stored in clear: {now.clear} of {now.total} passwords."
        yield Check(
            "encryption", False, message, "Turn it on, on its page or with flask encryption enable.", PAGE
        )
    elif now.state.working:
        message = f"Work is under way ({now.state}): {now.sealed} of {now.total} passwords are sealed."
        yield Check("encryption", True, message, link=PAGE, instead="Being changed")
    elif not now.total:
        yield Check("encryption", True, "It is on. No password is stored yet.")
    else:
        yield Check("encryption", True, f"It is on: {now.sealed} of {now.total} passwords are sealed.")


def records(install: Install) -> Iterator[Check]:
    """Whether every stored password opens: what is known of it, or with `deep` each of them tried."""
    tried_at = max(install.key.times.verified_at or 0, _reported_at())
    if install.key.state.no_key:
        return  # nothing can be opened, and that is said already
    failures = install.key.failures
    if install.deep:
        verdict = verification.run(install.vault)
        failures = verdict.failures
        yield from _unvouched(verdict)
    if failures:
        told = "Some mailbox passwords must be entered again by an administrator."
        remedy = "Enter the password of each of these accounts again."
        yield Check("records", False, f"Some passwords do not open: {_named(failures)}.", remedy, PAGE, told)
    elif not install.key.total:
        yield Check("records", True, "No password is stored yet.", instead="No password")
    elif install.deep:
        yield Check("records", True, f"Each of the {install.key.total} stored passwords opens.")
    elif not install.key.sealed:
        yield Check("records", True, "Passwords are stored in clear: nothing has to open.", instead="Off")
    elif not tried_at:
        message = "None is known not to open, but not all were tried yet."
        yield Check("records", True, message, link=PAGE, instead="Not known yet")
    else:
        message = f"None is known not to open. All were last tried {ago(tried_at)}."
        yield Check("records", True, message)


def _reported_at() -> int:
    """When the newest report of a sweep was finished; 0 where there is none."""
    row = db.database.execute_sql(
        "SELECT finished_at FROM sweep_report WHERE finished_at IS NOT NULL ORDER BY id DESC LIMIT 1"
    ).fetchone()
    return row[0] if row and isinstance(row[0], int) else 0


def _unvouched(verdict: verification.Verdict) -> Iterator[Check]:
    """Passwords that appeared in clear: their servers may be an attacker's."""
    if verdict.unattested:
        message = f"Some passwords were found in clear, not entered here: {_named(verdict.unattested)}."
        remedy = "Their servers may have been changed too. Enter server and password of each of them again."
        yield Check("found in clear", False, message, remedy, Link("/activity", "Open Activity"))


def _named(failures: tuple[Failure, ...]) -> str:
    more = f" and {len(failures) - NAMED} more" if len(failures) > NAMED else ""
    return ", ".join(failure.address for failure in failures[:NAMED]) + more


def backup(install: Install) -> Iterator[Check]:
    """Whether somebody has proved that a copy of today's key file exists."""
    proved = install.key.times.backup_proved_at
    if install.key.backup_due:
        remedy = "Prove it on the Encryption page, with the command shown there."
        yield Check(
            "key backup", False, "Nobody has proved that a good copy of the key file exists.", remedy, PAGE
        )
    elif proved is not None and install.key.state in (State.ON, State.INCONSISTENT):
        yield Check("key backup", True, f"A copy was proved {ago(proved)}.")
