"""/accounts/new: a mailbox is added once its connection was tested."""

from __future__ import annotations

from typing import Any

from flask import flash, request

from panel.accounts import auth, probe, rules, service
from panel.accounts import suggest as suggestions
from panel.accounts.connect_routes import begin as connect
from panel.accounts.connect_routes import collecting
from panel.accounts.forms import NewForm, settings_digest
from panel.accounts.import_routes import blueprint
from panel.accounts.routes import again, live, new_page, ways
from panel.accounts.service import New
from panel.errors import PanelError
from panel.mail.session import ProbeStep
from panel.secret import Secret
from panel.services import current
from panel.web.access import actor, require_reauth
from panel.web.form_tokens import out_of_date, preserve_form_input, refused
from panel.web.htmx import go, is_htmx, page

__all__ = ["blueprint"]


@blueprint.get("/new")
def new() -> Any:
    """An empty form, or one for the `provider` whose app was just added."""
    form, provider = NewForm(formdata=None), request.args.get("provider", "")
    if provider in ("microsoft", "google", "issuer"):
        form.provider.data = "other" if provider == "issuer" else provider
        form.auth.data = "oauth"
    return new_page(form)


@blueprint.post("/new")
@preserve_form_input
def add() -> Any:
    """Test what was entered; if that works, or with “Save anyway”, store it and collect its mail.

    “Save anyway” counts only for the settings that were tested. The password never goes back into a page:
    with htmx the form stays as it is, without scripts it is typed again.
    """
    form, submitted = NewForm(), settings_digest(request.form)
    if not form.validate_on_submit():
        return again(form)
    try:
        entered = _entered(form)
        auth.require_encryption(entered.auth, current().vault)
        require_reauth()
        service.require_new(entered)
        if form.by == "oauth":  # nothing can be tested before a person has signed in
            return connect(_store_waiting(entered))
        if request.form.get("force") == submitted:
            return go(_store(entered, "not tested"))
    except PanelError as error:
        return again(form, error)
    try:
        settings = current().settings
        sources = [probe.entered_source(each, settings) for each in entered.logins]
        steps = probe.run(sources, entered.box.folder, settings, actor(), entered.box.address)
    except PanelError as error:
        return again(form, error, force=submitted)
    if is_htmx():
        return live(steps, probe.plan(sources), form, lambda: _store(entered), submitted)
    done = list(steps)
    try:
        if done[-1].ok:
            return go(_store(entered, _older(done, entered.begin)))
    except PanelError as error:
        return again(form, error)
    pending = probe.plan(sources)[len(done) :]
    return new_page(form, 422, steps=done, pending=pending, force=submitted)


def _entered(form: NewForm) -> New:
    settings = current().settings
    how = auth.entered(*form.ways, form.entered_password) or Secret("")
    return New(form.mailbox(), form.server(settings), how, form.begin.data, form.sending_login(settings))


def _store_waiting(entered: New) -> str:
    """Store a mailbox that waits for its consent; its uuid."""
    uuid = service.add(current().vault, entered, actor())
    flash(f"{entered.box.address} was added. It waits for its consent.", "good")
    return uuid


def _store(entered: New, note: str = "") -> str:
    """Store it and have it collected; the address of its page."""
    uuid = service.add(current().vault, entered, actor())
    address = entered.box.address
    if not is_htmx() or note:
        flash(f"{address} was added{', ' + note if note else ''}.", "good")
    return collecting(uuid)


def _older(steps: list[ProbeStep], begin: str) -> str:
    held = next((step.messages for step in steps if step.messages), 0)
    if begin != "now" or not held:
        return ""
    return f"and {held:,} older {'message stays' if held == 1 else 'messages stay'} on its server"


@blueprint.post("/suggest")
@preserve_form_input
def suggest() -> Any:
    """Fill in the servers for the address, if they can be found. Saves nothing."""
    form = NewForm()
    if refused() and not is_htmx():
        return again(form, out_of_date())
    try:
        if refused():
            raise out_of_date()
        found = suggestions.suggest(rules.address_of(form.address.data or ""), current().settings, actor())
    except PanelError as error:
        found = suggestions.Suggestion(f"{error.message} {error.remedy}", provider=form.provider.data)
    _fill(form, found)
    return page(
        "accounts/new.html", fragment="accounts/_suggested.html", form=form, suggestion=found,
        problem=None, steps=None, force=None, **ways(),
    )  # fmt: skip


def _fill(form: NewForm, found: suggestions.Suggestion) -> None:
    """Put what was found into the form, and take out what was found for another address.

    What is usual stays empty: an empty port follows protocol and security, an empty username the address.
    """
    address = form.address.data or ""
    stale = form.found_for.data not in (None, "", address)
    form.found_for.process_data(address if found.incoming or found.provider != "other" else "")
    form.provider.process_data(found.provider)
    for fields, where in ((form, found.incoming), (form.sending.form, found.outgoing)):
        if where is None and not stale:
            continue
        values = vars(where) if where else dict.fromkeys(rules.SERVER_FIELDS, "")
        port = values["port"]
        usual = rules.PORTS.get((values["protocol"], values["security"]))
        values = values | {"port": None if port in ("", usual) else port}
        values |= {"username": ""} if values["username"] == address else {}
        for name in rules.SERVER_FIELDS:
            if name in fields and (where or name in ("host", "port", "username")):
                fields[name].process_data(values[name])
                fields[name].raw_data = None
