"""The doors: /login, /logout, /confirm; and everybody's own profile."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, request, url_for
from flask_login import current_user

from panel.errors import NotAllowed, PanelError
from panel.people.service import an_admin_exists
from panel.secret import Secret
from panel.sign_in import login as door
from panel.sign_in import profile, safe_redirect, service
from panel.sign_in.forms import ConfirmForm, LoginForm, NameForm, OwnPasswordForm
from panel.web import held
from panel.web.access import ANYBODY, ReauthNeeded, SignInNeeded, allow, here
from panel.web.form_tokens import keeps_typed
from panel.web.htmx import go, page

blueprint = Blueprint("sign_in", __name__)
profile_blueprint = Blueprint("profile", __name__, url_prefix="/profile")
allow(blueprint, read={ANYBODY}, write={ANYBODY})
allow(profile_blueprint, read={"admin", "agent", "user"}, write={"admin", "agent", "user"})


@blueprint.route("/login", methods=["GET", "POST"])
@keeps_typed
def login() -> Any:
    """Ask who is there."""
    if current_user.is_authenticated:
        return _back()
    form = LoginForm()
    if request.method != "POST":
        return _ask_login(form)
    if not form.validate_on_submit():
        return _ask_login(form, 422)
    try:
        password = Secret(form.password.data)
        token = service.sign_in(form.email.data, password, door.address(), door.agent(), door.device())
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
@keeps_typed
def confirm() -> Any:
    """Ask the visitor's own password again."""
    if not current_user.is_authenticated:
        return go(url_for("sign_in.login", next=_next()))
    form = ConfirmForm()
    if request.method != "POST":
        return _ask_again(form)
    if not form.validate_on_submit():
        return _ask_again(form, 422)
    try:
        door.replace(service.confirm(current_user, Secret(form.password.data), door.address()))
    except PanelError as error:
        return _ask_again(form, error.status, error)
    return _back()


@blueprint.app_errorhandler(SignInNeeded)
def sign_in_first(_needed: SignInNeeded) -> Any:
    """Ask who is there before a page that is not for everybody; keep what was typed meanwhile."""
    typed = held.this_form()
    if typed is None:
        return go(url_for("sign_in.login", next=here()))
    problem = NotAllowed("You are not signed in any more.", "Sign in: what you typed comes back.")
    return _ask_login(LoginForm(formdata=None), 400, problem, typed)


@blueprint.app_errorhandler(ReauthNeeded)
def confirm_first(_needed: ReauthNeeded) -> Any:
    """Ask the visitor's own password again before a step; keep what was typed meanwhile."""
    typed = held.this_form()
    if typed is None:
        return go(url_for("sign_in.confirm", next=here()))
    return _ask_again(ConfirmForm(formdata=None), 422, typed=typed)


def _ask_login(
    form: LoginForm, status: int = 200, problem: PanelError | None = None, typed: str | None = None
) -> Any:
    new = not an_admin_exists()
    return page(
        "sign_in/login.html", status=status, form=form, problem=problem, next=_next(), not_set_up=new,
        held=typed or _kept(),
    )  # fmt: skip


def _ask_again(
    form: ConfirmForm, status: int = 200, problem: PanelError | None = None, typed: str | None = None
) -> Any:
    return page(
        "sign_in/confirm.html", status=status, form=form, problem=problem, next=_next(),
        held=typed or _kept(),
    )  # fmt: skip


def _kept() -> str | None:
    """What this form, which asks for a password, has been given to keep; only for a page of this panel."""
    text = request.form.get(held.FIELD)
    typed = held.read(text)
    return text if typed and safe_redirect.safe(typed.path) else None


def _next() -> str | None:
    return safe_redirect.safe(request.values.get("next"))


def _back() -> Any:
    typed = _kept()
    if typed is not None:
        return page("sign_in/continue.html", held=held.read(typed))
    path = _next()
    return go(request.script_root + path if path else url_for("home.show"))


# -- the own profile -----------------------------------------------------------------


@profile_blueprint.get("")
def own() -> Any:
    """Name, password and sessions of whoever is signed in."""
    return _profile()


def _profile(status: int = 200, **context: Any) -> Any:
    context.setdefault("name_form", NameForm(formdata=None, data={"name": current_user.name}))
    context.setdefault("password_form", OwnPasswordForm(formdata=None))
    return page("sign_in/profile.html", status=status, sessions=profile.sessions(current_user), **context)


@profile_blueprint.post("/name")
@keeps_typed
def name() -> Any:
    """Take another name."""
    form = NameForm()
    if not form.validate_on_submit():
        return _profile(422, name_form=form)
    try:
        profile.change_name(current_user, form.name.data, door.address())
    except PanelError as error:
        return _profile(error.status, name_form=form, problem=error)
    flash("Your name was changed.", "good")
    return go(url_for("profile.own"))


@profile_blueprint.post("/password")
@keeps_typed
def password() -> Any:
    """Take another login password."""
    form = OwnPasswordForm()
    if not form.validate_on_submit():
        return _profile(422, password_form=form)
    try:
        old, new = Secret(form.old.data), Secret(form.password.data)
        door.replace(profile.change_password(current_user, old, new, door.address()))
        door.remember_device()
    except PanelError as error:
        return _profile(error.status, password_form=form, problem=error)
    flash("Your password was changed. You are signed out everywhere else.", "good")
    return go(url_for("profile.own"))


@profile_blueprint.post("/sessions")
def end_others() -> Any:
    """End the other sessions."""
    ended = profile.end_others(current_user, door.address())
    flash(f"{ended} other {'session was' if ended == 1 else 'sessions were'} ended.", "good")
    return go(url_for("profile.own"))
