"""The database, open for the length of one request."""

from __future__ import annotations

from flask import Flask, request

from panel import db

WITHOUT = ("static", "health.healthz")  # endpoints that do not use it


def init_app(app: Flask) -> None:
    """Open it before the request is handled, close it once the response is sent, streams included."""

    def begin() -> None:
        if request.endpoint not in WITHOUT:
            with db.explained():
                db.database.connect(reuse_if_open=True)

    def end(_error: BaseException | None) -> None:
        if not db.database.is_closed():
            db.database.close()

    app.before_request(begin)
    app.teardown_request(end)
