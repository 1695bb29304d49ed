"""Sending: the server that an account sends mail through."""
