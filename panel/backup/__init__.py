"""Backups: making one of the database (`snapshot`), judging any (`check`), restoring (`restored`)."""
