"""Server > Encryption: page, shell, sentences, exports and the scan for leftovers. `panel.vault` does the
work.
"""
