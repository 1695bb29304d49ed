"""Notices: what needs an administrator is told on every page, by mail and to a webhook; so is its end."""
