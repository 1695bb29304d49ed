"""Sending: the server that a mailbox sends mail through."""
