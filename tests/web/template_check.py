"""`python -m tests.web.template_check`: what can be seen wrong in the templates without rendering them.

Pages as they are served are checked by tests/web/linter.py in the test client.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from panel.config import ROOT

FORBIDDEN = {
    r"\sstyle\s*=": "an inline style; give it a class",
    r"<style": "an inline style sheet; write it into panel.css",
    r"<script(?![^>]*\ssrc=)": "an inline script; write it into panel.js",
    r"\son[a-z]+\s*=\s*[\"']": "an event handler attribute; it needs eval",
    r"hx-on": "hx-on; it needs eval",
    r"[\"']\s*js:": "a js: expression; it needs eval",
    r"javascript:": "a link to a script",
    r"hx-trigger=\"[^\"]*\[": "a filter in hx-trigger; it needs eval",
    r"\|\s*safe\b": "|safe; it switches escaping off",
    r"autoescape\s+false": "autoescape false",
    r"hx-delete": "hx-delete; htmx 4 sends no form fields with it",
}


def check(directory: Path) -> list[str]:
    """One line for each thing that must not stand in a template, and for each that escapes nothing."""
    found = []
    for path in sorted(p for p in directory.rglob("*") if p.is_file()):
        if path.suffix != ".html":
            found.append(f"{path}: its suffix switches escaping off; call it .html")
            continue
        text = path.read_text("utf-8")
        for pattern, what in FORBIDDEN.items():
            found += [
                f"{path}:{text.count(chr(10), 0, m.start()) + 1}: {what}" for m in re.finditer(pattern, text)
            ]
    return found


if __name__ == "__main__":
    problems = check(ROOT / "templates")
    print("\n".join(problems) or "templates: nothing that the content security policy would block")
    sys.exit(1 if problems else 0)
