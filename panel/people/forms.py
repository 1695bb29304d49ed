"""The forms of the people pages."""

from __future__ import annotations

from flask_wtf import FlaskForm
from wtforms import PasswordField, SelectField, StringField
from wtforms.fields.choices import SelectChoice
from wtforms.validators import EqualTo, InputRequired

ROLES = [
    SelectChoice("admin", "Administrator: full access"),
    SelectChoice("agent", "Agent: sees whether mail is collected and encryption works"),
    SelectChoice("user", "User: their own profile only"),
]
SAME = EqualTo("password", "The two passwords are not the same.")


class RoleForm(FlaskForm):
    """What a person may do."""

    role = SelectField("Role", choices=ROLES, default="agent")


class PasswordForm(FlaskForm):
    """A new login password."""

    password = PasswordField("New password", validators=[InputRequired("Enter a new password.")])
    again = PasswordField("Repeat new password", validators=[SAME])


class NewForm(RoleForm):
    """A new person."""

    name = StringField("Name", validators=[InputRequired("Enter the name.")])
    email = StringField("E-mail address", validators=[InputRequired("Enter the e-mail address.")])
    password = PasswordField("Password", validators=[InputRequired("Enter a password.")])
    again = PasswordField("Repeat password", validators=[SAME])
