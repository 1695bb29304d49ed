"""Failed sign-ins, counted for all web processes together."""

from __future__ import annotations

from peewee import AutoField

from panel.models.base import BaseModel, BigIntegerField, CharField


class SignInTry(BaseModel):
    """One failed try, kept once for the account that was named and once for the address it came from."""

    id = AutoField()
    who = CharField(max_length=300)  # 'account:…' or 'address:…'
    at = BigIntegerField()

    class Meta:
        indexes = ((("who", "at"), False),)
