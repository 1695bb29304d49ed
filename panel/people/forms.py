"""The forms of the people pages."""

from flask_wtf import FlaskForm
from wtforms import HiddenField, PasswordField, SelectField, StringField
from wtforms.fields.choices import SelectChoice
from wtforms.validators import InputRequired

ROLES = [
    SelectChoice("admin", "Administrator: full access"),
    SelectChoice("agent", "Agent: sees whether mail is collected and encryption works"),
    SelectChoice("user", "User: their own profile only"),
]


class PersonForm(FlaskForm):
    """Name, address and role. `panel.people.service` checks the values."""

    name = StringField("Name", validators=[InputRequired("Enter the name.")])
    email = StringField("Email address", validators=[InputRequired("Enter the email address.")])
    role = SelectField("Role", choices=ROLES, default="agent")


class EditForm(PersonForm):
    seen = HiddenField()  # the digest of what the form showed


class NewForm(PersonForm):
    password = PasswordField("Password")  # empty: an invitation link instead


class PasswordForm(FlaskForm):
    password = PasswordField("New password", validators=[InputRequired("Enter a new password.")])
