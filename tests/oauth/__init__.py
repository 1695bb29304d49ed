"""Mailboxes that sign in with OAuth2."""
