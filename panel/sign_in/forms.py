"""The shapes of what the doors send."""

from __future__ import annotations

from flask_wtf import FlaskForm
from wtforms import PasswordField, StringField
from wtforms.validators import EqualTo, InputRequired


class LoginForm(FlaskForm):
    """E-mail address and password. Their rules are not checked here: only right or wrong."""

    email = StringField("E-mail address", validators=[InputRequired("Enter your e-mail address.")])
    password = PasswordField("Password", validators=[InputRequired("Enter your password.")])


class ConfirmForm(FlaskForm):
    """The own password once more."""

    password = PasswordField("Your password", validators=[InputRequired("Enter your password.")])


class NameForm(FlaskForm):
    """The own name."""

    name = StringField("Your name", validators=[InputRequired("Type your name.")])


class OwnPasswordForm(FlaskForm):
    """Another login password; the old one proves who asks."""

    old = PasswordField("Your password until now", validators=[InputRequired("Type the password until now.")])
    password = PasswordField("New password", validators=[InputRequired("Type a new password.")])
    again = PasswordField(
        "New password again", validators=[EqualTo("password", "The two passwords are not the same.")]
    )
