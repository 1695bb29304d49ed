"""The install that routes and commands work on. Services get it as arguments and never import this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask import current_app

from panel.config import Settings

if TYPE_CHECKING:
    from panel.vault.keystore import KeyStore


@dataclass(frozen=True)
class Services:
    """The settings and the key store of an application's install."""

    settings: Settings
    keystore: KeyStore


def current() -> Services:
    """The ones of the current application."""
    services: Services = current_app.extensions["mailkeep"]
    return services
