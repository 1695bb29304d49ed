"""OAuth2: apps, how a mailbox is connected to its provider, and the access tokens that sign in for it."""
