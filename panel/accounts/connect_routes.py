"""Connecting a mailbox in the browser: to the provider, back to `/oauth/callback/<app>`, and who signed in.

The way to the provider is a page of ours with a Refresh header: the content security policy, as browsers
apply it, lets no form lead to another site, not by a redirect either.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Response, current_app, flash, request, url_for
from flask_login import current_user

from panel.accounts import connecting
from panel.accounts.asked import Asked
from panel.errors import NotFound, PanelError, Refused, TokenUnavailable
from panel.oauth import apps, flow_rows, flows
from panel.oauth.flow_rows import Flow, Owner
from panel.services import current
from panel.web.access import ReauthNeeded, SignInNeeded, actor, allow, require_reauth
from panel.web.headers import LOOPBACK
from panel.web.htmx import go, is_htmx, page

blueprint = Blueprint("connect", __name__, url_prefix="/accounts/<uuid>/connect")
callback_blueprint = Blueprint("oauth_callback", __name__, url_prefix="/oauth/callback")
allow(blueprint, read={"admin"}, write={"admin"})
allow(callback_blueprint, read={"admin"}, write=set())
LONGEST_TOAST = 300  # characters; it lies in a cookie


def collecting(uuid: str) -> str:
    """Have the worker collect the mailbox now; the address of its page, which shows what that brings."""
    asked = Asked.now()
    current_app.extensions["mailkeep.jobs"].collect(uuid)
    return url_for("accounts.mailbox", uuid=uuid, collecting=str(asked))


def owner() -> Owner:
    """This person in this browser."""
    return Owner(current_user.email, f"session {current_user.session_id}")


@blueprint.post("")
def connect(uuid: str) -> Any:
    """Begin: in the browser, or `way=device` with a code for another device."""
    require_reauth()
    return begin(uuid, device=request.form.get("way") == "device")


def begin(uuid: str, *, device: bool = False) -> Response:
    """Go on to the page that leads to the provider; to the mailbox where nobody needs to sign in."""
    vault, settings = current().vault, current().settings
    try:
        flow = connecting.begin(vault, settings, uuid, owner(), device=device)
        if flow is None:
            done = connecting.connect_application(vault, settings, uuid, actor())
            flash(f"{done.address} is connected.", "good")
            return go(collecting(done.uuid))
    except NotFound:
        raise
    except PanelError as error:
        return _failed(uuid, error)
    return go(url_for("connect.show", uuid=flow.wish.account, flow=flow.uid))


def _failed(uuid: str, error: PanelError) -> Response:
    """The mailbox's page, which offers to connect it again, with what is wrong."""
    flash(str(error)[:LONGEST_TOAST], "bad")
    return go(url_for("accounts.mailbox", uuid=uuid))


@blueprint.get("/<flow>")
def show(uuid: str, flow: str) -> Any:
    """How far it is: on the way to the provider, waiting for a device, or who signed in."""
    try:
        return _page(uuid, flow_rows.find(current().vault, flow, owner()))
    except Refused as error:
        return _failed(uuid, error)


def _page(uuid: str, flow: Flow, status: int = 200, problem: PanelError | None = None) -> Response:
    if flow.wish.account != uuid:
        raise NotFound("This sign-in is for another mailbox.", "Connect the mailbox again.")
    back = _comes_back()
    answer = page(
        "accounts/connect.html", fragment="accounts/_device.html", status=status, flow=flow, comes_back=back,
        problem=problem,
    )  # fmt: skip
    if flow.stage == flow_rows.BEGUN and back and not problem and not is_htmx():
        answer.headers["Refresh"] = f"0; url={flow.url}"
    return answer


def _comes_back() -> bool:
    """Whether the provider sends this browser back to where its session is, so that nothing is pasted."""
    settings = current().settings
    here, there = urlsplit(f"//{request.host}"), urlsplit(apps.redirect_address(settings, ""))
    if there.hostname == "localhost":
        return here.hostname in LOOPBACK and here.port == there.port
    return here.netloc == there.netloc


