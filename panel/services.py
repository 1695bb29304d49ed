"""What every route and command works with. Their services take it as arguments, and know nothing of this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask import current_app

from panel.config import Settings

if TYPE_CHECKING:
    from panel.vault.vault import Vault


@dataclass(frozen=True)
class Services:
    """The install that an application works on: how it is set up, and its key file."""

    settings: Settings
    vault: Vault


def current() -> Services:
    """Those of the application that answers this request or runs this command."""
    services: Services = current_app.extensions["mailkeep"]
    return services
