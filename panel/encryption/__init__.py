"""Server > Encryption: the only part that touches the key.

Read in this order: `keystore` (the file on disk, by way of `files`), `state` and `facts` (what a person
and a save see), `hook` and `claim` (sealing as Peewee saves), `credential` (the one place that opens a
record to log in), `rows`, `licence` (which clear values are trusted) and `sweep` (all stored passwords,
resumable), `switch` (turning on, and finishing whatever is under way), `rotation`, `release` (turning
off), `keys` and `forget` (keys of other times, and lost ones), `residue` (removing old plaintext),
`findings` (the report of each sweep), `proof` (is the backup of the key good), `judged` (does a key open
another database). Beside them stand `old_copies` (is a password left in some file?) and `exports` (the
key on paper or under a passphrase).
"""
