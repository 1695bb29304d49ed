"""What no page may have: checked on every page that the test client is served.

Inline script or style (the content security policy would block it), what needs
eval, the same id twice, references to ids that are not there, forms without a
CSRF token, fields without a label, buttons that do nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

from flask.testing import FlaskClient

NEEDS_EVAL = re.compile(r"\bjs:|javascript:|\[[^\]]*\]")
SELECTOR_ATTRIBUTES = ("hx-target", "hx-indicator", "hx-include", "hx-disable", "hx-sync")
REFERENCES = ("for", "aria-describedby", "aria-labelledby", "aria-controls")
SEND = ("hx-get", "hx-post")


@dataclass
class Form:
    """One form while it is read."""

    method: str
    has_token: bool = False


@dataclass
class Element:
    """A start tag and where it stands."""

    tag: str
    attributes: dict[str, str]
    line: int


@dataclass
class Page(HTMLParser):
    """All that the checks need, gathered in one pass."""

    elements: list[Element] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    forms: list[Form] = field(default_factory=list)
    _open_form: Form | None = None
    _open_labels: int = 0

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        element = Element(tag, attributes, self.getpos()[0])
        self.elements.append(element)
        if len(attributes) != len(attrs):
            self.complain(element, "has the same attribute twice")
        if tag == "form":
            self._open_form = Form(attributes.get("method", "get").lower())
            self.forms.append(self._open_form)
            if "method" not in attributes or "action" not in attributes:
                self.complain(element, "has no method or no action: it would not work without JavaScript")
        if tag == "input" and attributes.get("name") == "csrf_token" and self._open_form is not None:
            self._open_form.has_token = bool(attributes.get("value"))
        if (
            tag == "button"
            and self._open_form is None
            and not any(name in attributes for name in ("form", *SEND))
        ):
            self.complain(element, "is a button that does nothing")
        if tag == "script" and "src" not in attributes:
            self.complain(element, "is an inline script")
        if tag == "style":
            self.complain(element, "is an inline style sheet")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            if self._open_form and self._open_form.method == "post" and not self._open_form.has_token:
                self.problems.append(f"line {self.getpos()[0]}: a form sends no CSRF token")
            self._open_form = None

    def complain(self, element: Element, what: str) -> None:
        """Note one problem."""
        self.problems.append(f"line {element.line}: <{element.tag}> {what}")


def problems(html: str) -> list[str]:
    """What is wrong with one page or fragment; an empty list for a good one."""
    page = Page()
    page.feed(html)
    page.close()
    ids = [e.attributes["id"] for e in page.elements if "id" in e.attributes]
    page.problems += [
        f"the id {name!r} stands twice" for name in sorted({i for i in ids if ids.count(i) > 1})
    ]
    whole = any(e.tag == "html" for e in page.elements)
    for element in page.elements:
        _check_attributes(page, element)
        if whole:
            _check_references(page, element, set(ids))
    if whole:
        _check_labels(page)
    return page.problems


def _check_attributes(page: Page, element: Element) -> None:
    for name, value in element.attributes.items():
        if name == "style":
            page.complain(element, "has an inline style")
        if name.startswith(("on", "hx-on")):
            page.complain(element, f"has {name}, which needs eval")
        if name.startswith("hx-") and (
            NEEDS_EVAL.search(value) and name in ("hx-trigger", "hx-vals", "hx-confirm")
        ):
            page.complain(element, f"has {name}={value!r}, which needs eval")
        if name == "href" and value.strip().lower().startswith("javascript:"):
            page.complain(element, "links to a script")


def _check_references(page: Page, element: Element, ids: set[str]) -> None:
    for name in REFERENCES:
        for wanted in element.attributes.get(name, "").split():
            if wanted not in ids:
                page.complain(element, f"{name} names {wanted!r}, which is not on the page")
    for name in SELECTOR_ATTRIBUTES:
        for wanted in re.findall(r"#([\w-]+)", element.attributes.get(name, "")):
            if wanted not in ids:
                page.complain(element, f"{name} names {wanted!r}, which is not on the page")
    href = element.attributes.get("href", "")
    if href.startswith("#") and href[1:] not in ids:
        page.complain(element, f"links to {href!r}, which is not on the page")


def _check_labels(page: Page) -> None:
    labelled = {e.attributes.get("for") for e in page.elements if e.tag == "label"}
    for element in page.elements:
        if element.tag not in ("input", "select", "textarea") or element.attributes.get("type") in (
            "hidden",
            "submit",
        ):
            continue
        if element.attributes.get("id") not in labelled and "aria-label" not in element.attributes:
            page.complain(element, f"{element.attributes.get('name')!r} has no label")


class LintingClient(FlaskClient):
    """A test client that fails on a page with a problem."""

    def open(self, *args: Any, **kwargs: Any) -> Any:
        """As FlaskClient.open; raises AssertionError for a page that does not pass."""
        response = super().open(*args, **kwargs)
        if response.mimetype == "text/html" and not response.is_streamed:
            found = problems(response.get_data(as_text=True))
            assert not found, f"{response.request.path}: {found}"
        return response
