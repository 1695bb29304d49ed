"""Writing docs/reliability.md's figures: `python -m tests.faults.figures FIGURES.json`, as script/reliability does.

A test that counts what it tried says so with `record_property("reliability", {…})`: `table`, `row`, `column`,
`tried`. Only tests that passed are counted, and each of them fails at the first password lost or state wrong.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from panel.config import ROOT

PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- figures: script/reliability -->\n", "<!-- end of figures -->"
TITLE = "\n### "
TITLES = {
    "faults": ("Faults injected by strace, at every call that writes", "operation"),
    "deaths": ("Deaths inside the process, before and after every sync, link, rename, removal and commit", "operation"),
    "lives": ("Lives of a key at random, against a plain dict", "life"),
    "races": ("Races of real processes", "race"),
    "tokens": ("Refresh tokens that change at each use, at a real provider", "what"),
    "delivering": ("Kills before and after every step while mail goes out", "target"),
    "sending": ("Kills before and after each step while a helpdesk sends, which then sends again", "step"),
    "parking": ("Kills while a session is parked or woken by its server", "step"),
    "day": ("A day of mailboxes whose servers drop, hang and lie at random, in twelve minutes", "what"),
    "flips": ("Bits flipped, one at a time, and the damaged thing accepted", "what"),
    "residue": ("Passwords in clear text, counted over all files: 300 entered, of which 100 were replaced and 100 removed", "what was done"),
}  # fmt: skip
RESULTS = {
    "faults": ("passwords lost", "states wrong"),
    "deaths": ("passwords lost", "states wrong"),
    "lives": ("passwords lost", "states wrong"),
    "races": ("passwords lost", "left in clear text or under an old key"),
    "tokens": ("consents lost", "tokens used twice"),
    "delivering": ("messages lost", "repeated under another id"),
    "sending": ("messages lost", "twice, other than between the server's answer and its note here"),
    "parking": ("messages lost", "twice"),
    "day": ("lost", "twice"),
    "flips": ("accepted",),
}


def main(path: Path) -> None:
    """Put the figures into the page, each table in the place of the one before. Others stay as they are."""
    found = json.loads(path.read_text("utf-8"))
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    inside, _, after = rest.partition(END)
    there = {block.partition("\n")[0]: block for block in inside.split(TITLE)[1:]}
    for name, (title, what) in TITLES.items():
        of_table = [one for one in found if one["table"] == name]
        if of_table:
            there[title] = f"{title}\n{_when()}\n\n{_table(what, of_table, RESULTS.get(name, ()))}"
    tables = [TITLE + there[title] for title, _ in TITLES.values() if title in there]
    PAGE.write_text(before + BEGIN + "".join(tables) + END + after, "utf-8")


def _when() -> str:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    where = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, {os.cpu_count()} cores"
    return f"Run on {today}, at commit {commit.stdout.strip()}, on {where}."


def _table(what: str, found: list[dict[str, object]], results: Sequence[str]) -> str:
    rows = list(dict.fromkeys(str(one["row"]) for one in found))
    columns = list(dict.fromkeys(str(one["column"]) for one in found))
    cells = {(one["row"], one["column"]): one["tried"] for one in found}
    lines = [_line(what, *columns, *results), _line(*["---"] * (1 + len(columns) + len(results)))]
    for row in rows:
        lines.append(_line(row, *(_number(cells.get((row, c))) for c in columns), *["0"] * len(results)))
    return "\n".join(lines) + "\n"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _number(value: object) -> str:
    return "–" if value is None else re.sub(r"(?<=\d)(?=(\d{3})+$)", ",", str(value))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
