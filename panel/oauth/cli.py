"""`flask oauth …`: apps at Microsoft 365, Google or another issuer, and connecting mailboxes through them."""

from __future__ import annotations

import sys
from typing import Any

import click

from panel.audit import Actor
from panel.models.oauth import new_uid
from panel.oauth import app_rules, apps
from panel.oauth.apps import RegisteredApp
from panel.printing import print_json, say
from panel.secret import Secret
from panel.services import current
from panel.shell import PanelGroup, ask, ask_new, json_option, password_option, yes_option
from panel.times import machine
from panel.wording import counted

oauth = PanelGroup("oauth", help="OAuth2 apps, and connecting mailboxes.")
expires_option = click.option(
    "--client-secret-expires",
    "expires",
    default="",
    help="When it expires, as 2027-11-26. Alerts come before.",
)


@oauth.command()
@click.argument("name")
@click.option("--provider", required=True, help="microsoft, google or issuer.")
@click.option("--tenant", default="", help="Microsoft 365: the tenant's ID or domain.")
@click.option("--issuer", default="", help="Address of another issuer; http on loopback only.")
@click.option("--client-id", required=True, help="The app's ID at the provider.")
@password_option(required=False, name="client secret")
@expires_option
@click.option("--scopes", default="", help="Another issuer: scopes to ask for, separated by spaces.")
@click.option(
    "--application",
    "access",
    flag_value="application",
    default="delegated",
    help="The app itself has access, without anybody signing in.",
)
def add(name: str, client_secret: Secret | None, expires: str, provider: str, **options: str) -> None:
    """Add the app NAME, which was registered at its provider."""
    app = app_rules.place(new_uid(), name, provider, in_shell=True, **options)
    apps.add(current().vault, app, client_secret or Secret(""), app_rules.expiry(expires), Actor())
    if app.access == "application":
        say(f"{app.name} was added. Nobody signs in through it, so it needs no redirect address.")
        return
    say(f"{app.name} was added. Register exactly this redirect address:")
    say(apps.redirect_address(current().settings, app.uid))


@oauth.command("list")
@json_option
def list_(json_: bool) -> None:
    """List the apps and what is wrong with them."""
    found = apps.all_apps()
    if json_:
        print_json([as_json(app) for app in found])
    elif not found:
        say("No apps yet.")
    else:
        for app in found:
            count = counted(app.mailboxes, "mailbox")
            expires = f"client secret expires {_day(app.expires_at)}" if app.expires_at else ""
            where = ", ".join(part for part in (app.provider_name, app.where, count, expires) if part)
            say(f"{app.name}: {where}. {app.problem}".rstrip())


@oauth.command()
@click.argument("name")
@json_option
def show(name: str, json_: bool) -> None:
    """Show the app NAME with its redirect address."""
    app = apps.show(current().vault, name)
    found = as_json(app)
    if json_:
        print_json(found)
        return
    for key, value in (found | {"expires_at": app.expires_at and _day(app.expires_at)}).items():
        say(f"{key}: {'' if value is None else value}".rstrip())


def _day(at: int) -> str:
    """As it was entered."""
    return machine(at)[:10]


def as_json(app: RegisteredApp) -> dict[str, Any]:
    """The app, without its client secret."""
    names = (
        "name", "uid", "provider", "tenant", "issuer", "client_id", "scopes", "access", "expires_at",
        "mailboxes", "problem", "remedy",
    )  # fmt: skip
    found = {name: getattr(app, name) for name in names}
    return found | {"redirect": apps.redirect_address(current().settings, app.uid)}


@oauth.command("set-secret")
@click.argument("name")
@password_option(required=False, name="client secret")
@expires_option
def set_secret(name: str, client_secret: Secret | None, expires: str) -> None:
    """Replace the client secret of the app NAME. Without a file it is asked for."""
    vault, expires_at = current().vault, app_rules.expiry(expires)
    app = apps.show(vault, name)
    where = ", ".join(part for part in (app.provider_name, app.where, f"client ID {app.client_id}") if part)
    if client_secret is None:
        apps.require_ours(apps.find(app.uid), vault)
        say(f"{app.name}: {where}")
        if not sys.stdin.isatty():
            raise click.UsageError("Missing option '--client-secret-file'.")
        client_secret = ask_new(f"Client secret of {app.name}")
    apps.set_secret(vault, app.uid, client_secret, expires_at, Actor(), app.seen)
    say(f"The client secret of {app.name} was replaced, for {where}. Nobody needs to sign in again.")


@oauth.command()
@click.argument("name")
@yes_option
def remove(name: str, yes: bool) -> None:
    """Remove the app NAME, unless mailboxes use it. Its registration at the provider stays."""
    app = apps.find(name)
    ask(f"Remove {app.name} with its client secret?", yes)
    apps.remove(app.uid, Actor())
    say(f"{app.name} was removed.")
