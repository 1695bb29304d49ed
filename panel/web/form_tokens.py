"""Form tokens (CSRF): they live as long as the session, and without a good one nothing is changed.

Flask-WTF signs and compares them; what they are compared with is the session's row (`bind`), or the
cookie of whoever is not signed in. A form that comes with a bad one is shown again as it was typed.
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
    """Have the tokens of this request be compared with `raw`. Writes no cookie."""
    g.form_token_bound = True
    dict.__setitem__(session._get_current_object(), NAME, raw)  # type: ignore[attr-defined]


def unbind(cookie: Any) -> None:
    """Take out of the session `cookie`, before it is written, what `bind` has put there."""
    if g.get("form_token_bound"):
        dict.pop(cookie, NAME, None)


def keeps_typed(view: View) -> View:
    """Declare that `view` shows its form again, and does nothing else, where the form is not valid.

    A FlaskForm is never valid where `refused`.
    """
    view.keeps_typed = True  # type: ignore[attr-defined]
    return view


def refused() -> bool:
    """Whether the form of this request came with a bad token, so that it may only be shown again."""
    return bool(g.get("form_token_refused"))


def out_of_date() -> BadInput:
    """What is said of such a form."""
    return BadInput(
        "Nothing was saved yet, because this page was out of date.",
        "What you typed is still here, except for passwords: check it and send it again.",
    )


def from_elsewhere() -> bool:
    """Whether the browser says that the request comes from a page of another site (or hides from which).

    Browsers send Origin with every form (Fetch, 3.2); programs may leave it out.
    """
    if _other_site():
        return True
    origin = request.headers.get("Origin")
    return origin is not None and origin.partition("://")[2] != request.host


def _other_site() -> bool:
    return request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none")


class FormTokens(CSRFProtect):
    """Flask-WTF's check of every request that may change something. A bad token does not end in a bare 400
    where the view `keeps_typed`: that view runs, on a database that takes no writes."""

    def init_app(self, app: Flask) -> None:
        """Check the requests of `app`. Call it after Flask-Login and before what looks at roles."""
        app.config["WTF_CSRF_TIME_LIMIT"] = None
        super().init_app(app)
        app.jinja_env.globals["form_out_of_date"] = out_of_date
        app.after_request(_finish)

    def protect(self, apply_exemptions: bool = False) -> None:
        """Raise CSRFError, or have the form shown again, unless the request carries its session's token.

        A good token does not help a page of another site: who writes the database can give two sessions
        the same one, and would have a form come back with his own server in it.
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
        if from_elsewhere() or not hasattr(view, "keeps_typed"):
            return False
        try:
            validate_csrf(self._get_csrf_token())
        except ValidationError:
            return True
        return False  # the token is good and something else is not: the form would be taken for valid


def _finish(response: Response) -> Response:
    """400 for what was refused; htmx gets the fresh token for the page that stays."""
    if not refused():
        return response
    if response.status_code < 400 and not is_htmx() and not current_user.is_authenticated:
        return current_app.make_response(current_app.handle_user_exception(CSRFError()))
    if response.status_code in (200, BadInput.status):
        response.status_code = CSRFError.code
    if current_user.is_authenticated:  # another's is in the cookie, which may hold a newer session
        response.headers["X-CSRFToken"] = generate_csrf()
    return response
