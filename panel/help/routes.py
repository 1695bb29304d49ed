"""Help: the manual, a search over it, and what Mailkeep is made of. For everybody who is signed in."""

from __future__ import annotations

from functools import cache

from flask import Blueprint, Response, request, url_for

from panel.config import ROOT
from panel.errors import NotFound
from panel.help import about
from panel.help.manual import INDEX, LONGEST_QUERY, Manual
from panel.models.sign_in import ROLES
from panel.web.access import allow
from panel.web.htmx import page
from panel.web.static_files import StaticFiles, answer

blueprint = Blueprint("help", __name__, url_prefix="/help")
allow(blueprint, read=set(ROLES), write=set())

images = StaticFiles(ROOT / "docs/images")


@cache
def _manual(base: str) -> Manual:
    return Manual(ROOT, base)


def manual() -> Manual:
    """The manual, with the addresses of this panel: PANEL_URL may have a path."""
    return _manual(url_for("help.show"))


@blueprint.get("")
def show() -> Response:
    """The table of contents; with `q`, what a search finds."""
    query = request.args.get("q", "").replace("\0", "").strip()[:LONGEST_QUERY]
    if query:
        return page("help/search.html", query=query, results=manual().search(query))
    return _page(INDEX)


@blueprint.get("/about")
def about_() -> Response:
    return page("help/about.html", about=about.read(ROOT))


@blueprint.get("/images/<path:filename>")
def image(filename: str) -> Response:
    file = images.get(filename)
    if file is None:
        raise NotFound("This picture does not exist.", "Go back to the manual.")
    return answer(file)


@blueprint.get("/<path:name>")
def read(name: str) -> Response:
    return _page(name)


def _page(name: str) -> Response:
    found = manual().page(name)
    if found is None:
        raise NotFound("The manual has no such page.", "Search for it in Help.")
    return page("help/page.html", found=found, is_index=name == INDEX, titles=manual().titles())
