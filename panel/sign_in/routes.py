"""The doors: /login, /logout, /confirm, and / which leads everybody to the own start page."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, request, url_for
from flask_login import current_user

from panel.errors import PanelError
from panel.people.service import an_admin_exists
from panel.secret import Secret
from panel.sign_in import login as door
from panel.sign_in import service, way_back
from panel.sign_in.forms import ConfirmForm, LoginForm
from panel.web.access import ANYBODY, allow
from panel.web.htmx import go, page

blueprint = Blueprint("sign_in", __name__)
home_blueprint = Blueprint("home", __name__)
allow(blueprint, read={ANYBODY}, write={ANYBODY})
allow(home_blueprint, read={"admin", "agent", "user"}, write=set())

START_PAGES = {"admin": "/accounts", "agent": "/server/encryption"}


@home_blueprint.get("/")
def show() -> Any:
    """The start page of the visitor's role; for a user there is none yet, and it says so."""
    start = START_PAGES.get(current_user.role)
    return go(request.script_root + start) if start else page("sign_in/nothing_here.html")


@blueprint.route("/login", methods=["GET", "POST"])
def login() -> Any:
    """Ask who is there."""
    if current_user.is_authenticated:
        return _back()
    form = LoginForm()
    if request.method == "GET":
        return _ask_login(form)
    if not form.validate_on_submit():
        return _ask_login(form, 422)
    try:
        token = service.sign_in(form.email.data, Secret(form.password.data), door.address(), door.agent())
    except PanelError as error:
        return _ask_login(form, error.status, error)
    door.start(token)
    return _back()


@blueprint.post("/logout")
def logout() -> Any:
    """Sign out."""
    door.stop()
    return go(url_for("sign_in.login"))


@blueprint.route("/confirm", methods=["GET", "POST"])
def confirm() -> Any:
    """Ask the visitor's own password again."""
    if not current_user.is_authenticated:
        return go(url_for("sign_in.login", next=_next()))
    form = ConfirmForm()
    if request.method == "GET":
        return _ask_again(form)
    if not form.validate_on_submit():
        return _ask_again(form, 422)
    try:
        service.confirm(current_user, Secret(form.password.data), door.address())
    except PanelError as error:
        return _ask_again(form, error.status, error)
    return _back()


def _ask_login(form: LoginForm, status: int = 200, problem: PanelError | None = None) -> Any:
    new = not an_admin_exists()
    return page("sign_in/login.html", status=status, form=form, problem=problem, next=_next(), not_set_up=new)


def _ask_again(form: ConfirmForm, status: int = 200, problem: PanelError | None = None) -> Any:
    return page("sign_in/confirm.html", status=status, form=form, problem=problem, next=_next())


def _next() -> str | None:
    return way_back.safe(request.values.get("next"))


def _back() -> Any:
    path = _next()
    return go(request.script_root + path if path else url_for("home.show"))
