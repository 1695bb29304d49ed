"""The files of `static/`: from memory, compressed beforehand, kept by browsers for a year.

Every `url_for("static", filename=…)` names the content too (`?v=…`), so that a changed file has another
address (docs/decisions/0035-static-files.md). Only files of a known type are served.
"""

from __future__ import annotations

import gzip
import hashlib
import posixpath
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Flask, Response, request
from werkzeug.security import safe_join

from panel.errors import NotFound

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".woff2": "font/woff2",
}
COMPRESSED = {".css", ".js", ".svg"}  # the others are compressed by themselves
FOR_EVER = "public, max-age=31536000, immutable"
ASK_FIRST = "no-cache"  # kept, and asked about before each use
REFERENCE = re.compile(rb"url\(([\"']?)([^/\"')?#:][^\"')?#:]*)\1\)")  # a file beside a style sheet
VERSION = 16  # hexadecimal digits of the content's SHA-256

Signature = tuple[tuple[Path, int, int, int], ...]  # path, inode, size, change time of all that it is made of


@dataclass(frozen=True)
class StaticFile:
    content: bytes
    compressed: bytes | None  # where that is smaller
    content_type: str
    version: str
    signature: Signature


class StaticFiles:
    """The files below one directory. A file that changes on the disk is read again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._read: dict[str, StaticFile] = {}

    def get(self, name: str) -> StaticFile | None:
        """The file `name` as it is now; None if there is none that may be served."""
        found = self._read.get(name)
        try:
            if found is None or _signature(*(part[0] for part in found.signature)) != found.signature:
                found = self._read[name] = self._load(name)
        except (OSError, ValueError):  # not there, or no name of a file
            self._read.pop(name, None)
            return None
        return found

    def _load(self, name: str) -> StaticFile:
        joined = safe_join(str(self._directory), name)
        if joined is None or posixpath.normpath(name) != name:  # one file has one name, or memory would fill
            raise ValueError(name)
        path = Path(joined)
        if path.suffix not in TYPES:
            raise ValueError(name)
        before = _signature(path)
        content = path.read_bytes()
        if path.suffix == ".css":
            content, named = self._with_versions(content, path.parent)
            before += named
        packed = gzip.compress(content, mtime=0) if path.suffix in COMPRESSED else content
        return StaticFile(
            content,
            packed if len(packed) < len(content) else None,
            TYPES[path.suffix],
            hashlib.sha256(content).hexdigest()[:VERSION],
            before,
        )

    def _with_versions(self, css: bytes, folder: Path) -> tuple[bytes, Signature]:
        """The style sheet with the versions of the files that it names, fonts say, and their signature."""
        named: Signature = ()

        def versioned(reference: re.Match[bytes]) -> bytes:
            nonlocal named
            path = posixpath.normpath((folder / reference[2].decode()).as_posix())
            file = self.get(posixpath.relpath(path, self._directory.as_posix()))
            if file is None or path.endswith(".css"):
                return reference[0]
            named += file.signature
            return b'url("%s?v=%s")' % (reference[2], file.version.encode())

        return REFERENCE.sub(versioned, css), named


def _signature(*paths: Path) -> Signature:
    """Raises OSError where one is gone."""
    found = ((path, path.stat()) for path in paths)
    return tuple((path, stat.st_ino, stat.st_size, stat.st_mtime_ns) for path, stat in found)


def init_app(app: Flask, directory: Path) -> None:
    """Serve `directory` below /static/."""
    files = StaticFiles(directory)

    def serve(filename: str) -> Response:
        file = files.get(filename)
        if file is None:
            raise NotFound("This file does not exist.", "Reload the page that named it.")
        return answer(file)

    def add_version(endpoint: str, values: dict[str, Any]) -> None:
        if endpoint == "static" and (file := files.get(values.get("filename", ""))):
            values.setdefault("v", file.version)

    app.add_url_rule("/static/<path:filename>", "static", serve, methods=["GET"])
    app.url_defaults(add_version)


def answer(file: StaticFile) -> Response:
    """`file` as the client can take it. For ever only under its own version: another may come from a new
    page while an old process still runs.
    """
    packed = file.compressed if request.accept_encodings["gzip"] > 0 else None
    response = Response(packed or file.content, content_type=file.content_type)
    response.headers["Cache-Control"] = FOR_EVER if request.args.get("v") == file.version else ASK_FIRST
    response.vary.add("Accept-Encoding")
    if packed:
        response.headers["Content-Encoding"] = "gzip"
    response.set_etag(f"{file.version}-gzip" if packed else file.version)
    response.make_conditional(request)
    return response
