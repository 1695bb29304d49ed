"""Errors as pages: the message and remedy of the error, never a traceback."""

from __future__ import annotations

import logging

import peewee
from flask import Flask, Response, current_app, request, url_for
from flask.globals import request_ctx
from flask_login import current_user
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException

from panel import db
from panel.errors import DatabaseError, PanelError
from panel.web import form_tokens
from panel.web.access import page_above
from panel.web.htmx import page

logger = logging.getLogger("mailkeep.web")

HTTP = {
    400: ("The request is not valid.", "Go back, reload the page and try again."),
    404: ("This page does not exist.", "Check the address."),
    405: ("This address does not accept this kind of request.", ""),
    413: ("The request is too large.", "Shorten it and try again."),
    414: ("The address of the page is too long.", ""),
    421: ("The panel does not answer to this host name.", "Use the address in PANEL_URL."),
}


def init_app(app: Flask) -> None:
    app.register_error_handler(PanelError, _panel_error)
    app.register_error_handler(peewee.DatabaseError, lambda error: _panel_error(db.explain(error)))
    app.register_error_handler(CSRFError, _csrf_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)


def _panel_error(error: PanelError) -> Response:
    if error.status >= 500:
        logger.error("%s", error)
    return _render(error.status, error.message, error.remedy, topic=error.help)


def _csrf_error(error: CSRFError) -> Response:
    if "referrer" in error.description:
        return _render(
            400,
            "The browser did not send the Referer header, so nothing was done.",
            "Allow it for this site, then try again.",
        )
    if form_tokens.from_elsewhere():
        return _render(
            400, "This form came from another site, so nothing was done.", "Use the panel's own pages."
        )
    page_ = page_above(request.path)
    if not current_user.is_authenticated:
        return _render(
            400, "Your session has ended, so nothing was done.", "Sign in, then try again.",
            link=(url_for("sign_in.login", next=page_), "Sign in"),
        )  # fmt: skip
    return _render(
        400, "This page was out of date, so nothing was done.", "Open it again and repeat the step there.",
        link=(request.script_root + page_, "Open the page again"),
    )  # fmt: skip


def _http_error(error: HTTPException) -> Response:
    code = error.code or 500
    message, remedy = HTTP.get(code, ("The request failed.", ""))
    return _render(code, message, remedy)


def _unexpected(_error: Exception) -> Response:
    logger.exception("unexpected error in a page")
    return _render(
        500,
        "Mailkeep met an unexpected error. The change may not have been saved.",
        "See the server's log for details.",
    )


def _render(
    status: int, message: str, remedy: str, link: tuple[str, str] | None = None, topic: str = ""
) -> Response:
    if request_ctx.url_adapter is None:  # the Host header is invalid, so no link can be built
        return Response(f"{message} {remedy}\n", status, mimetype="text/plain")
    try:
        return page(
            "errors/error.html", fragment="errors/_error.html", message=message, remedy=remedy,
            link=link, topic=topic, code=status, status=status,
        )  # fmt: skip
    except (peewee.DatabaseError, DatabaseError):  # the page frame reads the database too
        alone = current_app.jinja_env.get_template("errors/alone.html")
        return Response(alone.render(message=message, remedy=remedy, link=link), status)
