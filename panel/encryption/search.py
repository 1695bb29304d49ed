"""Search files for bytes, in a process that holds no database connection (see `residue.scan`).

Reads {"files": […], "needles": [base64, …]} from standard input, prints
{"searched": […], "found": […]}: names of files, never what was looked for.
"""

from __future__ import annotations

import base64
import json
import mmap
import sys
from pathlib import Path


def search(files: list[Path], needles: list[bytes]) -> dict[str, list[str]]:
    """Which of the `files` that exist hold one of the `needles`."""
    present = [path for path in files if path.is_file()]
    found = []
    for path in present:
        if path.stat().st_size and _holds(path, needles):
            found.append(path.name)
    return {"searched": [path.name for path in present], "found": found}


def _holds(path: Path, needles: list[bytes]) -> bool:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return any(data.find(needle) >= 0 for needle in needles)


if __name__ == "__main__":
    request = json.load(sys.stdin)
    print(
        json.dumps(
            search([Path(f) for f in request["files"]], [base64.b64decode(n) for n in request["needles"]])
        )
    )
