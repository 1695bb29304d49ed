"""The form of the recipients."""

from __future__ import annotations

from flask_wtf import FlaskForm
from wtforms import SelectField, StringField, TextAreaField
from wtforms.fields.choices import SelectChoice

from panel.web.fields import stripped

ANY = SelectChoice("", "Any that works")


class ChannelsForm(FlaskForm):
    """Mail addresses, the mailbox to send through, and the webhook. Each may be empty."""

    recipients = TextAreaField("Email to")
    through = SelectField("Send through", choices=[ANY], default="", validate_choice=False)
    webhook = StringField("Webhook", filters=[stripped])
