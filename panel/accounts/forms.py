"""The shape of an account's form. What the values may be is `panel.accounts.rules`' to say."""

from __future__ import annotations

from flask_wtf import FlaskForm
from wtforms import (
    BooleanField,
    FormField,
    HiddenField,
    IntegerField,
    PasswordField,
    RadioField,
    SelectField,
    StringField,
)
from wtforms.fields.choices import SelectChoice
from wtforms.validators import InputRequired, Optional
from wtforms.widgets import HiddenInput

from panel.web.fields import FALSE, NumberField, SendingFields, ServerFields, stripped

PROTOCOLS = [SelectChoice("imap", "IMAP"), SelectChoice("pop3", "POP3")]
BEGINS = [
    SelectChoice("now", "Mail that arrives from now on"),
    SelectChoice("unread", "Mail that is unread now, and what arrives from now on"),
    SelectChoice("all", "Everything in the folder"),
]
ON_SERVER = [
    SelectChoice("keep", "Keep it there as it is"),
    SelectChoice("seen", "Mark it as read"),
    SelectChoice("move", "Move it to another folder"),
    SelectChoice("delete", "Delete it there"),
]


class ServerForm(FlaskForm, ServerFields):
    """Where to log in for collecting: what a test needs. Errors are listed in the order of these fields."""

    address = StringField(
        "E-mail address", filters=[stripped], validators=[InputRequired("Type the e-mail address.")]
    )
    host = StringField(
        "Mail server", filters=[stripped], validators=[InputRequired("Type the mail server's name.")]
    )
    protocol = SelectField("Protocol", choices=PROTOCOLS, default="imap", validate_choice=False)
    folder = StringField("Folder", default="INBOX", filters=[stripped])
    own_password = PasswordField("Your own password")  # where it was typed more than five minutes ago
    account = HiddenField()  # its uuid, where there is one already

    @property
    def user(self) -> str:
        """The username; the address where it was left empty."""
        return self.username.data or self.address.data or ""


class MailboxForm(ServerForm):
    """A mailbox: what is collected how often, and what then becomes of it on the server."""

    interval = NumberField("Seconds between two looks", "Type the seconds as a number.", default=60)
    on_server = RadioField("Mail on the server", choices=ON_SERVER, default="keep", validate_choice=False)
    move_to = StringField("Folder to move it to", filters=[stripped])


class NewForm(MailboxForm):
    """A new account, and how to send through it if that is wanted."""

    password = PasswordField("Password", validators=[InputRequired("Type the mailbox's password.")])
    begin = RadioField("Begin with", choices=BEGINS, default="now", validate_choice=False)
    sends = BooleanField("Send mail through this account too", false_values=FALSE)
    same_password = BooleanField("The same password as above", default=True, false_values=FALSE)
    sending = FormField(SendingFields)


class EditForm(MailboxForm):
    """An account that is there."""

    rev = IntegerField(widget=HiddenInput(), validators=[Optional()])  # of the server as this form shows it
    seen = HiddenField()  # the digest of that server
