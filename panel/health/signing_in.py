"""Checks of how mailboxes sign in where that is not with a password stored here."""

from __future__ import annotations

from collections.abc import Iterator

from panel.errors import OutsideSecretError, PanelError
from panel.health.check import Check, Install, Label, Link
from panel.health.sign_ins import NEW_SECRET, SOON, AppFact, SignIns
from panel.models import LISTED, Account, Endpoint
from panel.models.endpoint import REFERENCE
from panel.vault import credential, outside
from panel.wording import counted, few

NAMED = 20  # consents that have ended
NONE_STORED = "No mailbox password is stored here"
ATTENTION = Link("/accounts?state=attention", "Show them")


def sign_ins(install: Install) -> Iterator[Check]:
    """Whether every consent is there, every app works, and every secret kept outside can be read."""
    found = install.sign_ins
    yield from _apps(found.apps)
    yield from _without_consent(found)
    if found.references or install.settings.secrets_dir is not None:
        yield from _outside(install)
    known = Label.OK if found.others else Label.OFF
    yield Check("sign-in", True, f"{_summary(found)}.", passed_as=known)


def _apps(apps: list[AppFact]) -> Iterator[Check]:
    """Each app that is at fault, or whose client secret soon expires."""
    for app in apps:
        name, link, count = f"app {app.name}", Link(app.path, "Open app", app.name), max(app.mailboxes, 1)
        if app.problem:
            yield Check(name, False, app.problem, app.remedy or NEW_SECRET, link, count=count)
        if app.expires_within(SOON):
            yield Check(name, False, app.expiry, NEW_SECRET, link)


def _without_consent(found: SignIns) -> Iterator[Check]:
    """One result for each consent that has ended, one for all that nobody has given yet."""
    ended = [each for each in found.waiting if each.ended]
    new = [each.address for each in found.waiting if not each.ended]
    for each in ended[:NAMED]:
        link = Link(each.path, "Connect mailbox", each.address)
        agent_message = f"{each.address}: an administrator must connect it to its provider again."
        yield Check(f"mailbox {each.address}", False, each.message, each.remedy, link, agent_message)
    if more := len(ended[NAMED:]):
        message = f"{more} more mailboxes: the provider has ended their consent."
        yield Check(
            "mailboxes", False, message, "Connect them again, each on its page.", ATTENTION, count=more
        )
    if new:
        count = len(new) + found.waiting_count - len(found.waiting)
        message = f"{counted(count, 'mailbox')} not connected to a provider yet: {few(new, count)}."
        yield Check("mailboxes", False, message, "Connect each of them on its page.", ATTENTION, count=count)


def _outside(install: Install) -> Iterator[Check]:
    """Whether the directory can be read; with `deep` each secret, by the rules that collecting has."""
    try:
        outside.require_directory(install.settings)
        problems = list(_unreadable(install)) if install.deep and not install.key.state.no_key else []
    except OutsideSecretError as error:
        problems = [Check("outside secrets", False, error.message, error.remedy)]
    yield from problems
    if not problems:
        safe = "The directory of secrets kept outside can be read, and nobody else can change it."
        yield Check(
            "outside secrets", True, "Every secret kept outside can be read." if install.deep else safe
        )


def _unreadable(install: Install) -> Iterator[Check]:
    query = Endpoint.select(Endpoint, Account).join(Account).where(LISTED, Endpoint.kind == REFERENCE)
    for endpoint in query:
        try:
            opened = credential.open_for(endpoint, install.vault)
            outside.read(opened.secret.reveal(), opened.server, install.settings)
        except OutsideSecretError as error:
            yield Check(f"outside secret of {endpoint.address}", False, error.message, error.remedy)
        except PanelError:
            continue  # `passwords` reports that


def _summary(found: SignIns) -> str:
    """How mailboxes sign in, and that no password is stored where that is so."""
    if not found.others:
        return "No mailbox signs in by OAuth2 or with a secret kept outside"
    ways = []
    if found.by_consent:
        ways.append(f"{counted(found.by_consent, 'mailbox')} by OAuth2")
    if found.by_reference:
        ways.append(f"{counted(found.by_reference, 'mailbox')} with a secret kept outside")
    ways = ways or ["mailboxes send by OAuth2 or with a secret kept outside"]
    if not found.passwords:
        return f"{NONE_STORED}: {', '.join(ways)}"
    return f"{counted(found.passwords, 'server')} with a stored password, {', '.join(ways)}"
