"""`flask people`: who may sign in."""

from __future__ import annotations

import click

from panel.models.sign_in import ROLES
from panel.people import service
from panel.people.service import PersonInfo
from panel.secret import Secret
from panel.shell import PanelGroup, json_option, password_option, print_json, say

people = PanelGroup("people", help="The people who may sign in.")


@people.command()
@click.argument("email")
@click.option("--name", required=True, help="Full name.")
@click.option("--role", type=click.Choice(ROLES), required=True)
@password_option()
def add(email: str, name: str, role: str, password: Secret) -> None:
    """Add a person who signs in as EMAIL."""
    person = service.add(email, name, role, password)
    say(f"{person.email} was added as {person.role}.")


@people.command()
@click.argument("email")
@click.argument("role", type=click.Choice(ROLES))
def role(email: str, role: str) -> None:
    """Change the role of EMAIL to ROLE."""
    service.change_role(email, role)
    say(f"{email} now has the role {role}.")


@people.command()
@click.argument("email")
def disable(email: str) -> None:
    """Disable access for EMAIL and end their sessions."""
    service.disable(email)
    say(f"Access for {email} is disabled.")


@people.command()
@click.argument("email")
def enable(email: str) -> None:
    """Enable access for EMAIL again."""
    service.enable(email)
    say(f"Access for {email} is enabled.")


@people.command("set-password")
@click.argument("email")
@password_option()
def set_password(email: str, password: Secret) -> None:
    """Set the login password of EMAIL and end their sessions."""
    service.set_password(email, password)
    say(f"The password of {email} was changed. All their sessions have ended.")


@people.command("list")
@json_option
def list_(json_: bool) -> None:
    """List all people."""
    everybody = service.everybody()
    if json_:
        print_json([_fields(person) for person in everybody])
        return
    for person in everybody:
        disabled = "  (disabled)" if person.disabled_at else ""
        say(f"{person.role:5}  {person.email}  {person.name}{disabled}")


def _fields(person: PersonInfo) -> dict[str, object]:
    return {
        "email": person.email,
        "name": person.name,
        "role": person.role,
        "disabled": person.disabled_at is not None,
        "created_at": person.created_at,
    }
