"""The recovery sheet as a page to print: one HTML file that needs nothing else. Pure but for its template.

segno, which draws the QR codes, is an extra like pyrage.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from panel.crypto.keyfile import KeyFile, fingerprint
from panel.encryption.exports import sheet
from panel.encryption.exports.age import INSTALL
from panel.errors import Refused

LINES_A_CODE = 16  # four keys in the first: a code that a plain camera still reads from paper
TEMPLATE = "sheet.html"


@dataclass(frozen=True)
class About:
    address: str | None  # of the panel, where it is known
    made_at: str  # as it is shown to people


def html(file: KeyFile, about: About) -> bytes:
    """The sheet of `file`. Raises Refused where the extra is not installed, or the file holds too much."""
    data = file.to_bytes()
    lines = sheet.lines(data)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template(TEMPLATE).render(
        about=about,
        begin=sheet.BEGIN,
        end=sheet.END,
        lines=lines,
        codes=[_svg(part) for part in _parts(lines)],
        install_id=file.instance_id.hex()[:8],
        fingerprint=fingerprint(file.primary.id),
        retired=[fingerprint(key.id) for key in file.keys if key.state == "retired"],
        size=len(data),
        padding="=" * (-len(data) % 5 * 8 // 5),
    )
    return text.encode()


def _parts(lines: list[str]) -> list[str]:
    """What the codes say: the lines without their spaces, in capitals and figures only."""
    split = (each.split(":") for each in lines)
    close = [f"{number.strip()}: {line.replace(' ', '')}" for number, line in split]
    cut = [close[at : at + LINES_A_CODE] for at in range(0, len(close), LINES_A_CODE)]
    return [" ".join([sheet.BEGIN, *part, sheet.END]) for part in cut]


def _svg(text: str) -> str:
    svg: str = _segno().make(text, error="m", micro=False).svg_inline(omitsize=True, border=4)
    return svg


def _segno() -> Any:
    try:
        import segno
    except ImportError:
        raise Refused("The package for QR codes is not installed here.", INSTALL) from None
    return segno
