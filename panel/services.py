"""The install that routes and commands work on. Services get it as arguments and never import this."""

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
    """The settings and the key store of an application's install."""

    settings: Settings
    vault: Vault


def one_rows() -> OneRows:
    """The tables of one row as they were when this request first looked."""
    if "one_rows" not in g:
        g.one_rows = OneRows()
    rows: OneRows = g.one_rows
    return rows


def current() -> Services:
    services: Services = current_app.extensions["mailkeep"]
    return services