@blueprint.post("/<flow>/paste")
def paste(uuid: str, flow: str) -> Any:
    """Take the address that the browser ended at. It holds a code, so no page shows it again."""
    vault, who = current().vault, owner()
    try:
        begun = flow_rows.find(vault, flow, who)
    except Refused as error:
        return _failed(uuid, error)
    try:
        require_reauth()
        app, answer = flows.parse(request.form.get("address", ""))
        flows.require_of(begun, answer)
        redeemed = flows.redeem(vault, current().settings, app, answer, who)
    except PanelError as error:
        return _again(uuid, begun, error)
    return go(url_for("connect.show", uuid=uuid, flow=redeemed.uid))


def _again(uuid: str, begun: Flow, error: PanelError) -> Response:
    """The page with what is wrong; the mailbox's where the flow is over."""
    try:
        flow = flow_rows.find(current().vault, begun.uid, owner())
    except Refused:
        return _failed(uuid, error)
    return _page(uuid, flow, error.status, error)


@blueprint.post("/<flow>/poll")
def poll(uuid: str, flow: str) -> Any:
    """Ask whether the sign-in is done on the other device."""
    try:
        found = flows.poll(current().vault, current().settings, flow, owner())
    except TokenUnavailable:  # it passes: the next time asks again
        return go(url_for("connect.show", uuid=uuid, flow=flow))
    except PanelError as error:
        return _failed(uuid, error)
    if is_htmx() and found.stage == flow_rows.DEVICE:
        return _page(uuid, found)
    return go(url_for("connect.show", uuid=uuid, flow=found.uid))


@blueprint.post("/<flow>/confirm")
def confirm(uuid: str, flow: str) -> Any:
    """Store the consent: the person has seen who signed in."""
    require_reauth()
    try:
        done = connecting.confirm(current().vault, uuid, flow, owner(), actor())
    except PanelError as error:
        return _failed(uuid, error)
    flash(f"{done.address} is connected{f' as {done.signed_in_as}' if done.signed_in_as else ''}.", "good")
    return go(collecting(done.uuid))


@blueprint.post("/<flow>/cancel")
def cancel(uuid: str, flow: str) -> Any:
    try:
        flow_rows.end(flow_rows.find(current().vault, flow, owner()).uid)
    except Refused as error:
        return _failed(uuid, error)
    flash("Not connected. Nothing was stored.", "good")
    return go(url_for("accounts.mailbox", uuid=uuid))


# -- where the provider sends the browser back to ------------------------------------------


@callback_blueprint.get("/<app>")
def callback(app: str) -> Any:
    """Take the provider's answer and leave its address at once: it does not stay in the history."""
    answer, vault, who = request.args.to_dict(), current().vault, owner()
    try:
        begun = flows.of_answer(vault, answer, who)
    except Refused as error:
        if not _in_the_shell(app):
            flash(str(error), "bad")
        return go(url_for("accounts.show"))
    try:
        flow = flows.redeem(vault, current().settings, app, answer, who)
    except PanelError as error:
        return _failed(begun.wish.account, error)
    return go(url_for("connect.show", uuid=flow.wish.account, flow=flow.uid))


def _in_the_shell(app: str) -> bool:
    """Whether a shell waits for this answer, which has it now."""
    found = flows.hand_over(current().vault, app, request.args.to_dict())
    if found:
        flash("The sign-in goes on in the shell that began it.", "good")
    return found


@callback_blueprint.errorhandler(SignInNeeded)
@callback_blueprint.errorhandler(ReauthNeeded)
def elsewhere(_needed: Exception) -> Response:
    """Whoever is not signed in here signs in, without the answer.

    The panel on localhost is also on 127.0.0.1: browsers keep the cookies of both apart, and providers
    redirect to localhost alone.
    """
    host, _, port = request.host.partition(":")
    if _in_the_shell((request.view_args or {}).get("app", "")):
        return go(url_for("sign_in.login", next=url_for("accounts.show")))
    if host == "localhost" and port.isdigit() and "state" in request.args and not request.is_secure:
        return go(f"http://127.0.0.1:{port}{request.script_root}{request.full_path}")
    return go(url_for("sign_in.login", next=url_for("accounts.show")))
