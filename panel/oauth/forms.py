"""The forms of Server > OAuth2 apps. `panel.oauth.app_rules` checks the values."""

from __future__ import annotations

from typing import Any

from flask_wtf import FlaskForm
from wtforms import HiddenField, PasswordField, RadioField, StringField
from wtforms.fields.choices import SelectChoice

from panel.models.oauth import AppPlace
from panel.oauth import app_rules
from panel.secret import Secret
from panel.web.fields import stripped

WHOSE = [SelectChoice(value, label) for value, label in app_rules.PROVIDERS.items()]
ACCESSES = [
    SelectChoice("delegated", "A person signs in for each mailbox"),
    SelectChoice("application", "The app itself has access"),
]

FIELDS = {"microsoft": ("tenant", "access"), "issuer": ("issuer", "scopes", "access")}  # of each provider


class SecretForm(FlaskForm):
    """Another client secret of the same app."""

    client_secret = PasswordField("Client secret")  # never stripped here, never shown again
    seen = HiddenField()  # the app that the form was shown for
    expires = StringField("Client secret expires on", filters=[stripped])

    @property
    def entered(self) -> Secret:
        """The client secret; empty for a public client. Spaces and line breaks come with pasting."""
        return Secret((self.client_secret.data or "").strip())

    @property
    def expires_at(self) -> int | None:
        """When it expires. Raises BadInput."""
        return app_rules.expiry(self.expires.data or "")


class AppForm(SecretForm):
    provider = RadioField("Provider", choices=WHOSE, default="microsoft", validate_choice=False)
    name = StringField("Name", filters=[stripped])
    tenant = StringField("Directory (tenant) ID", filters=[stripped])
    issuer = StringField("Issuer", filters=[stripped])
    client_id = StringField("Client ID", filters=[stripped])
    scopes = StringField("Scopes", filters=[stripped])
    access = RadioField("Access", choices=ACCESSES, default="delegated", validate_choice=False)
    uid = HiddenField()  # of the redirect address that the form shows
    back = HiddenField()  # where to go on

    @property
    def app(self) -> AppPlace:
        """What was entered; fields of other providers do not count. Raises BadInput."""
        provider = self.provider.data or ""
        wanted = FIELDS.get(provider, ())
        values: dict[str, Any] = {name: self[name].data or "" for name in wanted}
        return app_rules.place(
            self.uid.data or "", self.name.data or "", provider, client_id=self.client_id.data or "", **values
        )
