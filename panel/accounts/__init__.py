"""Mail accounts: the mailboxes that mail is collected from."""
