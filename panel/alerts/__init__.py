"""Alerts: problems that administrators are notified of on every page, by mail and by webhook."""
