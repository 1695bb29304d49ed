"""The shapes of what the doors send."""

from __future__ import annotations

from flask_wtf import FlaskForm
from wtforms import PasswordField, StringField
from wtforms.validators import InputRequired


class LoginForm(FlaskForm):
    """E-mail address and password. Their rules are not checked here: only right or wrong."""

    email = StringField("E-mail address", validators=[InputRequired("Enter your e-mail address.")])
    password = PasswordField("Password", validators=[InputRequired("Enter your password.")])


class ConfirmForm(FlaskForm):
    """The own password once more."""

    password = PasswordField("Your password", validators=[InputRequired("Enter your password.")])
