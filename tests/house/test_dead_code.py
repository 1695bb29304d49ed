"""Nothing in panel/ is unreachable: vulture, told what frameworks and templates use."""

from __future__ import annotations

import keyword
import re

from vulture import Vulture  # type: ignore[import-untyped]

from panel.config import ROOT

# Flask and click call what these decorate.
DECORATORS = [
    f"@*.{name}" for name in ("get", "post", "command", "group", "record_once", "app_*", "before_app_request")
]
CALLED_BY = {
    "Peewee": ["Meta", "indexes", "constraints", "legacy_table_names", "only_save_dirty", "without_rowid", "adapt"],
    "Peewee, which writes these columns by name": ["forgotten_at", "counted_at", "pruned_at", "first_at"],
    "sqlite3": ["text_factory"],
    "Peewee, which closes connections by it": ["_close"],
    "click": ["command_class", "convert", "format_commands", "format_epilog"],
    "waitress": ["parser_class", "channel_class", "handle_error"],
    "Flask and Flask-Login": ["session_interface", "session_protection", "form_token_bound", "form_token_refused"],
    "Werkzeug": ["max_content_length", "max_form_memory_size", "regex"],
    "WTForms": ["pre_validate", "validate_address", "validate_password", "raw_data"],
    "markdown-it": ["attrs", "fence", "table_open", "table_close"],
    "http.client and smtplib": ["command_encoding", "response_class", "makefile", "readable", "readinto"],
    "mypy": ["Guarded"],
    "a number that stands beside others": ["ADMIN"],
}  # fmt: skip
EXPRESSION = re.compile(r"\{[{%](.*?)[%}]\}", re.DOTALL)


def test_nothing_in_the_panel_is_dead_code() -> None:
    vulture = Vulture(
        ignore_names=[name for names in CALLED_BY.values() for name in names], ignore_decorators=DECORATORS
    )
    vulture.scavenge([ROOT / "app.py", ROOT / "panel"], exclude=[str(ROOT / "panel/models/migrations")])
    vulture.scan(names_in_templates(), filename="templates")
    dead = [item.get_report() for item in vulture.get_unused_code(min_confidence=60)]
    assert not dead, "\n".join(dead)


def names_in_templates() -> str:
    """Every name that an expression of a template reads, as a program for vulture."""
    names: set[str] = set()
    for path in (ROOT / "templates").rglob("*.html"):
        for expression in EXPRESSION.findall(path.read_text("utf-8")):
            names.update(re.findall(r"[A-Za-z_]\w*", expression))
    return "\n".join(f"any.{name}" for name in sorted(names) if not keyword.iskeyword(name))
