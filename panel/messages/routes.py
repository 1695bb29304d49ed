"""Messages in the browser: did the customer's mail come?"""

from __future__ import annotations

from typing import Any

from flask import Blueprint
from flask_login import current_user

from panel.deliver import status
from panel.messages import search
from panel.messages.search import STATES, Scope
from panel.services import current
from panel.web import viewer
from panel.web.access import allow
from panel.web.htmx import page
from panel.web.listing import read_query

blueprint = Blueprint("messages", __name__, url_prefix="/messages")
allow(blueprint, read={"admin", "agent"}, write=set())


@blueprint.get("")
def show() -> Any:
    """One page of the message log. Agents see it without subjects."""
    settings = current().settings
    scope = Scope(subjects=current_user.role == "admin")
    gone = status.gone(settings)
    found = search.find(read_query(STATES), viewer.zone(), settings.mail_spool, scope, gone=gone)
    return page("messages/list.html", found=found, days=settings.message_log_days, gone=gone)
