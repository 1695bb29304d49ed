"""Every check once: what is looked at, whether it is well, and what to do where it is not.

Overview, /status, `flask doctor` and /metrics show the same ones. For pages they are quick; `deep` has them
read the whole database, open every password and count every message as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from panel import identity
from panel.accounts import totals
from panel.config import Settings
from panel.errors import PanelError
from panel.health import key, mail, server, telling
from panel.health.check import Check, Install
from panel.models import InstallCopy
from panel.models.one_row import OneRows
from panel.vault.vault import Vault

# In the order in which somebody would look.
CHECKS: dict[str, Callable[[Install], Iterator[Check]]] = {
    "database": server.database,
    "file modes": server.files,
    "encryption": key.encryption,
    "records": key.records,
    "key backup": key.backup,
    "restored copy": mail.restored_copy,
    "worker": mail.worker,
    "collecting": mail.collecting,
    "accounts": mail.accounts,
    "mail spool": mail.spool,
    "disk": server.disk,
    "clock": server.clock,
    "proxy": server.proxy,
    "alerts": telling.alerts,
}


def look(settings: Settings, vault: Vault, *, rows: OneRows | None = None, deep: bool = False) -> Install:
    """What the checks look at, as it is now; `rows` where they were read already."""
    key, rows = vault.latest(), rows or OneRows()
    return Install(
        settings=settings,
        vault=vault,
        key=key,
        copy=identity.restored_by(rows.of(InstallCopy), settings.data_dir),
        mailboxes=totals.read(key),
        rows=rows,
        deep=deep,
    )


def run(install: Install) -> list[Check]:
    """All checks."""
    return [found for name, check in CHECKS.items() for found in _tried(name, check, install)]


def problems(install: Install) -> dict[str, int]:
    """How much each check finds wrong, by the check's name: 0 where all is well."""
    return {
        name: sum(found.count for found in _tried(name, check, install) if not found.ok)
        for name, check in CHECKS.items()
    }


def _tried(name: str, check: Callable[[Install], Iterator[Check]], install: Install) -> list[Check]:
    """What `check` found. One that cannot look is a finding, and keeps no other from looking."""
    try:
        return list(check(install))
    except PanelError as error:
        return [Check(name, False, error.message, error.remedy or "The server's log has the details.")]
    except OSError as error:
        message = f"This could not be looked at: {error.filename}: {(error.strerror or 'failed').lower()}."
        return [Check(name, False, message, "Correct the owner and the permissions there.")]
