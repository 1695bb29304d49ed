"""The shape of the form that says whom to tell."""

from __future__ import annotations

from flask_wtf import FlaskForm
from wtforms import PasswordField, SelectField, StringField, TextAreaField
from wtforms.fields.choices import SelectChoice

from panel.web.fields import stripped

ANY = SelectChoice("", "Any that works")


class ChannelsForm(FlaskForm):
    """Mail addresses, the account to send through, and the webhook. Each may be empty."""

    recipients = TextAreaField("Mail to")
    through = SelectField("Send through", choices=[ANY], default="", validate_choice=False)
    webhook = StringField("Webhook", filters=[stripped])
    own_password = PasswordField("Your own password")  # where it was typed more than five minutes ago
