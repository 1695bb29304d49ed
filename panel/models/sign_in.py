"""Who may sign in, who is signed in, and failed sign-ins."""

from peewee import AutoField, BlobField, BooleanField, Check, ForeignKeyField

from panel.models.base import BaseModel, BigIntegerField, CharField, TextField
from panel.models.moment import FutureTime, UtcTime

ROLES = ("admin", "agent", "user")  # the most powerful first
THEMES = ("", "light", "dark")
INVITATION_SECONDS = 24 * 3600

ROLE_CHECK = "role IN ('admin', 'agent', 'user')"


class Person(BaseModel):
    """An admin, agent or user of the helpdesk. The login password is a one-way hash (PHC string)."""

    id = AutoField()
    email = CharField(max_length=254, unique=True)
    name = CharField(max_length=200)
    role = CharField(max_length=8, constraints=[Check(ROLE_CHECK)])
    login_hash = TextField()
    created_at = UtcTime()
    disabled_at = UtcTime(null=True)
    last_sign_in_at = UtcTime(null=True)
    timezone = CharField(max_length=64, default="")  # an IANA name; empty: the server's
    theme = CharField(max_length=8, default="")  # light or dark; empty: as the system is set
    invitation_hash = BlobField(null=True, unique=True)  # SHA-256 of the token in the link
    invited_until = FutureTime(INVITATION_SECONDS, null=True)


class Session(BaseModel):
    """One signed-in browser. Signing out deletes the row, and with it the worth of the cookie."""

    id = AutoField()
    token_hash = BlobField(unique=True)  # SHA-256 of the cookie's token
    person = ForeignKeyField(Person, backref="sessions", on_delete="CASCADE")
    created_at = BigIntegerField()
    seen_at = UtcTime()
    confirmed_at = BigIntegerField(null=True)  # when the password was last typed in it
    address = CharField(max_length=64)
    agent = CharField(max_length=300)
    form_token = CharField(max_length=64)  # random; what the forms of this session carry, signed
    # The role when the password was last typed; the session is never allowed more.
    role = CharField(max_length=8, constraints=[Check(ROLE_CHECK)])
    renewal_due = BooleanField(default=False)  # the browser's next request gets a new token


class PendingForm(BaseModel):
    """A form that waits for the password; only the browser has its key. It ends with its session."""

    id = CharField(max_length=32, primary_key=True)
    session = ForeignKeyField(Session, on_delete="CASCADE")
    created_at = BigIntegerField()
    sealed = BlobField()


class SignInTry(BaseModel):
    """One failed sign-in, stored once by the account named and once by the address it came from."""

    id = AutoField()
    who = CharField(max_length=300)  # 'account:…' or 'address:…'
    at = BigIntegerField()

    class Meta:
        indexes = ((("who", "at"), False),)
