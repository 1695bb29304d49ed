"""The shape of an account's form. What the values may be is the service's to say."""

from __future__ import annotations

from flask_wtf import FlaskForm
from wtforms import HiddenField, IntegerField, PasswordField, RadioField, SelectField, StringField
from wtforms.fields.choices import SelectChoice
from wtforms.validators import InputRequired

PROTOCOLS = [SelectChoice("imap", "IMAP")]
SECURITIES = [
    SelectChoice("tls", "TLS from the start (port 993)"),
    SelectChoice("starttls", "STARTTLS (port 143)"),
    SelectChoice("none", "None: only for a server on this very machine"),
]
BEGINS = [
    SelectChoice("now", "Mail that arrives from now on"),
    SelectChoice("unread", "Mail that is unread now, and what arrives from now on"),
    SelectChoice("all", "Everything in the folder"),
]


def _stripped(text: str | None) -> str:
    return (text or "").strip()


class ServerForm(FlaskForm):
    """Where to log in: what a test needs."""

    address = StringField(
        "E-mail address", filters=[_stripped], validators=[InputRequired("Type the e-mail address.")]
    )
    protocol = SelectField("Protocol", choices=PROTOCOLS, default="imap")
    host = StringField(
        "Mail server", filters=[_stripped], validators=[InputRequired("Type the mail server's name.")]
    )
    port = IntegerField("Port", default=993, validators=[InputRequired("Type the port as a number.")])
    security = SelectField("Security", choices=SECURITIES, default="tls")
    username = StringField("Username")
    password = PasswordField("Password")  # never stripped, never shown again
    folder = StringField("Folder", default="INBOX", filters=[_stripped])
    account = HiddenField()  # its uuid, where there is one already

    @property
    def user(self) -> str:
        """The username; the address where it was left empty."""
        return self.username.data or self.address.data or ""


class NewForm(ServerForm):
    """A new account."""

    begin = RadioField("Begin with", choices=BEGINS, default="now")
    interval = IntegerField(
        "Seconds between two looks", default=60, validators=[InputRequired("Type a number.")]
    )


class EditForm(ServerForm):
    """An account that is there."""

    interval = IntegerField("Seconds between two looks", validators=[InputRequired("Type a number.")])
    rev = HiddenField()
