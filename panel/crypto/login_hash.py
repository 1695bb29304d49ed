"""Login passwords: Argon2id (RFC 9106), one way, each hash carrying its own parameters (PHC string)."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from panel.secret import Secret


@dataclass(frozen=True)
class Parameters:
    """Cost of one hash. `memory` in KiB, `time` in passes, `lanes` in threads."""

    memory: int = 32 * 1024
    time: int = 3
    lanes: int = 1


CURRENT = Parameters()
SALT_BYTES, HASH_BYTES = 16, 32
# Matches no password, and takes as long to verify: for unknown addresses and people without a password.
NONE = f"$argon2id$v=19$m={CURRENT.memory},t={CURRENT.time},p={CURRENT.lanes}${'A' * 22}${'A' * 43}"


def hash_password(password: Secret, parameters: Parameters = CURRENT) -> str:
    """The PHC string ($argon2id$v=19$m=…,t=…,p=…$salt$hash) to store for `password`."""
    kdf = Argon2id(
        salt=secrets.token_bytes(SALT_BYTES),
        length=HASH_BYTES,
        iterations=parameters.time,
        lanes=parameters.lanes,
        memory_cost=parameters.memory,
    )
    return kdf.derive_phc_encoded(password.reveal_bytes())


def verify(password: Secret, phc: str) -> bool:
    """Whether `password` is the one that `phc` was made from. False also for what is no such string."""
    try:
        Argon2id.verify_phc_encoded(password.reveal_bytes(), phc)
    except (InvalidKey, ValueError):
        return False
    return True


def is_stale(phc: str) -> bool:
    """Whether `phc` was made with other parameters than today's and should be made anew."""
    p = CURRENT
    return not phc.startswith(f"$argon2id$v=19$m={p.memory},t={p.time},p={p.lanes}$")
