"""Who may see which page: denied unless the blueprint says otherwise.

Each blueprint declares once who reads (GET, HEAD) and who writes. An endpoint
whose blueprint has declared nothing answers nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import wraps
from typing import Any, ParamSpec

from flask import Blueprint, Flask, request
from flask_login import current_user

from panel import db
from panel.errors import NotAllowed, NotFound
from panel.web.form_tokens import refused

ANYBODY = "anybody"
FRESH_SECONDS = 300
PUBLIC = {"static"}

P = ParamSpec("P")


class SignInNeeded(Exception):
    """The page is for who is signed in. Answered by the sign-in page."""


class ReauthNeeded(Exception):
    """The page or step wants the person's own password again. Answered by the page that asks for it."""


def allow(blueprint: Blueprint, *, read: Collection[str], write: Collection[str]) -> None:
    """Declare the roles that may read and write; "anybody" among them needs no sign-in."""
    blueprint.record_once(
        lambda state: state.app.extensions["mailkeep.access"].update({state.name: (set(read), set(write))})
    )


def init_app(app: Flask) -> None:
    """Have every request checked before its view runs. Call it before blueprints are registered."""
    app.extensions["mailkeep.access"] = {}
    app.before_request(lambda: _check(app))


def _check(app: Flask) -> Any:
    if request.endpoint is None or request.endpoint in PUBLIC:
        return None  # an unknown address is answered with 404 by Flask
    rules: dict[str, tuple[set[str], set[str]]] = app.extensions["mailkeep.access"]
    read, write = rules.get(request.blueprint or "", (set(), set()))
    roles = read if request.method in ("GET", "HEAD", "OPTIONS") else write
    if ANYBODY in roles:
        return None
    if not current_user.is_authenticated:
        raise SignInNeeded
    if not roles:
        raise NotFound("There is no such page.", "Go back to the start page.")
    if current_user.role not in roles and current_user.granted_role in roles:
        raise ReauthNeeded
    if current_user.role not in roles:
        raise NotAllowed("This page is for administrators.", "Ask one of them to do it for you.")
    return None


def recently_authenticated() -> bool:
    """Whether the person's own password was typed within the last five minutes; never in the future."""
    return 0 <= db.now() - (current_user.confirmed_at or 0) <= FRESH_SECONDS


def reauth_required(view: Callable[P, Any]) -> Callable[P, Any]:
    """Ask for the person's own password again, on a page of its own, unless `is_fresh`.

    For buttons, and for forms that `panel.web.held` keeps meanwhile; others ask in themselves:
    `panel.sign_in.login.require_again`.
    """

    @wraps(view)
    def checked(*args: P.args, **kwargs: P.kwargs) -> Any:
        if not recently_authenticated() and not refused():
            raise ReauthNeeded
        return view(*args, **kwargs)

    return checked


def here() -> str:
    """Where to come back to: this page, or for what a form sent the page that it stood on."""
    if request.method != "POST":
        return request.full_path.rstrip("?") if request.query_string else request.path
    return request.form.get("came_from") or request.path.rsplit("/", 1)[0] or "/"
