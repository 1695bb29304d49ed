"""Which paragraph of the manual matters on which page, and the address of a paragraph.

A topic is written as in the manual: page, `#` and anchor. tests/help holds that each is there.
"""

from __future__ import annotations

import re
from typing import Any

from flask import Flask, request, url_for
from flask_login import current_user
from markupsafe import Markup, escape

from panel.anchors import anchor

# As sentences name it: docs/encryption.md, 'A changed schema'
NAMED = re.compile(r"docs/([\w/-]{1,100})\.md(?:, [“']([^”']{1,200})[”'])?")
# by endpoint, else by blueprint
TOPICS = {
    "home": "collecting#when-something-is-wrong",
    "status": "collecting#when-something-is-wrong",
    "accounts": "accounts",
    "accounts.new": "accounts#adding-a-mailbox",
    "accounts.import_": "accounts#adding-many-mailboxes",
    "accounts.progress": "accounts#adding-many-mailboxes",
    "accounts.mailbox": "accounts#its-page",
    "accounts.edit": "accounts#changing",
    "accounts.ask": "accounts#many-at-once",
    "accounts.ask_remove": "accounts#pausing-and-removing",
    "sending": "accounts#sending",
    "submission": "sending",
    "messages": "handing-over#did-the-mail-come",
    "encryption": "encryption",
    "encryption.ask_off": "encryption#turning-it-off",
    "encryption.ask_rotate": "encryption#changing-the-key",
    "encryption.ask_prune": "encryption#changing-the-key",
    "connect": "oauth#connecting-a-mailbox",
    "oauth": "oauth#apps",
    "oauth_callback": "oauth#connecting-a-mailbox",
    "alerts": "alerts",
    "backup": "backup#the-question-of-a-restored-copy",
    "activity": "activity",
    "people": "people",
    "people.new": "people#adding-a-person",
    "people.edit": "people#changing-a-person",
    "profile": "people#your-own-profile",
    "sign_in": "forgotten-password",
    "setup_steps": "install#the-first-administrator",
    "server_settings": "settings",
    "delivery": "deliver#the-targets-file",
    "mailbox_delivery": "deliver#choosing-a-target",
}


def init_app(app: Flask) -> None:
    """Give templates and macros `help_topic()`, `help_url(topic)` and the filter `help_links`."""
    app.jinja_env.globals["help_topic"] = help_topic
    app.jinja_env.globals["help_url"] = help_url
    app.jinja_env.filters["help_links"] = help_links


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


def help_links(text: str) -> Markup:
    """`text` with each page of the manual that it names as a link, for who may read it."""
    if not current_user.is_authenticated:
        return escape(text)
    shown, at = Markup(""), 0
    for found in NAMED.finditer(text):
        page, heading = found.groups()
        url = help_url(f"{page}#{anchor(heading)}" if heading else page)
        link = Markup('<a href="{}">{}</a>').format(url, f"Help, “{heading}”" if heading else "Help")
        shown, at = shown + escape(text[at : found.start()]) + link, found.end()
    return shown + escape(text[at:])
