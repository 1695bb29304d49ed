"""Server > Encryption: the only part that touches the key.

Read in this order: `keystore` (the file on disk), `state` (what a person and a
save see), `hook` (sealing as Peewee saves), `credential` (the one place that
opens a record to log in), `sweep` (all stored passwords, resumable), `switch`
(turning on and off), `residue` (removing old plaintext), `scan` (looking for it: `needles`
in `places`, read by `search`; `findings` keeps what was found), `changed` (whose password
old backups still hold), `proof` (is the backup good), `export` (the key taken out and put
back; `age`, `sheet` and `sheet_page` are its forms).
"""
