"""Submission: an SMTP server on loopback that helpdesks send through. It relays and keeps nothing.

`server` accepts clients and bounds them; `dialogue` answers one client's commands, which `lines` reads and
`grammar` parses; `transfer` takes its messages to the mailbox's own server, which `relay` speaks to.
`headers` says whether a message may be sent as the mailbox, `answers` remembers what became of one whose
client had left, `passwords` has the local passwords. Why it is our own: docs/decisions/0048-submission.md.
"""
