"""Apps: what an administrator has registered at Microsoft, Google or another issuer.

Nothing is done with an app before its record has opened, so that no client secret reaches an issuer that SQL
has put there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from peewee import fn

from panel import db
from panel.audit import Actor
from panel.config import Settings
from panel.errors import BadInput, CannotOpen, Conflict, EditedMeanwhile, NotFound, PasswordNeeded, Refused
from panel.models import Account
from panel.models.oauth import AppPlace, Consent, OauthApp
from panel.oauth import app_rules, known_apps
from panel.oauth.app_rules import PROVIDERS
from panel.secret import Secret
from panel.vault.vault import Vault
from panel.wording import few

DAY = 86_400
SOON = 30 * DAY  # before a client secret expires


@dataclass(frozen=True)
class RegisteredApp:
    """One app as list, page and commands show it: no secret."""

    uid: str
    name: str
    provider: str
    tenant: str
    issuer: str
    client_id: str
    scopes: str
    access: str
    expires_at: int | None  # its client secret
    created_at: int
    mailboxes: int
    problem: str  # empty where there is none
    remedy: str
    problem_at: int | None
    seen: str  # names what is shown

    @property
    def provider_name(self) -> str:
        return PROVIDERS.get(self.provider, self.provider)

    @property
    def where(self) -> str:
        """The tenant or issuer; empty for Google."""
        return self.tenant or self.issuer

    @property
    def state(self) -> str:
        """`bad`: mailboxes cannot sign in; `warn`: they soon cannot; `good`."""
        if self.problem or (self.expires_at is not None and self.expires_at < db.now()):
            return "bad"
        return "warn" if self.expires_at is not None and self.expires_at < db.now() + SOON else "good"


def add(vault: Vault, app: AppPlace, secret: Secret, expires_at: int | None, actor: Actor) -> str:
    """Store a checked app; its uid. Raises BadInput, CannotStore; nothing is stored then."""
    app_rules.require_secret(app, secret)
    with OauthApp.storing():
        others = choices()
        if any(other.uid == app.uid for other in others):
            raise BadInput("This app was added already.", "Open it in the list.")
        if any(other.name.casefold() == app.name.casefold() for other in others):
            raise Conflict(f"An app is called “{app.name}” already.", "Choose another name.", "name")
        row = OauthApp(created_at=db.now(), secret_expires_at=expires_at)
        row.secret = secret
        row.save(place=app)
        if not known_apps.note(vault.keystore.data_dir, app):
            raise BadInput("Another app had this redirect address before.", "Reload the page.")
        actor.record("OAuth2 app added", app.name)
    return app.uid


def set_secret(
    vault: Vault, uid: str, secret: Secret, expires_at: int | None, actor: Actor, seen: str
) -> None:
    """Replace the client secret in place: no mailbox needs to be connected again. `seen`: of the app that a
    person was shown.

    Raises BadInput, NotFound, CannotStore, and CannotOpen where the stored app may have been changed.
    """
    with OauthApp.storing():
        row = find(uid)
        require_ours(row, vault)
        if row.place.digest != seen:
            raise EditedMeanwhile(
                "The app is not the one that was shown, so nothing was stored.",
                "Check its issuer and client ID, then enter the client secret again.",
            )
        app_rules.require_secret(row.place, secret)
        row.secret, row.secret_expires_at = secret, expires_at
        row.problem = row.problem_remedy = row.problem_at = None
        row.save(place=row.place)
        actor.record("OAuth client secret changed", row.name)


def remove(uid: str, actor: Actor) -> None:
    """Delete an app with its client secret. Raises Refused while mailboxes use it, naming them."""
    with db.transaction():
        row = find(uid)
        used = mailboxes(row.uid)
        if used:
            raise Refused(
                f"{len(used)} {'mailbox signs' if len(used) == 1 else 'mailboxes sign'} in through "
                f"“{row.name}”: {few(used)}.",
                "Remove them first, or let them sign in another way. Removed ones count for ten minutes.",
            )
        OauthApp.delete().where(OauthApp.id == row.id).execute()
        actor.record("OAuth2 app removed", row.name)


def find(name: str) -> OauthApp:
    """The app with that uid or name. Raises NotFound."""
    found: OauthApp | None = OauthApp.get_or_none((OauthApp.uid == name) | (OauthApp.name == name))
    if found is None:
        raise NotFound(
            f"OAuth2 app “{name[:80]}” does not exist.",
            "See the list of apps (in the shell: flask oauth list).",
        )
    return found


def works(uid: str) -> None:
    """The provider gave it tokens: whatever it was at fault for is over, in every process."""
    OauthApp.update(problem=None, problem_remedy=None, problem_at=None).where(
        OauthApp.uid == uid, OauthApp.problem.is_null(False)
    ).execute()


def require_ours(row: OauthApp, vault: Vault) -> None:
    """As `known_apps.opened`; after a lost key, whose record is gone, the file of known apps says so."""
    try:
        known_apps.opened(row, vault)
    except PasswordNeeded:
        if not known_apps.is_known(vault.keystore.data_dir, row.place):
            raise


def mailboxes(uid: str) -> list[str]:
    """The addresses of the mailboxes that sign in through the app, removed ones that can be restored too."""
    query = Account.select(Account.address).join(Consent, on=(Consent.account == Account.uuid))
    return sorted({str(row.address) for row in query.where(Consent.app == uid)})


def all_apps() -> list[RegisteredApp]:
    """Every app, by name. None is opened: what is wrong with one is what the last opening found."""
    number = fn.COUNT(Consent.account.distinct()).alias("number")
    counted: Any = Consent.select(Consent.app, number).group_by(Consent.app).namedtuples()
    count = {str(row.app): int(row.number) for row in counted}
    rows = OauthApp.select().order_by(fn.LOWER(OauthApp.name))
    return [_shown(row, count.get(row.uid, 0), _noted(row)) for row in rows]


def show(vault: Vault, name: str) -> RegisteredApp:
    """One of them, by uid or name, with what opening it finds now. Raises NotFound."""
    row = find(name)
    try:
        known_apps.opened(row, vault)
    except (CannotOpen, PasswordNeeded) as error:
        known = isinstance(error, PasswordNeeded) and known_apps.is_known(vault.keystore.data_dir, row.place)
        remedy = "Enter it again." if known else error.remedy
        return _shown(row, len(mailboxes(row.uid)), (error.message, remedy))
    return _shown(row, len(mailboxes(row.uid)), ("", ""))


@dataclass(frozen=True)
class Choice:
    """An app in a form, as the database has it."""

    uid: str
    name: str
    provider: str
    access: str


def choices() -> list[Choice]:
    """Every app, by name: for a form to choose from."""
    columns = OauthApp.uid, OauthApp.name, OauthApp.provider, OauthApp.access
    rows = OauthApp.select(*columns).order_by(fn.LOWER(OauthApp.name))
    return [Choice(str(row.uid), str(row.name), str(row.provider), str(row.access)) for row in rows]


def by_provider() -> dict[str, list[Choice]]:
    """The same for each provider."""
    found = choices()
    return {name: [app for app in found if app.provider == name] for name in PROVIDERS}


def _noted(row: OauthApp) -> tuple[str, str]:
    failed = row.failed_rev is not None and row.failed_rev == row.rev
    return (str(row.failure), "Open it to see what to do.") if failed else ("", "")


def _shown(row: OauthApp, count: int, fault: tuple[str, str]) -> RegisteredApp:
    bound = {name: getattr(row, name) for name in OauthApp.BOUND if name != "kind"}
    problem, remedy = fault if fault[0] else (row.problem or "", row.problem_remedy or "")
    return RegisteredApp(
        **bound, expires_at=row.secret_expires_at, created_at=row.created_at, mailboxes=count,
        problem=problem, remedy=remedy, problem_at=row.problem_at, seen=row.place.digest,
    )  # fmt: skip


# -- where the browser comes back to ---------------------------------------------------------


def redirect_address(settings: Settings, uid: str) -> str:
    """What is registered at the provider: one for each app, so that no issuer gets another's code (mix-up).

    Providers take https, or http on localhost: there the browser ends at an address that is pasted back,
    unless it runs on this server.
    """
    url = settings.url or ""
    if not comes_back(settings):
        url = f"http://localhost:{settings.bind_port}"
    return f"{url}/oauth/callback/{uid}"


def comes_back(settings: Settings) -> bool:
    """Whether PANEL_URL is an address that providers redirect to."""
    parts = urlsplit(settings.url or "")
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname == "localhost")
