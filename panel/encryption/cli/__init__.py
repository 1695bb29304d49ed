"""`flask encryption …`: the same steps as the page, waiting until they are done."""

from panel.encryption.cli.commands import encryption
from panel.encryption.cli.key_file import key

__all__ = ["encryption"]

encryption.add_command(key)
