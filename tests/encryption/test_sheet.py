"""Promises of the recovery sheet's lines (panel.encryption.exports.sheet): what is mistyped is found, and named by its line."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from panel.crypto.keyfile import Key, KeyFile
from panel.encryption.exports import copies, sheet, sheet_page
from panel.encryption.exports.sheet_page import About
from panel.errors import BadCopy, Refused

FILE = KeyFile(bytes(range(16)), (Key(bytes(range(32, 64))), Key(bytes(range(100, 132)))), 7)
DATA = FILE.to_bytes()
LINES = sheet.lines(DATA)
TEXT = "\n".join(LINES)
ABOUT = About("https://help.example.org", "2026-11-23 20:15:04 UTC")


def told(lines: list[str]) -> str:
    with pytest.raises(BadCopy) as bad:
        sheet.read("\n".join(lines))
    assert bad.value.remedy
    return bad.value.message


def with_line(number: int, line: str) -> list[str]:
    return [*LINES[: number - 1], line, *LINES[number:]]


def places(line: str) -> list[int]:
    """Where the characters of a line stand, behind its number."""
    return [at for at, character in enumerate(line) if character in sheet.VALUES and at > line.index(":")]


# -- what is typed right -----------------------------------------------------------


def test_a_line_is_what_it_has_always_been() -> None:
    """Sheets in safes must be readable for ever: these lines may never change."""
    assert LINES[0] == "1: H56M PP8D 18D0 M080 0010 0000 0000 0000 69"
    assert sheet.read("1: H56M PP8D 18D0 M080 0010 0000 0000 0000 69\n" + "\n".join(LINES[1:])) == DATA


@given(st.binary(min_size=1, max_size=2000))
def test_whatever_the_bytes_they_come_back(data: bytes) -> None:
    assert sheet.read("\n".join(sheet.lines(data))) == data


TYPED: dict[str, Callable[[str], str]] = {
    "as printed": lambda text: text,
    "small letters": str.lower,
    "without spaces": lambda text: text.replace(" ", ""),
    "wrapped anywhere": lambda text: text.replace(" ", "\n   "),
    "all in one line": lambda text: text.replace("\n", " "),
    "line ends of Windows": lambda text: text.replace("\n", "\r\n"),
    "dashes between the groups": lambda text: re.sub(r"(?<=\w) (?=\w)", "-", text),
    "O for 0, I for 1": lambda text: text.replace("0", "O").replace("1", "I"),
    "o for 0, l for 1": lambda text: text.replace("0", "o").replace("1", "l"),
    "no colons": lambda text: text.replace(":", ""),
    "points for colons": lambda text: text.replace(":", "."),
    "with BEGIN and END": lambda text: f"{sheet.BEGIN}\n{text}\n{sheet.END}\n",
    "with words around": lambda text: f"my key\n{sheet.BEGIN} {text} {sheet.END} 12: sheets\n",
    "lines in another order": lambda text: "\n".join(reversed(text.splitlines())),
    "a line twice": lambda text: f"{text}\n{LINES[2]}",
    "blank lines": lambda text: "\n\n" + text.replace("\n", "\n\n") + "\n \n",
    "no-break spaces": lambda text: re.sub(r"(?<=\w) (?=\w)", "\N{NO-BREAK SPACE}", text),
}


@pytest.mark.parametrize("how", TYPED.values(), ids=TYPED)
def test_it_does_not_matter_how_the_lines_are_typed(how: Callable[[str], str]) -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        assert copies.read(how(TEXT).encode(encoding), None) == DATA


# -- what is typed wrong -----------------------------------------------------------


def test_every_single_wrong_character_is_named_by_its_line() -> None:
    for number, line in enumerate(LINES, 1):
        for at in places(line):
            for other in sheet.ALPHABET.replace(line[at], ""):
                said = told(with_line(number, line[:at] + other + line[at + 1 :]))
                assert said == f"Line {number} has a wrong character."


def test_a_character_that_is_on_no_sheet_is_named_by_its_group() -> None:
    for number, line in enumerate(LINES, 1):
        for count, at in enumerate(places(line)):
            for other in "U?ä:/":
                said = told(with_line(number, line[:at] + other + line[at + 1 :]))
                assert said == f"Line {number} has a character in group {count // 4 + 1} that is on no sheet."


def test_any_two_characters_of_a_line_that_changed_places_are_found() -> None:
    for number, line in enumerate(LINES, 1):
        where = places(line)
        for index, one in enumerate(where):
            for other in where[index + 1 :]:
                typed = list(line)
                typed[one], typed[other] = typed[other], typed[one]
                if typed == list(line):
                    continue
                if other == where[index + 1] or other < where[-2]:  # neighbours anywhere, all within the text
                    assert told(with_line(number, "".join(typed))) == f"Line {number} has a wrong character."


def test_a_character_too_few_or_too_many_is_named_by_its_line() -> None:
    for number, line in enumerate(LINES, 1):
        for at in places(line):
            for typed in (line[:at] + line[at + 1 :], line[:at] + line[at] + line[at:]):
                said = told(with_line(number, typed))
                assert said.startswith(f"Line {number} "), said
                assert not re.search(r"Line (?!{number}\b)", said.replace(f"Line {number}", ""))


def test_lines_whose_content_was_swapped_are_both_named() -> None:
    for one in range(len(LINES) - 2):  # all but the last, which is shorter
        swapped = with_line(one + 1, f"{one + 1}: {LINES[one + 1].partition(': ')[2]}")
        swapped[one + 1] = f"{one + 2}: {LINES[one].partition(': ')[2]}"
        said = told(swapped)
        assert f"Line {one + 1} is the one that belongs under {one + 2}" in said
        assert f"Line {one + 2} is the one that belongs under {one + 1}" in said


def test_every_missing_line_is_named() -> None:
    for number in range(1, len(LINES) + 1):
        assert f"Line {number} is missing" in told([*LINES[: number - 1], *LINES[number:]])
    assert "Lines 3 to 9 are missing: the sheet has 9 lines." in told(LINES[:2])


def test_other_mistakes_are_said_too() -> None:
    assert told([*LINES, "3: 0000"]) == "Line 3 is there twice, and differs."
    assert "Line 10 is not of this sheet" in told([*LINES, *sheet.lines(bytes(200))[9:]])
    assert told(["hello there"]) == "No line of a recovery sheet was found."
    assert told(["0: 0000", *LINES]) == "There is no line 0."
    wrong = told(with_line(2, LINES[1][:-1] + "U")[:4] + LINES[5:])
    assert "Line 2 has a character in group 9" in wrong
    assert "Line 5 is missing." in wrong
    assert "There are 989 more." in told(["999: 0000"])


@given(st.text(max_size=300))
def test_no_text_at_all_ends_in_anything_but_an_answer(text: str) -> None:
    for given_text in (text, f"1: {text}", f"{TEXT}\n{text}"):
        try:
            sheet.read(given_text)
        except BadCopy as error:
            assert error.message


def test_a_key_file_for_which_nobody_types_the_lines_is_refused() -> None:
    with pytest.raises(Refused, match="1000 lines") as refused:
        sheet.lines(bytes(999 * 20 + 1))
    assert "without --sheet" in refused.value.remedy


# -- the page ----------------------------------------------------------------------


def test_the_page_is_read_back_and_its_text_as_a_browser_copies_it_too() -> None:
    html = sheet_page.html(FILE, ABOUT)
    assert copies.read(html, None) == DATA
    assert copies.read(re.sub(rb"<[^>]*>", b"", html), None) == DATA


def test_the_page_asks_for_nothing_and_names_no_whole_instance() -> None:
    html = sheet_page.html(FILE, ABOUT).decode()
    assert not re.search(r"(?:src|href)=|url\(|@import|<script|<link", html)
    assert FILE.instance_id.hex()[:8] in html
    assert FILE.instance_id.hex() not in html
    assert "<script>" not in sheet_page.html(FILE, About("https://x/<script>", "")).decode()


def test_without_mailkeep_the_commands_on_the_page_restore_the_key_file(tmp_path: Path) -> None:
    for count in range(1, 6):  # each of the five lengths that base32 pads differently
        file = KeyFile(bytes(16), tuple(Key(bytes([n]) * 32) for n in range(count)), 1)
        html = sheet_page.html(file, ABOUT).decode()
        restore, compare = re.findall(r'<pre class="command">([^.].*?)</pre>', html, re.DOTALL)[-2:]
        (tmp_path / "typed.txt").write_text("\n".join(sheet.lines(file.to_bytes())) + "\n")
        bash(restore, tmp_path)
        assert (tmp_path / "encryption-key.bin").read_bytes() == file.to_bytes()
        first, second = bash(compare, tmp_path).split("\n")[:2]
        assert first[:64] == second[:64]


def bash(html: str, directory: Path) -> str:
    command = html.replace("&gt;", ">").replace("&#39;", "'")
    done = subprocess.run(["bash", "-e", "-c", command], cwd=directory, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout
