"""The forms of the mailbox pages. `panel.accounts.rules` checks the values."""

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

from panel.accounts import rules
from panel.accounts.rules import Mailbox
from panel.config import Settings
from panel.errors import BadInput
from panel.mail.server import MailServer
from panel.secret import Secret
from panel.vault.credential import Credential
from panel.web.fields import FALSE, NumberField, SendingFields, ServerFields, stripped

PROTOCOLS = [SelectChoice("imap", "IMAP"), SelectChoice("pop3", "POP3")]
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


class ServerForm(FlaskForm, ServerFields):
    """The server to collect from: what a test needs. Errors are listed in the order of these fields."""

    address = StringField(
        "E-mail address", filters=[stripped], validators=[InputRequired("Enter the e-mail address.")]
    )
    host = StringField(
        "Mail server", filters=[stripped], validators=[InputRequired("Enter the mail server's name.")]
    )
    protocol = SelectField("Protocol", choices=PROTOCOLS, default="imap", validate_choice=False)
    folder = StringField("Folder", default="INBOX", filters=[stripped])
    account = HiddenField()  # its uuid, once it is stored

    def server(self, settings: Settings) -> MailServer:
        """The server that was entered. Raises BadInput."""
        return rules.server(
            settings, self.protocol.data, self.host.data or "", self.port.data, self.security.data, self.user
        )

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
        """The settings that were entered. Raises BadInput."""
        return rules.mailbox(**{name: self[name].data for name in ("address", *rules.MAILBOX_FIELDS)})


class NewForm(MailboxForm):
    """A new mailbox, and optionally how to send through it."""

    password = PasswordField("Password", validators=[InputRequired("Enter the mailbox's password.")])
    begin = RadioField("Start with", choices=BEGINS, default="now", validate_choice=False)
    sends = BooleanField("Send mail through this mailbox too", false_values=FALSE)
    same_password = BooleanField("Use the same password for sending", default=True, false_values=FALSE)
    sending = FormField(SendingFields)

    def sending_credential(self, settings: Settings) -> Credential | None:
        """The server to send through, if wanted, with the same password or its own. Raises BadInput."""
        if not self.sends.data:
            return None
        smtp = self.sending.form
        user = smtp.username.data or self.user
        try:
            where = rules.server(settings, "smtp", smtp.host.data, smtp.port.data, smtp.security.data, user)
            password = Secret((self if self.same_password.data else smtp).password.data or "")
            rules.require_password(password)
        except BadInput as error:
            error.field = error.field and f"sending-{error.field}"
            raise
        return Credential(where, password)


class EditForm(MailboxForm):
    """A stored mailbox."""

    rev = IntegerField(widget=HiddenInput(), validators=[Optional()])  # of the server as this form shows it
    seen = HiddenField()  # the digest of that server
