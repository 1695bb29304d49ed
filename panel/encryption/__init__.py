"""Server > Encryption: page, shell, exports and the scan for leftovers. `panel.vault` does the work."""
