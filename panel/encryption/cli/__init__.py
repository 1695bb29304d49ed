"""`flask encryption …`: the same steps as the page, waiting until they are done.

`commands` and `key_file` are the two groups of commands, `finish` is the end that those share which change
records, and `words` is what all of them say.
"""

from panel.encryption.cli.commands import encryption
from panel.encryption.cli.key_file import key

__all__ = ["encryption"]

encryption.add_command(key)
