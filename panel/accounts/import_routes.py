"""Importing mailboxes in the browser, and their export without secrets."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from flask import Response, request, stream_with_context, url_for

from panel.accounts import export as exporting
from panel.accounts import importing, job, listing
from panel.accounts.bulk import Done
from panel.accounts.bulk_routes import blueprint
from panel.accounts.importing import Lines
from panel.audit import Actor
from panel.errors import BadInput, PanelError
from panel.services import current
from panel.vault.vault import Vault
from panel.web.access import actor, require_reauth
from panel.web.form_tokens import out_of_date, preserve_form_input, refused
from panel.web.htmx import go, page
from panel.web.listing import read_query
from panel.web.text import file_upload

__all__ = ["blueprint"]

SHOWN = 100  # lines of each kind


@blueprint.get("/import")
def import_() -> Any:
    """A file or text with many mailboxes."""
    return _page()


def _page(status: int = 200, **context: Any) -> Response:
    values = {"lines": None, "problem": None, "columns": importing.COLUMNS, "shown": SHOWN} | context
    return page("accounts/import.html", fragment="accounts/_import.html", status=status, **values)


@blueprint.post("/import")
@file_upload
@preserve_form_input
def run_import() -> Any:
    """Check the lines, or import those that are valid. What was sent is never sent back, nor stored here."""
    if refused():
        return _page(422, problem=out_of_date())
    try:
        lines = importing.sorted_out(importing.read(io.BytesIO(_sent()), current().settings))
        if not lines.wanted and not lines.bad:
            raise BadInput("There is no mailbox in it.", "Choose the right file.")
    except PanelError as error:
        return _page(error.status, problem=error)
    if "import" not in request.form:
        return _page(lines=lines)
    if not lines.wanted:
        return _page(422, lines=lines)
    require_reauth()
    who, vault, total = actor(), current().vault, len(lines.wanted) + len(lines.bad)
    number = job.start("import", total, who, lambda: _stored(vault, lines, who))
    return go(url_for("accounts.progress", number=number))


def _sent() -> bytes:
    """The file, or else the text. Raises BadInput where there is neither."""
    file = request.files.get("file")
    data = file.read() if file else b""
    data = data or request.form.get("text", "").encode("utf-8", "surrogatepass")
    if not data.strip():
        raise BadInput("No file was chosen and no text was entered.", "Choose a file, or paste its lines.")
    return data


def _stored(vault: Vault, lines: Lines, who: Actor) -> Iterator[Done]:
    problems = tuple(f"Line {each.line}: {each.why}" for each in lines.bad)
    done = Done(len(lines.bad), 0, problems)
    yield done
    sizes = iter(range(importing.BATCH, len(lines.wanted) + importing.BATCH, importing.BATCH))
    for batch in importing.store(vault, lines.wanted, who):
        problems += tuple(f"Line {each.line}: {each.why}" for each in batch.bad)
        finished = len(lines.bad) + min(next(sizes), len(lines.wanted))
        done = Done(finished, done.changed + batch.added, problems)
        yield done


@blueprint.get("/export.csv")
def export() -> Any:
    """The mailboxes that match search and state, as CSV, without any secret."""
    query = read_query(listing.STATES, listing.SORTS)
    response = Response(stream_with_context(exporting.as_csv(current().vault, query)), mimetype="text/csv")
    response.headers["Content-Disposition"] = 'attachment; filename="mailboxes.csv"'
    return response
