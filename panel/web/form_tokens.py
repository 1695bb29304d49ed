"""Form tokens (CSRF): valid as long as the session; nothing is changed without a valid one.

Flask-WTF signs and compares them, with the session's row (`bind`) or, before sign-in, with the cookie.
A form with an invalid token is shown again as it was typed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from flask import Flask, Response, current_app, g, request, session
from flask_login import current_user
from flask_wtf import CSRFProtect
from flask_wtf.csrf import CSRFError, generate_csrf, validate_csrf
from wtforms.validators import ValidationError

from panel import db
from panel.errors import BadInput
from panel.web.htmx import is_htmx

NAME = "csrf_token"

View = TypeVar("View", bound=Callable[..., Any])


def bind(raw: str) -> None:
    """Compare the tokens of this request with `raw`. Writes no cookie."""
    g.form_token_bound = True
    dict.__setitem__(session._get_current_object(), NAME, raw)  # type: ignore[attr-defined]


def unbind(cookie: Any) -> None:
    """Remove what `bind` put into the session `cookie`, before it is written."""
    if g.get("form_token_bound"):
        dict.pop(cookie, NAME, None)


def preserve_form_input(view: View) -> View:
    """Declare that `view` only shows its form again if it is not valid, as a FlaskForm is after `refused`."""
    view.preserve_form_input = True  # type: ignore[attr-defined]
    return view


def refused() -> bool:
    """Whether the form of this request has an invalid token, so that it may only be shown again."""
    return bool(g.get("form_token_refused"))


def out_of_date() -> BadInput:
    return BadInput(
        "This page was out of date, so nothing was saved.",
        "What you typed is still here, except passwords. Check it and submit it again.",
    )


def from_elsewhere() -> bool:
    """Whether the request comes from a page of another site, or from one that the browser hides.

    Browsers send Origin with every form (Fetch, 3.2); programs may omit it.
    """
    if _other_site():
        return True
    origin = request.headers.get("Origin")
    return origin is not None and origin.partition("://")[2] != request.host


def _other_site() -> bool:
    return request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none")


class FormTokens(CSRFProtect):
    """Flask-WTF's check of every request that may change something.

    With an invalid token, a view with `preserve_form_input` runs on a read-only database.
    """

    def init_app(self, app: Flask) -> None:
        """Check the requests of `app`. Call it after Flask-Login and before `access`."""
        app.config["WTF_CSRF_TIME_LIMIT"] = None
        super().init_app(app)
        app.jinja_env.globals["form_out_of_date"] = out_of_date
        app.after_request(_finish)

    def protect(self, apply_exemptions: bool = False) -> None:
        """Raise CSRFError, or have the form shown again, unless the request carries its session's token.

        A valid token does not help a page of another site: an attacker who writes the database can give two
        sessions the same one, and could have a form shown again with his own server in it.
        """
        if request.method in current_app.config["WTF_CSRF_METHODS"] and _other_site():
            raise CSRFError
        try:
            super().protect(apply_exemptions)
        except CSRFError:
            if not self._may_be_shown_again():
                raise
            db.refuse_writes()
            g.form_token_refused = True

    def _may_be_shown_again(self) -> bool:
        view = current_app.view_functions[request.endpoint or ""]
        if from_elsewhere() or not hasattr(view, "preserve_form_input"):
            return False
        try:
            validate_csrf(self._get_csrf_token())
        except ValidationError:
            return True
        return False  # the token is valid and something else is not: the form would pass as valid


def _finish(response: Response) -> Response:
    """Answer 400 if the token was refused; htmx gets a new one for the page that stays open."""
    if not refused():
        return response
    if response.status_code < 400 and not is_htmx() and not current_user.is_authenticated:
        return current_app.make_response(current_app.handle_user_exception(CSRFError()))
    if response.status_code in (200, BadInput.status):
        response.status_code = CSRFError.code
    if current_user.is_authenticated:  # else the cookie may already belong to a newer session
        response.headers["X-CSRFToken"] = generate_csrf()
    return response
