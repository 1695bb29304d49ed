"""The shape of an account's form. What the values may be is the service's to say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask_wtf import FlaskForm
from wtforms import HiddenField, IntegerField, PasswordField, RadioField, SelectField, StringField
from wtforms.fields.choices import SelectChoice
from wtforms.validators import InputRequired, Optional, StopValidation
from wtforms.widgets import HiddenInput

SECURITIES = [
    SelectChoice("tls", "TLS (port 993)"),
    SelectChoice("starttls", "STARTTLS (port 143)"),
    SelectChoice("none", "None (on this very machine only)"),
]
BEGINS = [
    SelectChoice("now", "Mail that arrives from now on"),
    SelectChoice("unread", "Mail that is unread now, and what arrives from now on"),
    SelectChoice("all", "Everything in the folder"),
]


def _stripped(text: str | None) -> str:
    return (text or "").strip()


class NumberField(IntegerField):
    """A whole number, asked for in the panel's own words."""

    def __init__(self, label: str, says: str, **more: Any) -> None:
        """`says` is what stands there when it is empty or no number."""
        super().__init__(label, **more)
        self.says = says

    def process_formdata(self, valuelist: Sequence[str]) -> None:
        """Take what was typed. Raises ValueError with our own sentence."""
        try:
            super().process_formdata(valuelist)
        except ValueError:
            raise ValueError(self.says) from None

    def pre_validate(self, form: Any) -> None:
        """Refuse a field that was not sent at all and has no default."""
        if self.data is None:
            raise StopValidation(self.says)


class ServerForm(FlaskForm):
    """Where to log in: what a test needs."""

    address = StringField(
        "E-mail address", filters=[_stripped], validators=[InputRequired("Type the e-mail address.")]
    )
    protocol = HiddenField(default="imap")
    host = StringField(
        "Mail server", filters=[_stripped], validators=[InputRequired("Type the mail server's name.")]
    )
    port = NumberField("Port", "Type the port as a number.", default=993)
    security = SelectField("Security", choices=SECURITIES, default="tls", validate_choice=False)
    username = StringField("Username")
    password = PasswordField("Password")  # never stripped, never shown again
    folder = StringField("Folder", default="INBOX", filters=[_stripped])
    own_password = PasswordField("Your own password")  # where it was typed more than five minutes ago
    account = HiddenField()  # its uuid, where there is one already

    @property
    def user(self) -> str:
        """The username; the address where it was left empty."""
        return self.username.data or self.address.data or ""


class NewForm(ServerForm):
    """A new account."""

    begin = RadioField("Begin with", choices=BEGINS, default="now", validate_choice=False)
    interval = NumberField("Seconds between two looks", "Type the seconds as a number.", default=60)


class EditForm(ServerForm):
    """An account that is there."""

    interval = NumberField("Seconds between two looks", "Type the seconds as a number.")
    rev = IntegerField(widget=HiddenInput(), validators=[Optional()])  # of the server as this form shows it
