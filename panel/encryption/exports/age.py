"""The key file under a passphrase, in the age format (age-encryption.org/v1): `age -d` opens it without us.

pyrage is an extra: a server runs without it, and says how it is installed where it is needed.
"""

from __future__ import annotations

import secrets
import unicodedata
from typing import Any

from panel.encryption.exports.sheet import ALPHABET
from panel.errors import BadCopy, BadInput, Refused
from panel.secret import Secret

INSTALL = (
    "Install it in the folder of the code: .venv/bin/pip install --require-hashes -r requirements/export.txt"
)
ARMOR = b"-----BEGIN AGE ENCRYPTED FILE-----"
BINARY = b"age-encryption.org/"
TOO_SLOW = "Excessive work"  # how age's error begins for a file that is 16 times the work of a second here
SHORTEST, LONGEST = 12, 1024  # characters
FEWEST_KINDS = 5  # different characters
GROUPS, GROUP = 6, 5  # of a generated one: 150 bits


def generate() -> Secret:
    """A passphrase that cannot be guessed: six groups of five characters without look-alikes."""
    groups = ("".join(secrets.choice(ALPHABET.lower()) for _ in range(GROUP)) for _ in range(GROUPS))
    return Secret("-".join(groups))


def require_strong(passphrase: Secret) -> None:
    """Raise BadInput for a passphrase that is quickly guessed, or that nobody could type to `age -d`."""
    text = passphrase.reveal()
    if len(text) < SHORTEST or len(set(text)) < FEWEST_KINDS:
        raise BadInput(
            f"The passphrase is too easy to guess: at least {SHORTEST} characters are needed, "
            f"{FEWEST_KINDS} of them different. Anyone who has the file can guess as often as they like.",
            "Take several words, or leave out --passphrase-file and have one generated.",
            "passphrase",
        )
    if len(text) > LONGEST:
        raise BadInput(
            f"The passphrase is longer than {LONGEST} characters.", "Choose a shorter one.", "passphrase"
        )
    if any(unicodedata.category(character) == "Cc" for character in text):
        raise BadInput(
            "The passphrase holds a line break or another control character, which cannot be typed.",
            "Put it on one line.",
            "passphrase",
        )


def is_age(data: bytes) -> bool:
    """Whether `data` begins like an age file, as text or as bytes."""
    return data.lstrip().startswith((ARMOR, BINARY))


def seal(data: bytes, passphrase: Secret) -> bytes:
    """`data` as an age file, in its text form, which survives mail and converted line ends. Takes a second.

    Raises Refused where the extra is not installed.
    """
    sealed: bytes = _pyrage().passphrase.encrypt(data, passphrase.reveal(), armored=True)
    return sealed


def unseal(data: bytes, passphrase: Secret) -> bytes:
    """What the age file `data` holds. Raises BadCopy for another passphrase or a damaged file, Refused.

    Refused too where decrypting would take minutes: age measures how quick the machine is at this moment.
    """
    pyrage = _pyrage()
    given = data.strip() if data.lstrip().startswith(ARMOR) else data
    for last in (False, False, True):
        try:
            opened: bytes = pyrage.passphrase.decrypt(given, passphrase.reveal())
            break
        except pyrage.DecryptError as error:
            if not str(error).startswith(TOO_SLOW):
                raise BadCopy(
                    "The age file cannot be decrypted: the passphrase is wrong, or the file is damaged.",
                    "Type the passphrase as it was given, spaces and capitals included.",
                ) from None
            if last:
                raise Refused(
                    "Decrypting the age file would take this server minutes: it is busy, or much slower than "
                    "the one that made the file.",
                    "Try again when it has less to do.",
                ) from None
    return opened


def _pyrage() -> Any:
    try:
        import pyrage
    except ImportError:
        raise Refused("The package for age files is not installed here.", INSTALL) from None
    return pyrage
