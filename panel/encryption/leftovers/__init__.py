"""Leftovers in clear text: passwords that still stand in this server's files after they were encrypted.

`scan` decrypts every password and has `search`, a process of its own, search the files for them; `changed`
lists whose password old backups still hold. The reports are `panel.vault.reports`.
"""
