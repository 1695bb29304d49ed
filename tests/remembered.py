"""What is slow and always comes out the same, done once in a run: compiled templates, verified passwords."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jinja2
from jinja2.bccache import Bucket

from panel.crypto.login_hash import hash_password
from panel.secret import Secret

Verify = Callable[[Secret, str], bool]


class CompiledTemplates(jinja2.BytecodeCache):
    """Keeps compiled templates by the checksum of their source, for all applications of this process."""

    def __init__(self) -> None:
        """Begin with none."""
        self._kept: dict[tuple[str, str], bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Fill `bucket` if its very source was compiled before."""
        if found := self._kept.get((bucket.key, bucket.checksum)):
            bucket.bytecode_from_string(found)

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep what was compiled."""
        self._kept[bucket.key, bucket.checksum] = bucket.bytecode_to_string()


def verifying(real: Verify) -> Verify:
    """`real`, whose answer to the same password and hash is remembered: Argon2 takes 0.1 s on purpose."""
    answer = functools.cache(lambda password, phc: real(Secret(password), phc))

    @functools.wraps(real)
    def verify(password: Secret, phc: str) -> bool:
        return answer(password.reveal(), phc)

    return verify


@functools.cache
def hashed(password: str) -> str:
    """The hash of `password`, made once, with the parameters of today."""
    return hash_password(Secret(password))
