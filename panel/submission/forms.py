"""The form of the addresses that a helpdesk may send from."""

from flask_wtf import FlaskForm
from wtforms import StringField
from wtforms.validators import Length

LONGEST_ALIASES = 4_000  # characters, all of them


class SubmissionForm(FlaskForm):
    """The aliases, separated by spaces."""

    aliases = StringField("Other sender addresses", [Length(max=LONGEST_ALIASES)])
