"""The shapes of what the pages of people send."""

from __future__ import annotations

from flask_wtf import FlaskForm
from wtforms import PasswordField, SelectField, StringField
from wtforms.fields.choices import SelectChoice
from wtforms.validators import EqualTo, InputRequired

ROLES = [
    SelectChoice("admin", "Administrator: everything"),
    SelectChoice("agent", "Agent: sees whether mail comes in and is protected"),
    SelectChoice("user", "User: the own profile"),
]
AGAIN = EqualTo("password", "The two passwords are not the same.")


class RoleForm(FlaskForm):
    """What a person may do."""

    role = SelectField("Role", choices=ROLES, default="agent")


class NewForm(RoleForm):
    """A new person."""

    name = StringField("Name", validators=[InputRequired("Type the name.")])
    email = StringField("E-mail address", validators=[InputRequired("Type the e-mail address.")])
    password = PasswordField("Password", validators=[InputRequired("Type a password.")])
    again = PasswordField("Password again", validators=[AGAIN])


class PasswordForm(FlaskForm):
    """Another login password."""

    password = PasswordField("New password", validators=[InputRequired("Type a password.")])
    again = PasswordField("New password again", validators=[AGAIN])
