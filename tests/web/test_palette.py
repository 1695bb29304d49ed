"""Promise: whatever is written can be read, in light and in dark: WCAG 2.2's contrast, by arithmetic.

axe looks at each page in light; the style sheet names all its colours in one list, in which
light and dark stand side by side.
"""

from __future__ import annotations

import re

import pytest

from panel.config import ROOT

CSS = (ROOT / "static/panel.css").read_text("utf-8")
PAGES = (ROOT / "static/pages.css").read_text("utf-8")
PALETTE = dict(re.findall(r"--([\w-]+): light-dark\((#\w{6}, #\w{6})\)", CSS))
TEXT = ("text", "soft", "accent", "good", "warn", "bad")
GROUNDS = ("ground", "side", "surface", "raised", "sunk", "hover")
OF_ITS_OWN = [
    ("on-fill", "fill"), ("on-fill", "fill-hover"), ("on-ink", "ink"), ("ink-soft", "ink"),
    ("text", "accent-tint"), ("accent", "accent-tint"), ("soft", "accent-tint"), ("surface", "good"),
    ("surface", "warn"), ("surface", "bad"),
] + [(text, f"{kind}-tint") for kind in ("good", "warn", "bad") for text in (kind, "text", "soft")]  # fmt: skip
PAIRS = [(text, ground) for text in TEXT for ground in GROUNDS] + OF_ITS_OWN
LEAST, LEAST_OF_EDGES = 4.5, 3.0  # success criteria 1.4.3 and 1.4.11


def luminance(colour: str) -> float:
    """Relative luminance of `#rrggbb`, as WCAG 2.2 defines it."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(share * value for share, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str, look: int) -> float:
    """Between two colours of the list, in light (0) or dark (1)."""
    dark, light = sorted(luminance(PALETTE[name].split(", ")[look]) for name in (one, other))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("look", [0, 1], ids=["light", "dark"])
def test_all_text_stands_out_from_what_it_is_written_on(look: int) -> None:
    assert [(pair, found) for pair in PAIRS if (found := contrast(*pair, look)) < LEAST] == []


@pytest.mark.parametrize("look", [0, 1], ids=["light", "dark"])
def test_the_edges_of_what_can_be_used_stand_out(look: int) -> None:
    seen = ("edge", "accent", "bar", "good-dot", "warn-dot", "bad-dot")
    pairs = [(edge, ground) for edge in seen for ground in ("surface", "ground")]
    assert [(pair, found) for pair in pairs if (found := contrast(*pair, look)) < LEAST_OF_EDGES] == []


def test_the_style_sheet_has_no_colour_beside_its_list() -> None:
    rest = (CSS.partition("--radius")[2] + PAGES).partition("@media print")[
        0
    ]  # on paper all is black on white
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b|\brgba?\(|\bhsla?\(|\blight-dark\(", rest) == []


def test_the_arithmetic_is_that_of_wcag() -> None:
    assert luminance("#ffffff") == pytest.approx(1)
    assert 1.05 / (luminance("#767676") + 0.05) == pytest.approx(4.54, abs=0.01)
