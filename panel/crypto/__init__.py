"""Pure cryptography: bytes in, bytes out.

Nothing here knows Flask, the database, the environment, the file system or the
clock. The import contract in pyproject.toml holds it to that.
"""
