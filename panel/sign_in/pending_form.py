"""Submitted forms that wait until their person has entered the password again.

A form may hold a mailbox's password, so it is encrypted, and the key lies in the cookie of the browser that
sent it: the database alone does not open it, nor does a copy of the cookie. Nothing of it is ever sent back.
It belongs to one session and ends with it, is taken once, and expires.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from peewee import SQL

from panel import db
from panel.models.sign_in import PendingForm
from panel.secret import Secret
from panel.sign_in.sessions import Visitor

SECONDS = 600  # until it expires
MOST = 4  # of one session; the oldest goes first
LABEL = b"mailkeep pending form "
# Each key is used once, so the nonce needs no variation.
NONCE = bytes(12)


@dataclass(frozen=True)
class Ticket:
    """What the browser gets."""

    id: str
    key: str = field(repr=False)


def keep(visitor: Visitor, form: bytes, secret_key: Secret) -> Ticket:
    """Keep `form` for the visitor's session."""
    now, ticket = db.now(), Ticket(secrets.token_urlsafe(16), secrets.token_urlsafe(32))
    sealed = _cipher(ticket.key, secret_key).encrypt(NONCE, form, _bound_to(visitor, ticket.id, now))
    mine = PendingForm.session == visitor.session_id
    newest = PendingForm.select(PendingForm.id).where(mine).order_by(SQL("rowid DESC"))
    with db.transaction():
        PendingForm.delete().where(~PendingForm.created_at.between(now - SECONDS, now)).execute()
        PendingForm.delete().where(mine & PendingForm.id.not_in(newest.limit(MOST - 1))).execute()
        PendingForm.create(id=ticket.id, session=visitor.session_id, created_at=now, sealed=sealed)
    return ticket


def is_pending(visitor: Visitor, form_id: str) -> bool:
    """Whether a form of that id waits for the visitor."""
    now = db.now()
    current = PendingForm.created_at.between(now - SECONDS, now)
    return bool(PendingForm.select().where(_mine(visitor, form_id) & current).exists())


def take(visitor: Visitor, form_id: str, key: str, secret_key: Secret) -> bytes | None:
    """The form of that id, once; None if there is none, it has expired or `key` does not open it."""
    now = db.now()
    with db.transaction():
        row = PendingForm.get_or_none(_mine(visitor, form_id))
        if row is None or not PendingForm.delete().where(_mine(visitor, form_id)).execute():
            return None
    if not 0 <= now - row.created_at <= SECONDS:
        return None
    try:
        bound_to = _bound_to(visitor, form_id, row.created_at)
        return _cipher(key, secret_key).decrypt(NONCE, bytes(row.sealed), bound_to)
    except (InvalidTag, TypeError, ValueError):  # SQL may have stored anything
        return None


def _mine(visitor: Visitor, form_id: str) -> object:
    return (PendingForm.id == form_id) & (PendingForm.session == visitor.session_id)


def _cipher(key: str, secret_key: Secret) -> AESGCM:
    return AESGCM(hmac.digest(secret_key.reveal().encode(), LABEL + key.encode(), "sha256"))


def _bound_to(visitor: Visitor, form_id: str, created_at: int) -> bytes:
    return f"{form_id} {created_at} {visitor.id} {visitor.form_token}".encode("utf-8", "replace")
