"""The shape of the form for sending."""

from __future__ import annotations

from flask_wtf import FlaskForm
from wtforms import HiddenField, IntegerField, PasswordField
from wtforms.validators import Optional
from wtforms.widgets import HiddenInput

from panel.web.fields import SendingFields


class SendingForm(FlaskForm, SendingFields):
    """How to send through an account. Its password is typed here, never taken over from collecting."""

    own_password = PasswordField("Your own password")  # where it was typed more than five minutes ago
    rev = IntegerField(widget=HiddenInput(), validators=[Optional()])  # of the server as this form shows it
    seen = HiddenField()  # the digest of that server
