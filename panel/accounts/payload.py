"""What the record of a mailbox's server holds: the password, the name of a file, or a consent, begun here.

A token opens the mailbox wherever it is sent. So tokens of Microsoft and Google go to their own servers only;
at any other provider a changed server needs a new consent, as it would need the password.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from panel import db
from panel.accounts import auth
from panel.accounts.auth import Login, Oauth, Outside
from panel.audit import Actor
from panel.errors import BadInput, CannotOpen, Conflict, PasswordNeeded, Refused
from panel.mail.server import MailServer
from panel.models import Account, Consent, Endpoint, OauthApp
from panel.models.endpoint import CONSENT
from panel.models.oauth import ConsentPlace, new_uid
from panel.oauth import known_apps
from panel.secret import Secret
from panel.vault import credential
from panel.vault.vault import Vault

OWN_HOSTS = {
    "microsoft": ("outlook.office365.com", "smtp.office365.com", "smtp-mail.outlook.com"),
    "google": ("imap.gmail.com", "pop.gmail.com", "smtp.gmail.com"),
}
APPLICATION = "application"


def of(
    vault: Vault, account: Account, direction: str, login: Login, actor: Actor, begun: Secret | None = None
) -> Secret:
    """What the record of the server holds: the password, the name of a file, or the uid of a consent.

    `begun`: of the consent that was begun for the mailbox's other server in this very transaction.
    Inside `storing()`. Raises BadInput where there is no such app, or it does not serve that server; Refused,
    CannotOpen, CannotStore.
    """
    if isinstance(login.auth, Secret):
        return login.auth
    if isinstance(login.auth, Outside):
        return Secret(login.auth.name)
    app = app_for(login.auth, login.server, vault, actor)
    if begun is not None:
        return begun
    old = _consent_of(account, app, login.auth.signs_in_as, vault)
    if old is not None and _may_keep(old, app, account, direction, login.server, vault):
        return Secret(str(old.uid))
    return Secret(_begin(vault, account, direction, app, login.auth.signs_in_as, actor))


def app_for(entered: Oauth, server: MailServer, vault: Vault, actor: Actor) -> OauthApp:
    """The app, authentic, whose tokens `server` may be shown.

    Raises BadInput (fields `app`, `host`), CannotOpen, Refused. Whoever stole an administrator's session
    could otherwise have tokens sent to a server of their own.
    """
    name = entered.app
    app: OauthApp | None = OauthApp.get_or_none((OauthApp.name == name) | (OauthApp.uid == name))
    if app is None:
        raise Conflict(f"There is no app “{name[:80]}”.", "See the list of apps: flask oauth list", "app")
    known_apps.opened(app, vault)
    _require_host(app, server, actor)
    return app


def drop_unused(account: Account) -> None:
    """Delete the consents of a mailbox of which no server signs in by one."""
    used = Endpoint.select().where(Endpoint.account == account, Endpoint.kind == CONSENT)
    if not used.exists():
        Consent.delete().where(Consent.account == account).execute()


def _require_host(app: OauthApp, server: MailServer, actor: Actor) -> None:
    hosts = OWN_HOSTS.get(str(app.provider))
    if hosts is not None and server.host not in hosts:
        raise BadInput(
            f"Tokens of this provider are sent to its own servers only, not to {server.host}.",
            f"Enter one of {', '.join(hosts)}, or use another app.",
            "host",
        )
    if hosts is None and app.access == APPLICATION and actor.who is not None:
        raise Refused(
            f"The app “{app.name}” opens mailboxes by itself, so their servers are set in the shell only.",
            "Run: flask accounts add, or flask accounts edit",
        )


def _consent_of(account: Account, app: OauthApp, signs_in_as: str, vault: Vault) -> Consent | None:
    """The mailbox's consent through that app by that person, if it is authentic."""
    candidates: Iterable[Consent] = Consent.select().where(Consent.account == account, Consent.app == app.uid)
    of_person = (each for each in candidates if signs_in_as in ("", each.signs_in_as))
    return next((each for each in of_person if _token(each, vault) is not None), None)


def _token(consent: Consent, vault: Vault) -> Secret | None:
    try:
        return credential.open_row(consent, vault)
    except (CannotOpen, PasswordNeeded):
        return None


def _may_keep(
    consent: Consent, app: OauthApp, account: Account, direction: str, server: MailServer, vault: Vault
) -> bool:
    """Whether the consent is good for that server too, without anybody signing in again.

    It is not for another server, though nobody has signed in yet: a record of that time could be put back
    later. Nor is one that the server's record does not name: it may be an earlier one of the mailbox.
    """
    if str(app.provider) in OWN_HOSTS:
        return True
    endpoint = Endpoint.get_or_none(
        Endpoint.account == account, Endpoint.direction == direction, Endpoint.kind == CONSENT
    )
    if endpoint is None or not auth.is_same(endpoint, server):
        return False
    with suppress(CannotOpen, PasswordNeeded):
        return credential.open_for(endpoint, vault).secret.reveal() == str(consent.uid)
    return False


def _begin(
    vault: Vault, account: Account, direction: str, app: OauthApp, signs_in_as: str, actor: Actor
) -> str:
    """Store a consent that waits to be given, in the place of all others of the mailbox; its uid.

    The mailbox's other server, if it signs in by consent, waits for the new one as well. Raises Refused where
    the app's tokens are not for it.
    """
    other = Endpoint.get_or_none(
        Endpoint.account == account, Endpoint.direction != direction, Endpoint.kind == CONSENT
    )
    if other is not None:
        _require_other(app, other, vault, actor)
    place = ConsentPlace(new_uid(), str(app.uid), str(account.uuid), signs_in_as, "")
    connected_at = db.now() if app.access == APPLICATION else None  # there nobody has to sign in
    consent = Consent(created_at=db.now(), connected_at=connected_at)
    consent.secret = Secret("")
    consent.save(place=place)
    Consent.delete().where(Consent.account == account, Consent.uid != place.uid).execute()
    if other is not None:
        other.secret = Secret(place.uid)
        other.save(place=other.place)
    return place.uid


def _require_other(app: OauthApp, other: Endpoint, vault: Vault, actor: Actor) -> None:
    if not credential.is_authentic(other, vault):
        raise PasswordNeeded(
            "The mailbox's other server was changed outside Mailkeep, so nothing was stored.",
            "Remove that server, or enter it again.",
        )
    remedy = "Remove the mailbox's other server, or have it sign in another way; then choose the app here."
    try:
        _require_host(app, other.server, actor)
    except (BadInput, Refused) as error:
        raise Refused(error.message, remedy) from None
    if app.access == APPLICATION and app.provider not in OWN_HOSTS and not _is_by(app, other, vault):
        # Whoever is in the shell is not shown it, and it may have been entered on a page.
        raise Refused(f"{other.host}, the other server, does not sign in through “{app.name}”.", remedy)


def _is_by(app: OauthApp, endpoint: Endpoint, vault: Vault) -> bool:
    """Whether an authentic server signs in by a consent through that app."""
    uid = credential.open_for(endpoint, vault).secret.reveal()
    consent = Consent.get_or_none(Consent.uid == uid, Consent.account == endpoint.account_id)
    return consent is not None and str(consent.app) == str(app.uid) and _token(consent, vault) is not None
