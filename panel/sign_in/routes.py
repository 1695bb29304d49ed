"""The sign-in pages /login, /logout and /confirm, and everybody's own profile."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, current_app, flash, request, url_for
from flask_login import current_user
from flask_wtf.csrf import CSRFError

from panel.errors import NotAllowed, PanelError
from panel.people.service import an_admin_exists
from panel.secret import Secret
from panel.services import current
from panel.sign_in import login as current_login
from panel.sign_in import profile, service
from panel.sign_in.forms import ConfirmForm, LoginForm, OwnPasswordForm, ProfileForm
from panel.times import zone_names
from panel.web import preserved_form, replay
from panel.web.access import ANYBODY, ReauthNeeded, SignInNeeded, allow, here, safe_redirect
from panel.web.fields import show_on_field
from panel.web.form_tokens import preserve_form_input, refused
from panel.web.htmx import go, page

blueprint = Blueprint("sign_in", __name__)
profile_blueprint = Blueprint("profile", __name__, url_prefix="/profile")
allow(blueprint, read={ANYBODY}, write={ANYBODY})
allow(profile_blueprint, read={"admin", "agent", "user"}, write={"admin", "agent", "user"})


@blueprint.route("/login", methods=["GET", "POST"])
@preserve_form_input
def login() -> Any:
    if current_user.is_authenticated:
        return _go_back()
    form = LoginForm()
    if request.method != "POST":
        return _login_page(form)
    if not form.validate_on_submit():
        return _login_page(form, 422)
    try:
        password, address = Secret(form.password.data), current_login.address()
        token = service.sign_in(
            form.email.data, password, address, current_login.agent(), current_login.device()
        )
    except PanelError as error:
        return _login_page(form, error.status, problem=error)
    current_login.start(token)
    return _go_back()


@blueprint.post("/logout")
def logout() -> Any:
    current_login.stop()
    return go(url_for("sign_in.login"))


@blueprint.route("/confirm", methods=["GET", "POST"])
@preserve_form_input
def confirm() -> Any:
    if not current_user.is_authenticated:
        return go(url_for("sign_in.login", next=_next()))
    form, form_id = ConfirmForm(), request.values.get("form", "")
    if request.method != "POST":
        return _confirm_page(form)
    if not form.validate_on_submit():
        return _confirm_page(form, 422)
    try:
        password = Secret(form.password.data)
        token = service.reauthenticate(current_user, password, current_login.address())
    except PanelError as error:
        return _confirm_page(form, error.status, problem=error)
    if token is None:  # the answer to another request carries the new one: ask once more, with it
        return go(url_for(".confirm", form=form_id or None, next=_next()))
    current_login.replace(token)
    if not form_id:
        return _go_back()
    submitted = current_login.take(form_id)
    if submitted is not None:
        return replay.run(submitted)
    flash("That step was done already, or waited for too long. Check it, and repeat it if needed.", "bad")
    return _go_back()


@blueprint.app_errorhandler(SignInNeeded)
def sign_in_first(_needed: SignInNeeded) -> Any:
    """Answer with the sign-in page, and preserve the form that was submitted."""
    form = preserved_form.of_this_request()
    if form is None:
        return go(url_for("sign_in.login", next=here()))
    problem = NotAllowed("Your session has ended.", "Sign in; what you typed will be restored.")
    return _login_page(LoginForm(formdata=None), 400, problem=problem, preserved=form)


@blueprint.app_errorhandler(ReauthNeeded)
def confirm_first(_needed: ReauthNeeded) -> Any:
    """Ask for the password on its own page; the form that was submitted is kept and carried out then."""
    if refused():  # nothing may be written
        return current_app.handle_user_exception(CSRFError())
    submitted = replay.of_this_request()
    if submitted is not None:
        return go(url_for("sign_in.confirm", form=current_login.keep(submitted), next=here()))
    if request.method == "POST":
        flash("What you sent is too large to be kept. Send it again after this.", "bad")
    return go(url_for("sign_in.confirm", next=here()))


def _login_page(form: LoginForm, status: int = 200, **context: Any) -> Any:
    context.setdefault("preserved", preserved_form.from_hidden_field())
    context |= {"next": _next(), "not_set_up": not an_admin_exists()}
    return page("sign_in/login.html", status=status, form=form, **context)


def _confirm_page(form: ConfirmForm, status: int = 200, **context: Any) -> Any:
    form_id = request.values.get("form", "")
    context |= {"next": _next(), "form_id": form_id, "waits": current_login.is_pending(form_id)}
    return page("sign_in/confirm.html", fragment="sign_in/_confirm.html", status=status, form=form, **context)


def _next() -> str | None:
    return safe_redirect(request.values.get("next"))


def _go_back() -> Any:
    """Go to where the person came from: the form that was preserved, or the page in `next`."""
    preserved = preserved_form.from_hidden_field()
    if preserved is not None:
        return page("sign_in/continue.html", preserved=preserved)
    path = _next()
    return go(request.script_root + path if path else url_for("home.show"))


# -- profile -------------------------------------------------------------------------


@profile_blueprint.get("")
def own() -> Any:
    """The person's own name, time zone, appearance, password and sessions."""
    return _profile()


def _profile(status: int = 200, **context: Any) -> Any:
    context.setdefault("form", ProfileForm(formdata=None, data=vars(current_user._get_current_object())))
    context.setdefault("password_form", OwnPasswordForm(formdata=None))
    context |= {"sessions": profile.sessions(current_user), "zones": zone_names()}
    server_zone = current().settings.timezone.key
    return page("sign_in/profile.html", status=status, server_zone=server_zone, **context)


@profile_blueprint.post("")
@preserve_form_input
def change() -> Any:
    form = ProfileForm()
    if not form.validate_on_submit():
        return _profile(422, form=form)
    try:
        profile.change(
            current_user, form.name.data, form.timezone.data, form.theme.data, current_login.address()
        )
    except PanelError as error:
        return _profile(error.status, form=form, problem=show_on_field(form, error))
    flash("Your profile was changed.", "good")
    return go(url_for("profile.own"))


@profile_blueprint.post("/password")
@preserve_form_input
def password() -> Any:
    form = OwnPasswordForm()
    if not form.validate_on_submit():
        return _profile(422, password_form=form)
    try:
        old, new = Secret(form.old.data), Secret(form.password.data)
        current_login.replace(profile.change_password(current_user, old, new, current_login.address()))
        current_login.remember_device()
    except PanelError as error:
        return _profile(error.status, password_form=form, problem=show_on_field(form, error))
    flash("Your password was changed. Your other sessions were signed out.", "good")
    return go(url_for("profile.own"))


@profile_blueprint.post("/sessions")
def end_others() -> Any:
    ended = profile.end_others(current_user, current_login.address())
    flash(f"{ended} other {'session was' if ended == 1 else 'sessions were'} signed out.", "good")
    return go(url_for("profile.own"))
