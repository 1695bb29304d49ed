"""The form for the first administrator."""

from flask_wtf import FlaskForm
from wtforms import PasswordField, StringField
from wtforms.validators import InputRequired


class AdminForm(FlaskForm):
    """Name, address and password. `panel.people` checks the values."""

    name = StringField("Your name", validators=[InputRequired("Enter your name.")])
    email = StringField("Email address", validators=[InputRequired("Enter your email address.")])
    password = PasswordField("Password", validators=[InputRequired("Choose a password.")])
