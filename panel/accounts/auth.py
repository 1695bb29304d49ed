"""How a mailbox signs in, as it is entered: with its password, by OAuth2, or with a secret kept outside."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

from panel.accounts import rules
from panel.errors import BadInput, CannotOpen, PasswordNeeded, Refused
from panel.mail.server import MailServer
from panel.models import Consent, Endpoint
from panel.models.endpoint import CONSENT, PASSWORD, REFERENCE
from panel.secret import Secret
from panel.vault import credential, outside
from panel.vault.state import State
from panel.vault.vault import Vault

OPTIONS = {"password": "--password-file F", "oauth": "--app NAME", "outside": "--secret-name NAME"}
COLUMNS = {"password": "password", "oauth": "app", "outside": "secret_name"}  # of an import


@dataclass(frozen=True)
class Oauth:
    """By OAuth2, through the app of that name or uid. `signs_in_as`: empty for the mailbox itself."""

    app: str
    signs_in_as: str = ""


@dataclass(frozen=True)
class Outside:
    """With the secret in the file `name` of PANEL_SECRETS_DIR."""

    name: str


Auth = Secret | Oauth | Outside  # a Secret is the password itself


@dataclass(frozen=True)
class Login:
    """A server as it was entered, and how to sign in there."""

    server: MailServer
    auth: Auth


def chosen(
    password: Secret | None = None,
    auth: str | None = None,
    app: str | None = None,
    signs_in_as: str | None = None,
    secret_name: str | None = None,
    *,
    imported: bool = False,
) -> Auth | None:
    """How to sign in, as a command or a line that is `imported` names it; None where it does not.

    Raises BadInput.
    """
    ways = {"password": password, "oauth": app, "outside": secret_name}
    named = [name for name, value in ways.items() if value is not None]
    if signs_in_as is not None and not named:
        needs = "“sign_in_as” needs “app”." if imported else "--sign-in-as needs --app NAME."
        raise BadInput(needs, "Add it.", "signs_in_as")
    if len(named) > 1 or (signs_in_as is not None and named != ["oauth"]):
        raise BadInput(
            "More than one way to sign in is named.", "Name a password, an app, or a secret's name.", "auth"
        )
    if auth is not None and named != [auth]:
        if auth not in OPTIONS:
            raise BadInput(
                f"“{auth[:20]}” is no way to sign in.", "Choose password, oauth or outside.", "auth"
            )
        if imported:
            raise BadInput(f"“auth” {auth} needs “{COLUMNS[auth]}”.", "Add it.", "auth")
        raise BadInput(f"--auth {auth} needs {OPTIONS[auth]}.", "Add it.", "auth")
    if app is not None:
        return Oauth(app, signs_in_as or "")
    return Outside(secret_name) if secret_name is not None else password


def entered(
    by: str, app: str, signs_in_as: str, secret_name: str, password: Secret | None = None
) -> Auth | None:
    """How to sign in, as a form says it: by oauth, outside or password; None for no password."""
    if by == "oauth":
        return Oauth(app, signs_in_as)
    return Outside(secret_name) if by == "outside" else password


def as_typed(endpoint: Endpoint, vault: Vault) -> dict[str, str]:
    """How the mailbox signs in at that server, for a form; what is not authentic is left to be chosen."""
    if endpoint.kind == PASSWORD:
        return {"auth": "password"}
    by, now = "oauth" if endpoint.kind == CONSENT else "outside", vault.latest()
    with suppress(CannotOpen, PasswordNeeded):
        held = credential.shown(endpoint, now).reveal()
        if by == "outside":
            return {"auth": by, "secret_name": held}
        consent = Consent.get_or_none(Consent.uid == held, Consent.account == endpoint.account_id)
        if consent is not None:
            credential.shown(consent, now)
            return {"auth": by, "app": str(consent.app), "signs_in_as": str(consent.signs_in_as)}
    return {"auth": by}


def require_encryption(auth: Auth | None, vault: Vault) -> None:
    """Raise Refused where encryption is off and that way to sign in needs it."""
    if isinstance(auth, Oauth | Outside) and vault.latest().state is State.OFF:
        raise Refused(
            "What this mailbox signs in with is stored encrypted only, and encryption is off.",
            "Turn on encryption first, under Server, Encryption.",
        )


def require_password_for(endpoint: Endpoint | None, auth: Auth | None) -> None:
    """Raise PasswordNeeded where a form says 'password', has none, and none is stored either."""
    if auth is None and endpoint is not None and endpoint.kind != PASSWORD:
        raise PasswordNeeded("No password is stored for this server.", "Enter it.")


def require_valid(auth: Auth) -> None:
    """Raise BadInput, naming the field, for what cannot sign in anywhere."""
    if isinstance(auth, Secret):
        rules.require_password(auth)
    elif isinstance(auth, Outside):
        outside.require_name(auth.name)
    else:
        rules.require_text(auth.app, "app", "The name of the app", rules.LONGEST_APP)
        if auth.signs_in_as:
            rules.require_text(auth.signs_in_as, "signs_in_as", "Signs in as", rules.LONGEST_USERNAME)


def kind(auth: Auth) -> str:
    """Which kind of secret stands in the record of the server."""
    return PASSWORD if isinstance(auth, Secret) else REFERENCE if isinstance(auth, Outside) else CONSENT


def method(secret_kind: str) -> str:
    """The sign-in method that goes with that kind."""
    return "oauth" if secret_kind == CONSENT else "plain"


def is_same(endpoint: Endpoint, server: MailServer) -> bool:
    """Whether `server` is exactly the stored one, however one signs in there."""
    stored = endpoint.server
    return stored == replace(server, auth_method=stored.auth_method, token_url=stored.token_url)
