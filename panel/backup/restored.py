"""Confirming that the other install is switched off, so that a restored copy may collect mail."""

from __future__ import annotations

from pathlib import Path

from panel import db, identity
from panel.audit import Actor
from panel.errors import Refused
from panel.models import Collection


def confirm(data_dir: Path, actor: Actor) -> None:
    """The actor confirms that no other install collects these mailboxes: collect here from now on.

    Raises Refused where there is nothing to confirm, DataDirError where it cannot be noted.
    """
    with db.transaction():
        copy = identity.restored(data_dir)
        if copy is None:
            raise Refused("This install collects mail already.", "There is nothing to confirm.")
        identity.take_over(data_dir)
        # Mail comes at once, whatever the other install's last round and its leases say.
        Collection.update(next_due_at=0, leased_by=None, leased_until=0, parked_by=None).execute()
        actor.record("restored copy confirmed", detail=copy.message)
