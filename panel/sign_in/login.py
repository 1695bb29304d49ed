"""Flask-Login on our own sessions: the signed cookie carries the token, the database decides."""

from __future__ import annotations

from flask import Flask, Request, Response, current_app, g, request, session
from flask.sessions import SecureCookieSessionInterface, SessionMixin
from flask_login import LoginManager, current_user

from panel.audit import Actor
from panel.errors import BadInput
from panel.models.sign_in import Person
from panel.secret import Secret
from panel.sign_in import service, sessions
from panel.sign_in.devices import DeviceCookie
from panel.sign_in.sessions import Visitor
from panel.web import form_tokens
from panel.web.access import recently_authenticated
from panel.web.connection import WITHOUT

TOKEN = "token"  # noqa: S105 - the name of the cookie's entry
DEVICE_SECONDS = 400 * 24 * 3600  # the longest that browsers keep a cookie


class _Sessions(SecureCookieSessionInterface):
    """Flask's own, with a second cookie, and with the care that `save_session` takes."""

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Never write back a token that another request has replaced while this one was at work.

        The browser has got the new one by then, and would be signed out by the old one.
        """
        form_tokens.unbind(session)
        token = session.get(TOKEN)
        replaced = session.modified and token and token == g.get("token") and not sessions.is_current(token)
        if not replaced:
            super().save_session(app, session, response)
        if "device" in g:
            response.set_cookie(
                _device_name(app), g.device, DEVICE_SECONDS, path=self.get_cookie_path(app),
                secure=self.get_cookie_secure(app), httponly=True, samesite="Lax",
            )  # fmt: skip


def init_app(app: Flask) -> None:
    """Give every request its `current_user`: a Visitor, or Flask-Login's anonymous one.

    Call it before CSRFProtect: the form tokens of a session hang on its row, whatever its cookie holds.
    """
    app.session_interface = _Sessions()
    manager = LoginManager(app)
    manager.session_protection = None  # it would bind sessions to an address that phones change
    manager.request_loader(_load)
    app.before_request(_bind_form_token)


def start(token: str) -> None:
    """Make this browser the holder of `token`, and known as one of its person's.

    What was in its cookie before is dropped (fixation).
    """
    session.clear()
    session[TOKEN] = token
    remember_device()


def replace(token: str | None) -> None:
    """Have this browser hold `token` from now on, if another request has not been quicker (None)."""
    if token is not None:
        session[TOKEN] = token


def remember_device() -> None:
    """Have this browser known as one of its person's: at sign-in, and again after a change of password."""
    visitor = sessions.find(session[TOKEN])
    if visitor is None:
        return  # ended by another request meanwhile
    g.device = DeviceCookie(None, _key()).issue(Person.get_by_id(visitor.id))


def device() -> DeviceCookie:
    """What this browser sends to show who signed in with it before."""
    return DeviceCookie(request.cookies.get(_device_name(current_app)), _key())


def stop() -> None:
    """End the session that this browser holds, in the database and in its cookie."""
    if current_user.is_authenticated:
        service.sign_out(current_user, session[TOKEN], address())
    session.clear()


def require_reauth(typed: str | None) -> None:
    """In a form that asks for the own password itself: check it. Nothing to do while it is fresh.

    Raises BadInput (field `own_password`) where it is missing or wrong, Throttled after too many.
    """
    if recently_authenticated():
        return
    if not typed:
        raise BadInput(
            "For this step, type your own password too.",
            "It is asked again after five minutes.",
            field="own_password",
        )
    try:
        replace(service.confirm(current_user, Secret(typed), address()))
    except BadInput as error:
        raise BadInput(error.message, error.remedy, field="own_password") from None


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
    visitor = sessions.find(token) if isinstance(token, str) else None
    if visitor is None:
        return None
    g.token = token
    return _renewed(visitor) if visitor.renewal_due else visitor


def _renewed(visitor: Visitor) -> Visitor | None:
    """The visitor with a new token. Nobody, where a copied cookie is all there is to show."""
    if device().number_for(Person.get_by_id(visitor.id)) is None:
        return None
    replace(sessions.renew(visitor, confirmed=False))
    return sessions.find(session[TOKEN]) or visitor


def _bind_form_token() -> None:
    if request.endpoint not in WITHOUT and current_user.is_authenticated:
        form_tokens.bind(current_user.form_token)


def _device_name(app: Flask) -> str:
    return f"{app.config['SESSION_COOKIE_NAME']}-device"


def _key() -> Secret:
    return Secret(str(current_app.secret_key))
