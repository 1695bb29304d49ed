"""What is slow and always comes out the same, done once: compiled templates and routes, log-in passwords."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from flask import Flask
from jinja2 import FileSystemBytecodeCache
from werkzeug.routing import Rule

from panel.crypto.login_hash import CURRENT, Parameters
from panel.secret import Secret

Hash = Callable[[Secret, Parameters], str]
Verify = Callable[[Secret, str], bool]


Builder = Callable[..., tuple[str, str]]
CompileBuilder = Callable[[Rule, bool], Builder]


def compile_once() -> None:
    """Have all applications of this process, and of those it forks, compile each template and route once.

    Templates are kept below TMPDIR, by their sources, for the other processes of a run too.
    """
    Flask.jinja_options = {"bytecode_cache": FileSystemBytecodeCache()}
    Rule._compile_builder = compiling(Rule._compile_builder)  # type: ignore[assignment, method-assign]


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
