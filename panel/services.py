"""What every route and command works with. Their services take it as arguments, and know nothing of this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask import current_app, g

from panel.config import Settings
from panel.models.one_row import OneRows

if TYPE_CHECKING:
    from panel.vault.vault import Vault


@dataclass(frozen=True)
class Services:
    """The install that an application works on: how it is set up, and its key file."""

    settings: Settings
    vault: Vault


def one_rows() -> OneRows:
    """The tables of one row as they were when this request first looked."""
    if "one_rows" not in g:
        g.one_rows = OneRows()
    rows: OneRows = g.one_rows
    return rows


def current() -> Services:
    """Those of the application that answers this request or runs this command."""
    services: Services = current_app.extensions["mailkeep"]
    return services
