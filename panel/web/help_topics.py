"""Which paragraph of the manual matters on which page, and the address of a paragraph.

A topic is written as in the manual: page, `#` and anchor. tests/help holds that each is there.
"""

from __future__ import annotations

from typing import Any

from flask import Flask, request, url_for
from flask_login import current_user

# by endpoint, else by blueprint
TOPICS = {
    "home": "collecting#when-something-is-wrong",
    "status": "collecting#when-something-is-wrong",
    "accounts": "accounts",
    "accounts.new": "accounts#adding-a-mailbox",
    "sending": "accounts#sending",
    "messages": "handing-over#did-the-mail-come",
    "encryption": "encryption",
    "alerts": "alerts",
    "backup": "backup#the-question-of-a-restored-copy",
    "activity": "security",
    "people": "people",
    "profile": "people#your-own-profile",
    "sign_in": "forgotten-password",
    "setup_steps": "install#the-first-administrator",
    "server_settings": "settings",
}


def init_app(app: Flask) -> None:
    """Give templates and macros `help_topic()` and `help_url(topic)`."""
    app.jinja_env.globals["help_topic"] = help_topic
    app.jinja_env.globals["help_url"] = help_url


def help_topic() -> str:
    """The topic of the page that is asked for; empty where there is none, or nobody who may read it."""
    if not current_user.is_authenticated:
        return ""
    return TOPICS.get(request.endpoint or "") or TOPICS.get(request.blueprint or "", "")


def help_url(topic: str) -> str:
    """Where the panel shows `topic`."""
    page, _, anchor = topic.partition("#")
    values: dict[str, Any] = {"_anchor": anchor} if anchor else {}
    return url_for("help.read", name=page, **values)
