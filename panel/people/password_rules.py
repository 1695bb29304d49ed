"""Which login passwords are accepted: any long one that is not among those attackers try first.

There are no composition rules, and nothing is cut off (NIST SP 800-63B, ASVS 6.2).
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from panel.errors import BadInput
from panel.secret import Secret

SHORTEST, LONGEST = 12, 128  # characters, not bytes
LONGEST_BLOCK = 4  # 'abcdabcdabcd' is guessed as quickly as 'abcd'
SHORTEST_RUN = 3
ROWS = (
    "abcdefghijklmnopqrstuvwxyz",
    "01234567890123456789",
    "qwertyuiopasdfghjklzxcvbnm",
    "qwertzuiopasdfghjklyxcvbnm",
    "azertyuiopqsdfghjklmwxcvbn",
    "1q2w3e4r5t6y7u8i9o0p",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm",
)
RUNS = tuple(row for forwards in ROWS for row in (forwards, forwards[::-1]))
LEADING = re.compile(r"\A[\W\d_]+")  # a pattern for the end would be tried at every position
LOOKALIKES = str.maketrans("@4301$5!7", "aaeoissit")


def check(password: Secret, email: str, name: str) -> None:
    """Raise BadInput(field='password') unless `password` may be the login password of that person."""
    text = password.reveal()
    if len(text) < SHORTEST:
        raise _refused(
            f"The password is too short: it has {len(text)} characters, {SHORTEST} are needed.",
            "Several words in a row are easy to remember.",
        )
    if len(text) > LONGEST:
        raise _refused(f"The password is longer than {LONGEST} characters.", "Choose a shorter one.")
    if _names(text, email, name):
        raise _refused(
            "The password is the name or email address itself.", "Choose one that cannot be looked up."
        )
    if is_common(text):
        raise _refused(
            "This password is among the first that attackers try.",
            "Choose another one, such as several words in a row.",
        )


def _refused(message: str, remedy: str) -> BadInput:
    return BadInput(message, remedy, field="password")


def _names(text: str, email: str, name: str) -> bool:
    local, _, domain = email.partition("@")
    known = {_letters(known) for known in (email, local, domain, name, name + email, email + name)}
    return _letters(text) in known - {""}


def _letters(text: str) -> str:
    """`text` without spaces and punctuation."""
    return re.sub(r"[\W_]", "", text.lower())


def is_common(text: str) -> bool:
    """Whether attackers try `text` first: a common word, a run of keys, a few characters repeated."""
    lower = text.lower()
    return _is_repeated(lower) or _is_runs(lower) or _is_common_word(lower)


def _is_repeated(text: str) -> bool:
    """Whether a block of few characters repeated makes up `text`."""
    return any((text[:size] * len(text))[: len(text)] == text for size in range(1, LONGEST_BLOCK + 1))


def _is_runs(text: str) -> bool:
    """Whether `text` is made of runs of the alphabet, the digits or a keyboard."""
    while text:
        length = max(_run_length(text, row) for row in RUNS)
        if length < SHORTEST_RUN:
            return len(text) < SHORTEST_RUN
        text = text[length:]
    return True


def _run_length(text: str, row: str) -> int:
    length = 0
    while length < len(text) and text[: length + 1] in row:
        length += 1
    return length


def _is_common_word(text: str) -> bool:
    """Whether `text` is a common word, perhaps repeated, with digits and punctuation ('P@ssw0rd2024!')."""
    bare = LEADING.sub("", LEADING.sub("", text)[::-1])[::-1]
    for form in (_letters(bare), _letters(bare.translate(LOOKALIKES)), _letters(text)):
        if any(form and form == word * (len(form) // len(word)) for word in _common_words()):
            return True
    return False


@cache
def _common_words() -> tuple[str, ...]:
    lines = Path(__file__).with_name("common_passwords.txt").read_text("utf-8").splitlines()
    return tuple(line for line in lines if line and not line.startswith("#"))
