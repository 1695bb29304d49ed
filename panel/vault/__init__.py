"""The vault keeps the stored secrets: the only part that touches the key. It calls nothing above itself.

Every table of secrets is in `models.SECRET_ROWS`, and whatever is done with all secrets walks that. Services
get a `Vault` and an `Actor`; what is decided is decided by one `Snapshot`, read under the lock. Which files
an auditor of confidentiality reads, and which one of durability: docs/architecture.md, 'The vault'.
"""
