"""Fields that several forms share: numbers with our own messages, and the login to a mail server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import wtforms
from wtforms.fields.choices import SelectChoice
from wtforms.validators import StopValidation

from panel.errors import PanelError
from panel.secret import Secret

LONGEST_NUMBER = 18  # characters: fits a database's integer
FALSE = (False, "false", "0", "off", "no", "n", "f", "")  # of an unchecked box; WTForms takes others for true
AUTHS = [
    SelectChoice("password", "Password"),
    SelectChoice("oauth", "OAuth2"),
    SelectChoice("outside", "Secret kept outside"),
]
SECURITIES = [
    SelectChoice("tls", "TLS"),
    SelectChoice("starttls", "STARTTLS"),
    SelectChoice("none", "None (on this server only)"),
]


def stripped(text: str | None) -> str:
    """A filter: without surrounding spaces, which pasting often adds."""
    return (text or "").strip()


def show_on_field(form: wtforms.Form, error: PanelError) -> PanelError | None:
    """Show `error` beside the field it is about; the error itself if there is no such field."""
    for field in _fields(form):
        if field.name == error.field and not isinstance(field, wtforms.HiddenField):
            field.errors = [str(error)]
            return None
    return error


def _fields(form: wtforms.Form) -> Iterator[wtforms.Field]:
    for field in form:
        if isinstance(field, wtforms.FormField):
            yield from _fields(field.form)
        else:
            yield field


class NumberField(wtforms.IntegerField):
    """A whole number, with the panel's own error message."""

    def __init__(self, label: str, message: str, *, may_be_empty: bool = False, **more: Any) -> None:
        """`message`: the error for what is no number, and for an empty field unless it `may_be_empty`."""
        super().__init__(label, **more)
        self.message = message
        self.may_be_empty = may_be_empty

    def process_formdata(self, valuelist: Sequence[str]) -> None:
        """Parse the input. Raises ValueError with our own message."""
        if any(len(typed) > LONGEST_NUMBER for typed in valuelist):
            raise ValueError(self.message)
        if self.may_be_empty and valuelist and not valuelist[0].strip():
            self.data = None
            return
        try:
            super().process_formdata(valuelist)
        except ValueError:
            raise ValueError(self.message) from None

    def pre_validate(self, form: Any) -> None:
        """Refuse a field that is missing and has no default."""
        if self.data is None and not self.may_be_empty:
            raise StopValidation(self.message)


class SignInFields(wtforms.Form):
    """How a server is signed in to: `auth` says which of the other fields count."""

    auth = wtforms.RadioField("Sign-in", choices=AUTHS, default="password", validate_choice=False)
    app = wtforms.SelectField("App", choices=[], validate_choice=False)
    signs_in_as = wtforms.StringField("Signs in as", filters=[stripped])
    secret_name = wtforms.StringField("Name of the secret", filters=[stripped])

    @property
    def by(self) -> str:
        """Which way counts: password, oauth or outside."""
        return self.auth.data if self.auth.data in ("oauth", "outside") else "password"

    @property
    def app_field(self) -> wtforms.SelectField:
        return self.app

    @property
    def ways(self) -> tuple[str, str, str, str]:
        """The way that counts, the app, who signs in, and the secret's name."""
        return self.by, self.app_field.data or "", self.signs_in_as.data or "", self.secret_name.data or ""


class ServerFields(wtforms.Form):
    """Server and login. `panel.accounts.rules` checks the values."""

    host = wtforms.StringField("Mail server", filters=[stripped])
    port = NumberField("Port", "Enter the port as a number.", may_be_empty=True)
    security = wtforms.SelectField("Security", choices=SECURITIES, default="tls", validate_choice=False)
    username = wtforms.StringField("Username")
    password = wtforms.PasswordField("Password")  # never stripped, never shown again

    @property
    def entered_password(self) -> Secret | None:
        """The password; None if the field was left blank."""
        return Secret(self.password.data) if self.password.data else None


class SendingFields(ServerFields):
    """The same for SMTP, with labels of its own, so that both fit on one page."""

    host = wtforms.StringField("SMTP server", filters=[stripped])
    port = NumberField("SMTP port", "Enter the port as a number.", may_be_empty=True)
    security = wtforms.SelectField("SMTP security", choices=SECURITIES, default="tls", validate_choice=False)
    username = wtforms.StringField("SMTP username")
    password = wtforms.PasswordField("SMTP password")
