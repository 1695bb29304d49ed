"""What one round brings, and what it leaves alone."""

from __future__ import annotations

from tests.collect.conftest import PostOffice, letter


def test_all_mail_of_the_mailbox_comes_with_begin_all(post: PostOffice) -> None:
    account = post.add(letter(1), letter(2), begin="all")
    outcome = post.collect(account)
    assert outcome is not None and outcome.delivered == 2
    assert post.mail(account) == [letter(1), letter(2)]
