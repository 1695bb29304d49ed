"""The form of the server for sending."""

from flask_wtf import FlaskForm
from wtforms import HiddenField, IntegerField
from wtforms.validators import Optional
from wtforms.widgets import HiddenInput

from panel.web.fields import SendingFields, SignInFields


class SendingForm(FlaskForm, SendingFields, SignInFields):
    """The server for sending. Its password is always typed, never taken over from collecting."""

    rev = IntegerField(widget=HiddenInput(), validators=[Optional()])  # of the row that the form shows
    seen = HiddenField()  # the digest of the server that the form shows
