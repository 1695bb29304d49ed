"""The mailboxes that mail is collected from."""
