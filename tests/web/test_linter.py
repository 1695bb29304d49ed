"""The page linter can fail: each thing that it forbids is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from panel.config import ROOT
from tests.web import linter, template_check

GOOD = """<html><body><form method="post" action="/x"><input type="hidden" name="csrf_token" value="t">
<label for="a">A</label><input id="a" name="a"><button type="submit">Go</button></form></body></html>"""


def test_a_good_page_passes() -> None:
    assert linter.problems(GOOD) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<label", "<script>alert(1)</script><label"),
        ("<label", "<style>p{}</style><label"),
        ('name="a"', 'name="a" style="color: red"'),
        ('name="a"', 'name="a" onclick="go()"'),
        ('name="a"', 'name="a" hx-on:click="go()"'),
        ('name="a"', 'name="a" hx-trigger="click[ctrlKey]"'),
        ('name="a"', 'name="a" hx-vals="js:{a: 1}"'),
        ('name="a"', 'name="a" hx-target="#nowhere"'),
        ('name="a"', 'name="a" aria-describedby="nowhere"'),
        ('name="csrf_token" value="t"', 'name="other"'),
        ('<label for="a">A</label>', '<p id="a">A</p>'),
        ("</body>", "<button>Nothing</button></body>"),
        ("</body>", '<a href="#nowhere">x</a></body>'),
        ("</body>", '<a href="javascript:go()">x</a></body>'),
        ('method="post" action="/x"', 'method="post"'),
    ],
)
def test_each_problem_is_found(old: str, new: str) -> None:
    assert linter.problems(GOOD.replace(old, new))


def test_the_templates_pass_and_a_bad_one_does_not(tmp_path: Path) -> None:
    assert template_check.check(ROOT / "templates") == []
    (tmp_path / "bad.html").write_text('<p style="x">{{ a | safe }}</p><button hx-on:click="b"></button>')
    (tmp_path / "page.jinja").write_text("")
    assert len(template_check.check(tmp_path)) == 4
