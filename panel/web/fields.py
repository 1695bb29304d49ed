"""Fields that several forms share: numbers asked for in our words, and where to log in on a mail server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wtforms import Form, IntegerField, PasswordField, SelectField, StringField
from wtforms.fields.choices import SelectChoice
from wtforms.validators import StopValidation

LONGEST_NUMBER = 18  # characters: what a database's whole numbers hold
FALSE = (False, "false", "0", "off", "no", "")  # what a check box may send and still not be checked
SECURITIES = [
    SelectChoice("tls", "TLS"),
    SelectChoice("starttls", "STARTTLS"),
    SelectChoice("none", "None (on this server only)"),
]


def stripped(text: str | None) -> str:
    """A filter: without the spaces that come along when something is pasted."""
    return (text or "").strip()


class NumberField(IntegerField):
    """A whole number, asked for in the panel's own words."""

    def __init__(self, label: str, message: str, **more: Any) -> None:
        """`message` is what stands there when it is empty or no number."""
        super().__init__(label, **more)
        self.message = message

    def process_formdata(self, valuelist: Sequence[str]) -> None:
        """Take what was typed. Raises ValueError with our own sentence."""
        if any(len(typed) > LONGEST_NUMBER for typed in valuelist):
            raise ValueError(self.message)
        try:
            super().process_formdata(valuelist)
        except ValueError:
            raise ValueError(self.message) from None

    def pre_validate(self, form: Any) -> None:
        """Refuse a field that was not sent at all and has no default."""
        if self.data is None:
            raise StopValidation(self.message)


class ServerFields(Form):
    """Where and as whom to log in. What the values may be, `panel.accounts.rules` says."""

    host = StringField("Mail server", filters=[stripped])
    port = NumberField("Port", "Type the port as a number.", default=993)
    security = SelectField("Security", choices=SECURITIES, default="tls", validate_choice=False)
    username = StringField("Username")
    password = PasswordField("Password")  # never stripped, never shown again


class SendingFields(ServerFields):
    """The same for SMTP, labelled so that both can stand on one page."""

    host = StringField("Server for sending", filters=[stripped])
    port = NumberField("Port for sending", "Type the port as a number.", default=465)
    security = SelectField("Security for sending", choices=SECURITIES, default="tls", validate_choice=False)
    username = StringField("Username for sending")
    password = PasswordField("Password for sending")
