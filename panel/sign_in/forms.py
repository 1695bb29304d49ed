"""The forms of the sign-in pages and the profile."""

from flask_wtf import FlaskForm
from wtforms import PasswordField, SelectField, StringField
from wtforms.fields.choices import SelectChoice
from wtforms.validators import InputRequired

from panel.web.fields import stripped

APPEARANCES = [
    SelectChoice("", "Same as this device"),
    SelectChoice("light", "Light"),
    SelectChoice("dark", "Dark"),
]


class LoginForm(FlaskForm):
    """Email address and password, checked only for being present."""

    email = StringField("Email address", validators=[InputRequired("Enter your email address.")])
    password = PasswordField("Password", validators=[InputRequired("Enter your password.")])


class ConfirmForm(FlaskForm):
    """The person's own password again. The id is none of the page that shows it in a dialog."""

    password = PasswordField(
        "Your password", id="own-password", validators=[InputRequired("Enter your password.")]
    )


class ChosenPasswordForm(FlaskForm):
    password = PasswordField("Password", validators=[InputRequired("Choose a password.")])


class ProfileForm(FlaskForm):
    name = StringField("Your name", validators=[InputRequired("Enter your name.")])
    timezone = StringField("Time zone", filters=[stripped])
    theme = SelectField("Appearance", choices=APPEARANCES, default="")


class OwnPasswordForm(FlaskForm):
    """A new login password, with the current one as proof."""

    old = PasswordField("Current password", validators=[InputRequired("Enter your current password.")])
    password = PasswordField("New password", validators=[InputRequired("Enter a new password.")])
