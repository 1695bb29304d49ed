"""Third-party files are the very ones that are recorded."""

from __future__ import annotations

import base64
import hashlib

import pytest

from panel.config import ROOT


@pytest.mark.parametrize(
    "directory", [ROOT / "static/vendor", ROOT / "tests/vendor"], ids=["static", "tests"]
)
def test_every_vendored_file_matches_its_recorded_hash(directory: object) -> None:
    folder = ROOT / str(directory)
    lines = [
        line.split() for line in (folder / "VERSIONS").read_text().splitlines() if not line.startswith("#")
    ]
    recorded = {line[0]: line[-1] for line in lines}
    found = {
        str(path.relative_to(folder)): base64.b64encode(hashlib.sha384(path.read_bytes()).digest()).decode()
        for path in folder.rglob("*")
        if path.suffix in (".js", ".woff2")
    }
    assert found == recorded
