"""Backups: making one of the database (`create`), judging any (`check`), restoring (`restored`)."""
