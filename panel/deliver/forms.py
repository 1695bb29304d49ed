"""The form of a mailbox's target."""

from flask_wtf import FlaskForm
from wtforms import SelectField


class TargetForm(FlaskForm):
    """Which target; the rule is `mailboxes.choose`."""

    deliver_to = SelectField("Deliver to", validate_choice=False)
