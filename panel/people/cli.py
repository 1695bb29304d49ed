"""`flask people`: who may sign in."""

from __future__ import annotations

import click

from panel.models.sign_in import ROLES
from panel.people import invitations, service
from panel.people.service import PersonInfo
from panel.printing import print_json, say
from panel.secret import Secret
from panel.services import current
from panel.shell import PanelGroup, ask, json_option, password_option, yes_option

people = PanelGroup("people", help="The people who may sign in.")


@people.command()
@click.argument("email")
@click.option("--name", required=True, help="Full name.")
@click.option("--role", type=click.Choice(ROLES), required=True)
@password_option(required=False)
def add(email: str, name: str, role: str, password: Secret | None) -> None:
    """Add a person who signs in as EMAIL.

    Without --password-file, print an invitation link, with which they choose their own password.
    """
    person = service.add(email, name, role, password)
    say(f"{person.email} was added as {person.role}.")
    if password is None:
        _say_link(person)


@people.command()
@click.argument("email")
def invite(email: str) -> None:
    """Print a new invitation link for EMAIL; earlier ones end.

    With it, they choose a new password, once, within a day.
    """
    _say_link(service.get_by_email(email))


def _say_link(person: PersonInfo) -> None:
    path = invitations.create(person.id)
    say("With this link they choose a password, once, within a day:")
    say(current().settings.address + path)


@people.command()
@click.argument("email")
@yes_option
def delete(email: str, yes: bool) -> None:
    """Delete EMAIL and end their sessions. What they did stays in Activity."""
    person = service.get_by_email(email)
    ask(f"Delete {person.email} ({person.name}, {person.role})?", yes)
    service.delete(person.email)
    say(f"{person.email} was deleted.")


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
        state = "  (disabled)" if person.disabled_at else "" if person.has_password else "  (invited)"
        say(f"{person.role:5}  {person.email}  {person.name}{state}")


def _fields(person: PersonInfo) -> dict[str, object]:
    return {
        "email": person.email,
        "name": person.name,
        "role": person.role,
        "disabled": person.disabled_at is not None,
        "invited": not person.has_password,
        "created_at": person.created_at,
        "last_sign_in_at": person.last_sign_in_at,
    }
