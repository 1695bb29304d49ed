"""Mail on its way out to a helpdesk: the targets, and the process that delivers to them (docs/deliver.md).

`python -m panel.deliver` runs as the helpdesk's Unix user and knows the spool and the targets file alone.
What it imports knows neither database nor key; the panel's side is `mailboxes`, `status`, `routes`, `cli`.
"""
