"""The vault keeps the stored secrets: the only part that touches the key. It calls nothing above itself.

Confidentiality (can a password leak?): read `crypto/record`, `crypto/keyring`, `crypto/keyfile`, `secret`,
`models/secret_row` and `models/endpoint`; then here `state` and `snapshot` (in which state is it, and what
does a save store), `sealer` (sealing as Peewee saves), `credential` (the one place that opens a record to
log in), `attestation` (which values in clear text are sealed as entered here) and `sweep` (moving every
record).

Durability (can one be lost?): `files` and `keystore` (the files on disk), `activate`, `turn_on`, `turn_off`,
`rotation`, `retired_keys`, `forget`, `unfinished` (what a crash left), `verification`, `scrub` (removing old
plaintext) and `backup_proof`.

`vault`, `rows`, `reading` and `reports` serve both paths; `foreign` opens the records of a backup.
Services get a `Vault` and an `Actor`. What is decided is decided by one `Snapshot`, read under the lock.
"""
