"""`flask people`: who may sign in."""

from __future__ import annotations

import click

from panel.models.sign_in import ROLES
from panel.people import service
from panel.secret import Secret
from panel.shell import PanelGroup, json_option, password_option, print_json, say

people = PanelGroup("people", help="The people who may sign in.")


@people.command()
@click.argument("email")
@click.option("--name", required=True, help="What the person is called.")
@click.option("--role", type=click.Choice(ROLES), required=True, help="What the person may do.")
@password_option()
def add(email: str, name: str, role: str, password: Secret) -> None:
    """Add a person with the address EMAIL."""
    someone = service.add(email, name, role, password)
    say(f"Added {someone.email} as {someone.role}.")


@people.command()
@click.argument("email")
@click.argument("role", type=click.Choice(ROLES))
def role(email: str, role: str) -> None:
    """Give the person EMAIL another ROLE."""
    service.change_role(email, role)
    say(f"{email} is {'a' if role == 'user' else 'an'} {role} now.")


@people.command()
@click.argument("email")
def disable(email: str) -> None:
    """Keep the person EMAIL out, at once."""
    service.disable(email)
    say(f"{email} is kept out from now on.")


@people.command()
@click.argument("email")
def enable(email: str) -> None:
    """Let the person EMAIL in again."""
    service.enable(email)
    say(f"{email} may sign in again.")


@people.command("set-password")
@click.argument("email")
@password_option()
def set_password(email: str, password: Secret) -> None:
    """Give the person EMAIL another login password; all the sessions end."""
    service.set_password(email, password)
    say(f"The new password of {email} holds from now on; all the sessions have ended.")


@people.command("list")
@json_option
def list_(json_: bool) -> None:
    """List all people."""
    everybody = service.everybody()
    if json_:
        print_json([_fields(someone) for someone in everybody])
        return
    for someone in everybody:
        disabled = "  (disabled)" if someone.disabled_at else ""
        say(f"{someone.role:5}  {someone.email}  {someone.name}{disabled}")


def _fields(someone: service.Someone) -> dict[str, object]:
    return {
        "email": someone.email,
        "name": someone.name,
        "role": someone.role,
        "disabled": someone.disabled_at is not None,
        "created_at": someone.created_at,
    }
