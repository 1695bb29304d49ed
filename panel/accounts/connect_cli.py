"""`flask oauth connect`: a mailbox is connected at its provider, with a browser anywhere."""

from __future__ import annotations

import secrets
import select
import sys
import time
from collections.abc import Mapping

import click

from panel.accounts import connecting
from panel.accounts import service as accounts
from panel.accounts.connecting import Connected
from panel.audit import Actor
from panel.errors import Refused, TokenUnavailable
from panel.oauth import apps, flow_rows, flows
from panel.oauth.flow_rows import Flow, Owner
from panel.printing import say
from panel.services import current
from panel.shell import PanelCommand, ask, yes_option

CHECK_SECONDS = 1.0  # how often it is checked whether an answer came to the panel


@click.command(cls=PanelCommand)
@click.argument("account")
@click.option("--device", is_flag=True, help="Print a code to enter on any device, and wait.")
@yes_option
def connect(account: str, device: bool, yes: bool) -> None:
    """Connect the mailbox ACCOUNT at its provider, whatever state it is in.

    Prints an address to open, then reads from standard input the address that the browser ended at, unless
    the browser comes back to the panel by itself.
    """
    vault, settings, who = current().vault, current().settings, Actor()
    found = accounts.find_account(account)
    owner = Owner(who.name, f"{flow_rows.SHELL}{secrets.token_hex(8)}")
    flow = connecting.begin(vault, settings, found.uuid, owner, device=device)
    if flow is None:
        _say_done(connecting.connect_application(vault, settings, found.uuid, who))
        return
    say(f"The consent will be used at {flow.wish.used_at}, through the app {flow.wish.app_name}.")
    try:
        granted = _by_device(flow, owner) if device else _by_browser(flow, owner)
        name = granted.signed_in_as or "a person whom the provider does not name"
        say(f"Signed in as {name}.")
        if sys.stdin.isatty():
            ask(f"Connect {found.address} so?", yes)
        _say_done(connecting.confirm(vault, found.uuid, granted.uid, owner, who))
    finally:
        flow_rows.end(flow.uid)


def _by_browser(flow: Flow, owner: Owner) -> Flow:
    say("Open this address in a browser:")
    say(flow.url)
    comes_back = apps.comes_back(current().settings)
    if comes_back:
        say("It goes on here once you have signed in. If the browser shows an error instead,")
        say("paste the address that it ended at:")
    else:
        say("Then paste the address that the browser ended at:")
    sys.stdout.flush()
    app, answer = _answer(flow, owner, comes_back=comes_back)
    return flows.redeem(current().vault, current().settings, app, answer, owner)


def _answer(flow: Flow, owner: Owner, *, comes_back: bool) -> tuple[str, Mapping[str, str]]:
    """What a browser has brought to the panel meanwhile, or the address that was typed; and for which app.

    Without a terminal there may be nobody who types: where the browser `comes_back`, that is no end.
    """
    typed = [sys.stdin]
    while True:
        if select.select(typed, [], [], CHECK_SECONDS)[0]:
            line = sys.stdin.readline(flows.LONGEST_ANSWER + 2)
            if line or not comes_back:
                app, answer = flows.parse(line)
                flows.require_of(flow, answer)
                return app, answer
            typed = []
        elif found := flows.handed_over(current().vault, flow.uid, owner):
            return flow.wish.app, found


def _by_device(flow: Flow, owner: Owner) -> Flow:
    say("Open this address on any device and enter the code:")
    say(flow.verification_url)
    say(flow.user_code)
    sys.stdout.flush()
    while flow.stage == flow_rows.DEVICE:
        time.sleep(flow.interval)
        try:
            flow = flows.poll(current().vault, current().settings, flow.uid, owner)
        except TokenUnavailable as error:
            say(str(error), err=True)
    if flow.stage != flow_rows.GRANTED:
        raise Refused("This sign-in is over.", "Run the command again.")
    return flow


def _say_done(done: Connected) -> None:
    how = f" as {done.signed_in_as}" if done.signed_in_as else ""
    say(f"{done.address} is connected{how}.")
