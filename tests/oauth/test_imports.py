"""Authlib is imported where it is called: who asks for no token does not pay for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from panel.config import ROOT
from tests.collect.conftest import PostOffice, letter, post

__all__ = ["post"]


@pytest.mark.parametrize("name", ["panel", "panel.collect.round", "panel.sending.outbox", "panel.serve.jobs"])
def test_a_program_that_asks_for_no_token_does_not_import_authlib(name: str) -> None:
    program = f"import sys, {name}; sys.exit('authlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == 0


def test_a_round_of_a_mailbox_with_a_password_does_not_import_authlib(post: PostOffice) -> None:
    account = post.add(letter(1))
    program = "print(collector.collect(sys.argv[1], force=True).delivered, 'authlib' in sys.modules)"
    with post.python(program, account.uuid) as process:
        assert process.communicate(timeout=120)[0] == "1 False\n"
