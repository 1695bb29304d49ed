"""The checks before setup: is this server ready?"""

from __future__ import annotations

import os
import stat

from panel.config import Settings
from panel.health import checks
from panel.health.check import Check, Install
from panel.vault.files import typed
from panel.vault.vault import Vault

BEFORE = ("database", "file modes", "disk", "clock", "proxy")


def run(settings: Settings, vault: Vault, *, exposed: bool) -> list[Check]:
    """Checks of the machine, the key file's directory and this connection (`exposed`: plain HTTP)."""
    install = checks.gather(settings, vault)
    found = [check for check in checks.run(install) if check.check in BEFORE]
    return [*found, _key_directory(install), _connection(settings, exposed=exposed)]


def _key_directory(install: Install) -> Check:
    path, owner = install.vault.keystore.path, install.vault.keystore.owner
    directory, quoted = path.parent, typed(path.parent)
    if not directory.is_dir():
        message = f"The directory for the key file does not exist: {directory}."
        remedy = f"Run: install -d -m 700 -o {owner} {quoted}, or unset PANEL_KEY_FILE."
    elif not os.access(directory, os.W_OK | os.X_OK):
        message = f"Mailkeep cannot write to the directory for the key file: {directory}."
        remedy = f"Run: chown {owner} {quoted}"
    elif stat.S_IMODE(directory.stat().st_mode) & 0o022:
        message = f"Other users can write to the directory for the key file: {directory}."
        remedy = f"Run: chmod go-w {quoted}"
    else:
        return Check("key file", True, f"The key file will be {path}.")
    return Check("key file", False, message, remedy)


def _connection(settings: Settings, *, exposed: bool) -> Check:
    if exposed:
        message = "This page was loaded over plain HTTP: passwords entered here can be read on the network."
        remedy = "Put Mailkeep behind HTTPS and set PANEL_URL (docs/proxy.md)."
        return Check("connection", False, message, remedy)
    if settings.url:
        return Check("connection", True, f"The connection is secure. PANEL_URL is {settings.url}.")
    return Check("connection", True, "The connection is secure: from this server itself, or over HTTPS.")
