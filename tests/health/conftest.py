"""An install without problems, and the results of its checks."""

from __future__ import annotations

import pytest

from panel import db
from panel.health import checks, heartbeat, spool
from panel.health.check import Check
from panel.models import Collection
from panel.vault import verification
from tests.encryption.conftest import House


@pytest.fixture
def healthy(house: House) -> House:
    """An install without problems."""
    with db.database.connection_context():
        account = house.add().account
        house.enable()
        house.prove()
        verification.run_and_note(house.vault)
        Collection.insert(account=account, last_success_at=db.now()).execute()
        heartbeat.beat()
        spool.store(spool.count(house.settings.mail_spool))
    return house


def look(house: House, *, deep: bool = False) -> list[Check]:
    """The results of all checks, for a page or (`deep`) for the doctor."""
    with db.database.connection_context():
        return checks.run(checks.gather(house.settings, house.vault, deep=deep))


def problems(house: House, *, deep: bool = False) -> dict[str, Check]:
    """The problems by check. Each says what to do."""
    bad = {check.check: check for check in look(house, deep=deep) if not check.ok}
    assert all(check.remedy for check in bad.values())
    return bad
