"""The forms of the sign-in pages and the profile."""

from __future__ import annotations

from flask_wtf import FlaskForm
from wtforms import PasswordField, StringField
from wtforms.validators import EqualTo, InputRequired


class LoginForm(FlaskForm):
    """E-mail address and password, checked only for being present."""

    email = StringField("E-mail address", validators=[InputRequired("Enter your e-mail address.")])
    password = PasswordField("Password", validators=[InputRequired("Enter your password.")])


class ConfirmForm(FlaskForm):
    """The person's own password again."""

    password = PasswordField("Your password", validators=[InputRequired("Enter your password.")])


class NameForm(FlaskForm):
    """The person's own name."""

    name = StringField("Your name", validators=[InputRequired("Enter your name.")])


class OwnPasswordForm(FlaskForm):
    """A new login password, with the current one as proof."""

    old = PasswordField("Current password", validators=[InputRequired("Enter your current password.")])
    password = PasswordField("New password", validators=[InputRequired("Enter a new password.")])
    again = PasswordField(
        "Repeat new password", validators=[EqualTo("password", "The two passwords are not the same.")]
    )
