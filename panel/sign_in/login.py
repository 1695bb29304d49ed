"""Flask-Login on our own sessions: the signed cookie carries a token, the database decides."""

from __future__ import annotations

from flask import Flask, Request, Response, current_app, g, request, session
from flask.sessions import SecureCookieSessionInterface, SessionMixin
from flask_login import LoginManager, current_user

from panel.models.sign_in import Person
from panel.secret import Secret
from panel.sign_in import pending_form, service, sessions
from panel.sign_in.devices import DeviceCookie
from panel.sign_in.sessions import Visitor
from panel.web import form_tokens
from panel.web.connection import WITHOUT

TOKEN = "token"  # noqa: S105 - the name of the cookie's entry
FORMS = "forms"  # the same: ids and keys of the forms that wait for the password
DEVICE_SECONDS = 400 * 24 * 3600  # browsers keep no cookie for longer


class _Sessions(SecureCookieSessionInterface):
    """Flask's own, with the device cookie beside it."""

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Never write back a token that another request has replaced in the meantime.

        The browser has the new one by then; the old one would sign it out.
        """
        if request.endpoint in WITHOUT:  # the same for everybody, so that proxies may keep it
            return
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
    """Give every request its `current_user`: a Visitor, or Flask-Login's anonymous user.

    Call it before CSRFProtect, since the session's row holds the form token.
    """
    app.session_interface = _Sessions()
    manager = LoginManager(app)
    manager.session_protection = None  # it would tie sessions to an IP address, which phones change
    manager.request_loader(_load)
    app.before_request(_bind_form_token)


def start(token: str) -> None:
    """Sign this browser in with `token` and remember it as one of its person's.

    The rest of its cookie is dropped (session fixation).
    """
    session.clear()
    session[TOKEN] = token
    remember_device()


def replace(token: str | None) -> None:
    """Give this browser its new `token`; None if another request has done that already."""
    if token is not None:
        session[TOKEN] = token
        g.pop("_login_user", None)  # Flask-Login's: `current_user` is read anew


def keep(form: bytes) -> str:
    """Keep the submitted `form` until the password has been entered (`pending_form`); its id."""
    ticket = pending_form.keep(current_user, form, _key())
    session[FORMS] = [*session.get(FORMS, []), [ticket.id, ticket.key]][-pending_form.MOST :]
    return ticket.id


def is_pending(form_id: str) -> bool:
    """Whether the form with that id waits in this browser."""
    return form_id in dict(session.get(FORMS, [])) and pending_form.is_pending(current_user, form_id)


def take(form_id: str) -> bytes | None:
    """The form that `keep` kept, once; None if this browser has none, or it was taken or has expired."""
    keys = dict(session.get(FORMS, []))
    key = keys.pop(form_id, None)
    session[FORMS] = list(keys.items())
    return pending_form.take(current_user, form_id, key, _key()) if key else None


def remember_device() -> None:
    """Issue the device cookie: at sign-in, and again after a change of password."""
    visitor = sessions.find(session[TOKEN])
    if visitor is None:
        return  # another request has ended the session
    g.device = DeviceCookie(None, _key()).issue(Person.get_by_id(visitor.id))


def device() -> DeviceCookie:
    return DeviceCookie(request.cookies.get(_device_name(current_app)), _key())


def stop() -> None:
    """Sign this browser out: end the session in the database and in the cookie."""
    if current_user.is_authenticated:
        service.sign_out(current_user, session[TOKEN], address())
    session.clear()


def address() -> str:
    """The client's IP address, by the headers of trusted proxies only."""
    return request.remote_addr or ""


def agent() -> str:
    return request.user_agent.string


def _load(_request: Request) -> Visitor | None:
    token = session.get(TOKEN)
    visitor = sessions.find(token) if isinstance(token, str) else None
    if visitor is None:
        return None
    g.token = token
    return _renewed(visitor) if visitor.renewal_due else visitor


def _renewed(visitor: Visitor) -> Visitor | None:
    """The visitor with a new token; None without a device cookie, since the session cookie may be a copy."""
    if device().id_for(Person.get_by_id(visitor.id)) is None:
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
