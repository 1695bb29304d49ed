"""Who may see which page: nobody, unless the page's blueprint allows a role.

Each blueprint declares once which roles read (GET, HEAD) and which write.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import wraps
from typing import Any, ParamSpec

from flask import Blueprint, Flask, current_app, request
from flask_login import current_user

from panel import db
from panel.audit import Actor
from panel.errors import NotAllowed, NotFound
from panel.web.form_tokens import refused

ANYBODY = "anybody"
REAUTH_SECONDS = 300
PUBLIC = {"static"}
LONGEST_PATH = 2000

P = ParamSpec("P")


class SignInNeeded(Exception):
    """The page needs a signed-in person. Answered by the sign-in page."""


class ReauthNeeded(Exception):
    """The step needs the person's own password again. Answered by the page that asks for it."""


def allow(blueprint: Blueprint, *, read: Collection[str], write: Collection[str]) -> None:
    """Declare the roles that may read and write; with ANYBODY no sign-in is needed."""
    blueprint.record_once(
        lambda state: state.app.extensions["mailkeep.access"].update({state.name: (set(read), set(write))})
    )


def init_app(app: Flask) -> None:
    """Check every request before its view runs. Call it before blueprints are registered."""
    app.extensions["mailkeep.access"] = {}
    app.before_request(lambda: _check(app))


def _check(app: Flask) -> Any:
    if request.endpoint is None or request.endpoint in PUBLIC:
        return None  # Flask answers an unknown address with 404
    rules: dict[str, tuple[set[str], set[str]]] = app.extensions["mailkeep.access"]
    read, write = rules.get(request.blueprint or "", (set(), set()))
    roles = read if request.method in ("GET", "HEAD", "OPTIONS") else write
    if ANYBODY in roles:
        return None
    if not current_user.is_authenticated:
        raise SignInNeeded
    if not roles:
        raise NotFound("This page does not exist.", "Check the address.")
    if current_user.role not in roles and current_user.granted_role in roles:
        raise ReauthNeeded
    if current_user.role not in roles:
        raise NotAllowed("This page is for administrators.", "Ask one of them to do it for you.")
    return None


def recently_authenticated() -> bool:
    """Whether the person entered their password within the last five minutes. A time in the future is not."""
    return 0 <= db.now() - (current_user.confirmed_at or 0) <= REAUTH_SECONDS


def require_reauth() -> None:
    """Ask for the person's own password first, unless `recently_authenticated`. Call it before any change.

    This very request is carried out once the password has been entered (`panel.web.replay`).
    """
    if not recently_authenticated() and not refused():
        raise ReauthNeeded


def reauth_required(view: Callable[P, Any]) -> Callable[P, Any]:
    """The same for the whole of `view`. One with a form calls `require_reauth` once its input is valid."""

    @wraps(view)
    def checked(*args: P.args, **kwargs: P.kwargs) -> Any:
        require_reauth()
        return view(*args, **kwargs)

    return checked


def actor() -> Actor:
    """Who makes this request, and from which address: for Activity."""
    return Actor(current_user.email, request.remote_addr or "")


def here() -> str:
    """Where to come back to: this page, or for a submitted form the page that it was on."""
    if request.method != "POST":
        return request.full_path.rstrip("?") if request.query_string else request.path
    return request.form.get("came_from") or page_above(request.path)


def page_above(path: str) -> str:
    """The page that a button sent to `path` stands on: the nearest address above it that can be read."""
    routes = current_app.create_url_adapter(request)
    while path.strip("/") and routes is not None:
        path = path.rsplit("/", 1)[0] or "/"
        if routes.test(path, "GET"):
            return path
    return "/"


def safe_redirect(path: str | None) -> str | None:
    """`path`, if every browser takes it for a page of this site; None otherwise.

    Browsers read '//host' and '/\\host' as another site, and drop tabs and line
    breaks first (WHATWG URL, 4.4).
    """
    if not path or len(path) > LONGEST_PATH or not path.startswith("/") or path.startswith("//"):
        return None
    if "\\" in path or not path.isprintable():
        return None
    return path
