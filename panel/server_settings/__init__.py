"""Server > Settings: every setting, its value and where it comes from. Read only; a person edits the file."""
