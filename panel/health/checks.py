"""All checks. Overview, /status, `flask doctor` and /metrics show the same ones.

For pages they are quick; with `deep` they also read the whole database, decrypt every password and count
every message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from panel import db, identity
from panel.accounts import totals
from panel.config import Settings
from panel.errors import PanelError
from panel.health import alerting, helpdesks, key, mail, sending, server, sign_ins, signing_in, spool
from panel.health.check import Check, Install
from panel.models import InstallCopy
from panel.models.one_row import OneRows
from panel.vault.vault import Vault
from panel.wording import reason

# In the order in which people read them.
CHECKS: dict[str, Callable[[Install], Iterator[Check]]] = {
    "database": server.database,
    "file modes": server.files,
    "encryption": key.encryption,
    "passwords": key.passwords,
    "key backup": key.backup,
    "restored copy": mail.restored_copy,
    "worker": mail.worker,
    "collecting": mail.collecting,
    "mailboxes": mail.mailboxes,
    "sign-in": signing_in.sign_ins,
    "mail spool": mail.spool,
    "helpdesk sending": helpdesks.helpdesk_sending,
    "delivery": mail.delivery,
    "disk": server.disk,
    "clock": server.clock,
    "proxy": server.proxy,
    "alerts": alerting.alerts,
}
FACTS = " UNION ALL ".join((sign_ins.FACTS, spool.FACTS, sending.FACTS))


def gather(settings: Settings, vault: Vault, *, rows: OneRows | None = None, deep: bool = False) -> Install:
    """What the checks examine, as it is now; `rows` where they were read already."""
    key, rows = vault.latest(), rows or OneRows()
    limits = {"many": mail.MANY_UNREAD, "since": db.now() - mail.LONG_UNREAD}
    facts = db.database.execute_sql(FACTS, limits).fetchall()
    return Install(
        settings=settings,
        vault=vault,
        key=key,
        copy=identity.restored_by(rows.of(InstallCopy), settings.data_dir),
        mailboxes=totals.read(key),
        sign_ins=sign_ins.read(facts),
        waiting=spool.stored(facts),
        sending=sending.stored(facts),
        rows=rows,
        deep=deep,
    )


def run(install: Install) -> list[Check]:
    return [result for name in CHECKS for result in _results(name, install)]


def problems(install: Install) -> dict[str, int]:
    """How many problems each check finds, by its name."""
    return {name: sum(result.count for result in _results(name, install) if not result.ok) for name in CHECKS}


def _results(name: str, install: Install) -> list[Check]:
    """What one check found. An error in it is a result, and stops no other check."""
    try:
        return list(CHECKS[name](install))
    except PanelError as error:
        return [Check(name, False, error.message, error.remedy or "See the server's log for details.")]
    except OSError as error:
        message = f"{error.filename} could not be read: {reason(error)}."
        return [Check(name, False, message, "Correct its owner and permissions.")]
