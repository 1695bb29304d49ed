"""What is looked at before anything is set up: would it hold?"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from panel.config import Settings
from panel.health import checks
from panel.health.check import Check, Install
from panel.vault.files import typed
from panel.vault.vault import Vault

BEFORE = ("database", "file modes", "disk", "clock", "proxy")


def run(settings: Settings, vault: Vault, *, exposed: bool) -> list[Check]:
    """Checks of the machine, of the key file's place, and of the way here (`exposed`: plain HTTP)."""
    install = checks.look(settings, vault)
    found = [check for check in checks.run(install) if check.check in BEFORE]
    return [*found, *_key_place(install), *_way(settings, exposed=exposed)]


def _key_place(install: Install) -> Iterator[Check]:
    path, owner = install.vault.keystore.path, install.vault.keystore.owner
    place = path.parent
    if not place.is_dir():
        says = f"The directory for the key file is not there: {place}."
        yield Check(
            "key file",
            False,
            says,
            f"Type: install -d -m 700 -o {owner} {typed(place)}, or unset PANEL_KEY_FILE.",
        )
    elif not os.access(place, os.W_OK | os.X_OK):
        says = f"The directory for the key file cannot be written: {place}."
        yield Check("key file", False, says, f"Type: chown {owner} {typed(place)}")
    elif stat.S_IMODE(place.stat().st_mode) & 0o022:
        says = f"Other users can write to the directory for the key file: {place}."
        yield Check("key file", False, says, f"Type: chmod go-w {typed(place)}")
    else:
        yield Check("key file", True, f"The key file will be {path}.")


def _way(settings: Settings, *, exposed: bool) -> Iterator[Check]:
    if exposed:
        says = "This page came over plain HTTP: passwords typed here can be read on the way."
        yield Check("connection", False, says, "Put Mailkeep behind HTTPS and set PANEL_URL (docs/proxy.md).")
    elif settings.url:
        yield Check(
            "connection", True, f"This page did not come over plain HTTP. PANEL_URL is {settings.url}."
        )
    else:
        yield Check("connection", True, "This page came from this server itself, or over HTTPS.")
