"""The forms of recipients and thresholds."""

from flask_wtf import FlaskForm
from wtforms import IntegerField, SelectField, StringField, TextAreaField
from wtforms.fields.choices import SelectChoice
from wtforms.validators import InputRequired

from panel.web.fields import stripped

ANY = SelectChoice("", "Any that works")
NUMBER = "Enter a whole number."


class ChannelsForm(FlaskForm):
    """Mail addresses, the mailbox to send through, and the webhook. Each may be empty."""

    recipients = TextAreaField("Email to")
    through = SelectField("Send through", choices=[ANY], default="", validate_choice=False)
    webhook = StringField("Webhook", filters=[stripped])


class ThresholdsForm(FlaskForm):
    """From when on a problem is an alert. The rule itself is `thresholds.Thresholds.check`."""

    failing_minutes = IntegerField("Mailbox failing (minutes)", [InputRequired(NUMBER)])
    unverified_days = IntegerField("Backup not verified (days)", [InputRequired(NUMBER)])
    disk_percent = IntegerField("Free disk space (percent)", [InputRequired(NUMBER)])
    waiting_minutes = IntegerField("Mail waiting to go out (minutes)", [InputRequired(NUMBER)])
