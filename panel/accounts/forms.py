"""The forms of the mailbox pages. `panel.accounts.rules` checks the values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

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
from wtforms.validators import InputRequired, Optional, ValidationError
from wtforms.widgets import HiddenInput

from panel.accounts import auth, rules
from panel.accounts.auth import Login, Oauth
from panel.accounts.rules import Mailbox
from panel.config import Settings
from panel.errors import BadInput
from panel.mail.server import MailServer
from panel.secret import Secret
from panel.web.fields import FALSE, NumberField, SendingFields, ServerFields, SignInFields, stripped

PROTOCOLS = [SelectChoice("imap", "IMAP"), SelectChoice("pop3", "POP3")]
WHOSE = [
    SelectChoice("microsoft", "Microsoft 365"),
    SelectChoice("google", "Google"),
    SelectChoice("other", "Other"),
]
BEGINS = [
    SelectChoice("now", "New mail only"),
    SelectChoice("unread", "Unread mail"),
    SelectChoice("all", "All mail"),
]
ON_SERVER = [
    SelectChoice("keep", "Leave it on the server"),
    SelectChoice("seen", "Mark it as read"),
    SelectChoice("move", "Move it to a folder"),
    SelectChoice("delete", "Delete it"),
]


class ServerForm(FlaskForm, ServerFields, SignInFields):
    """The server to collect from: what a test needs. Errors are listed in the order of these fields."""

    address = StringField(
        "Email address", filters=[stripped], validators=[InputRequired("Enter the email address.")]
    )
    host = StringField("Mail server", filters=[stripped])
    protocol = SelectField("Protocol", choices=PROTOCOLS, default="imap", validate_choice=False)
    folder = StringField("Folder", default="INBOX", filters=[stripped])
    account = HiddenField()  # its uuid, once it is stored

    def validate_host(self, field: StringField) -> None:
        """It has no default."""
        if not field.data:
            raise ValidationError("Enter the mail server's name.")

    def server(self, settings: Settings) -> MailServer:
        """The server that was entered; an empty port is the usual one. Raises BadInput."""
        where = self.host.data or "", self.port.data, self.security.data
        return rules.server(settings, self.protocol.data, *where, self.user)

    @property
    def user(self) -> str:
        """The username; the address if it was left blank."""
        return self.username.data or self.address.data or ""


class MailboxForm(ServerForm):
    """A mailbox: what is collected, how often, and what happens to it on the server then."""

    interval = NumberField("Check every … seconds", "Enter the seconds as a number.", default=60)
    on_server = RadioField("After collecting", choices=ON_SERVER, default="keep", validate_choice=False)
    move_to = StringField("Folder to move to", filters=[stripped])

    def mailbox(self) -> Mailbox:
        """The settings that were entered; of a POP3 mailbox the only folder. Raises BadInput."""
        values = {name: self[name].data for name in ("address", *rules.MAILBOX_FIELDS)}
        return rules.mailbox(**values | ({"folder": "INBOX"} if self.protocol.data == "pop3" else {}))


class NewForm(MailboxForm):
    """A new mailbox, and optionally how to send through it."""

    provider = RadioField("Provider", choices=WHOSE, default="other", validate_choice=False)
    found_for = HiddenField()  # the address that the settings were found for
    password = PasswordField("Password")  # here, so that it comes after the server where errors are listed
    app_microsoft = SelectField("App", choices=[], validate_choice=False)
    app_google = SelectField("App", choices=[], validate_choice=False)
    begin = RadioField("Start with", choices=BEGINS, default="now", validate_choice=False)
    sends = BooleanField("Send mail through this mailbox too", false_values=FALSE)
    same_password = BooleanField("Use the same password for sending", default=True, false_values=FALSE)
    sending = FormField(SendingFields)

    def validate_address(self, field: StringField) -> None:
        """Settings that were found for another address count only once they are sent a second time."""
        found_for = stripped(self.found_for.data)
        self.found_for.data = ""
        if found_for and found_for.lower() != stripped(field.data).lower():
            raise ValidationError(
                f"The settings below are those of {found_for}. Find settings again, or check them and go on."
            )
        self.found_for.data = found_for

    @property
    def by(self) -> str:
        """How it signs in: password, oauth or outside. Microsoft takes no password."""
        return "oauth" if self.provider.data == "microsoft" else super().by

    @property
    def app_field(self) -> SelectField:
        fields = {"microsoft": self.app_microsoft, "google": self.app_google}
        return fields.get(self.provider.data, self.app)

    def validate_password(self, field: PasswordField) -> None:
        """It has no default."""
        if self.by == "password" and not field.data:
            raise ValidationError("Enter the mailbox's password.")

    def validate_host(self, field: StringField) -> None:
        """The servers of Microsoft and Google are known."""
        if self.provider.data not in rules.KNOWN:
            super().validate_host(field)

    def server(self, settings: Settings) -> MailServer:
        """The server that was entered, or the provider's own. Raises BadInput."""
        known = rules.KNOWN.get(self.provider.data)
        if known is None:
            return super().server(settings)
        return rules.server(settings, self.protocol.data, *known.server(self.protocol.data), self.user)

    def sending_server(self, settings: Settings) -> MailServer | None:
        """The server to send through, if wanted. Raises BadInput."""
        if not self.sends.data:
            return None
        smtp, known = self.sending.form, rules.KNOWN.get(self.provider.data)
        typed: tuple[str, int | None, str] = smtp.host.data or "", smtp.port.data, smtp.security.data
        place = known.server("smtp") if known else typed
        try:
            return rules.server(settings, "smtp", *place, smtp.username.data or self.user)
        except BadInput as error:
            error.field = error.field and f"sending-{error.field}"
            raise

    def sending_login(self, settings: Settings) -> Login | None:
        """The server to send through, if wanted, with the same password or its own. Raises BadInput."""
        where = self.sending_server(settings)
        if where is None:
            return None
        if self.by == "oauth":
            return Login(where, auth.entered(*self.ways) or Oauth(""))
        try:
            password = Secret((self if self.same_password.data else self.sending.form).password.data or "")
            rules.require_password(password)
        except BadInput as error:
            error.field = error.field and f"sending-{error.field}"
            raise
        return Login(where, password)


# What decides whether a test succeeds, without passwords.
TESTED = (
    "address", "provider", "auth", "protocol", "host", "port", "security", "username", "folder",
    "sends", "same_password", "sending-host", "sending-port", "sending-security", "sending-username",
)  # fmt: skip


def settings_digest(submitted: Mapping[str, str]) -> str:
    """Names the submitted settings, for “Save anyway”: it counts for these and no others.

    Nothing of a password is in it, since it stands in the page.
    """
    values = [submitted.get(name, "").strip() for name in TESTED]
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:32]


class EditForm(MailboxForm):
    rev = IntegerField(widget=HiddenInput(), validators=[Optional()])  # of the server as this form shows it
    seen = HiddenField()  # the digest of that server
