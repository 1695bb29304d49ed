"""Flask-Login on our own sessions: the signed cookie carries the token, the database decides."""

from __future__ import annotations

from flask import Flask, Request, request, session
from flask_login import LoginManager, current_user

from panel.activity.service import Actor
from panel.errors import BadInput
from panel.secret import Secret
from panel.sign_in import service, sessions
from panel.sign_in.sessions import Visitor
from panel.web.access import is_fresh

TOKEN = "token"  # noqa: S105 - the name of the cookie's entry


def init_app(app: Flask) -> None:
    """Give every request its `current_user`: a Visitor, or Flask-Login's anonymous one."""
    manager = LoginManager(app)
    manager.session_protection = None  # it would bind sessions to an address that phones change
    manager.request_loader(_load)


def start(token: str) -> None:
    """Make this browser the holder of `token`. What was in its cookie before is dropped (fixation)."""
    session.clear()
    session[TOKEN] = token


def stop() -> None:
    """End the session that this browser holds, in the database and in its cookie."""
    if current_user.is_authenticated:
        service.sign_out(current_user, session[TOKEN], address())
    session.clear()


def require_again(typed: str | None) -> None:
    """In a form that asks for the own password itself: check it. Nothing to do while it is fresh.

    Raises BadInput (field `own_password`) where it is missing or wrong, Throttled after too many.
    """
    if is_fresh():
        return
    if not typed:
        raise BadInput(
            "For this step, type your own password too.",
            "It is asked again after five minutes.",
            field="own_password",
        )
    try:
        service.confirm(current_user, Secret(typed), address())
    except BadInput as error:
        raise BadInput(error.message, error.hint, field="own_password") from None


def actor() -> Actor:
    """Who acts in this request, and from where: for Activity."""
    return Actor(current_user.email, address())


def address() -> str:
    """Where the request comes from, as far as the trusted proxies tell."""
    return request.remote_addr or ""


def agent() -> str:
    """What the browser calls itself."""
    return request.user_agent.string


def _load(_request: Request) -> Visitor | None:
    token = session.get(TOKEN)
    return sessions.find(token) if isinstance(token, str) else None
