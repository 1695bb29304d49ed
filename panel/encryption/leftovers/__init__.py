"""Looking for old copies of passwords in this server's files, and telling people what was found.

`scan` opens every password and has `search`, a process of its own, look for its `needles` in the files
that `places` lists; `changed` says whose password old backups still hold. The reports are `findings`.
"""
