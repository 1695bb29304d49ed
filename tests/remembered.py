"""What is slow and always comes out the same, done once: compiled templates and routes, log-in passwords."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jinja2
from jinja2.bccache import Bucket
from werkzeug.routing import Rule

from panel.crypto.login_hash import CURRENT, Parameters
from panel.secret import Secret

Hash = Callable[[Secret, Parameters], str]
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


def hashing(real: Hash) -> Callable[..., str]:
    """`real`, which makes one hash of the same password: a real one, with a salt of this run."""
    made = functools.cache(lambda password, parameters: real(Secret(password), parameters))

    @functools.wraps(real)
    def hash_password(password: Secret, parameters: Parameters = CURRENT) -> str:
        return str(made(password.reveal(), parameters))

    return hash_password


Builder = Callable[..., tuple[str, str]]
CompileBuilder = Callable[[Rule, bool], Builder]


def compiling(real: CompileBuilder) -> CompileBuilder:
    """`real`, which Werkzeug calls twice for each route: nine tenths of the time that an application takes."""
    made: dict[tuple[Any, ...], Builder] = {}

    @functools.wraps(real)
    def compile_builder(rule: Rule, append_unknown: bool = True) -> Builder:
        key = (rule.rule, tuple(rule._trace), repr(rule.defaults), append_unknown)
        if key not in made:
            made[key] = real(rule, append_unknown)
        return made[key]

    return compile_builder
