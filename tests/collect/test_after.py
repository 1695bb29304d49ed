"""What becomes of delivered mail on its server: nothing by default, and never before it is safe here."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from panel.errors import MailError
from panel.models import Account
from tests.collect.conftest import PostOffice, letter
from tests.collect.test_once import KILL_AT

LETTERS = [letter(number) for number in range(6)]


def on_server(post: PostOffice, account: Account, folder: str = "INBOX") -> dict[bytes, str]:
    """The messages that lie on the server, with the flags that the Maildir's file names carry."""
    maildir = post.dovecot.maildir(post.user(account), folder)
    files = [path for part in ("cur", "new") for path in (maildir / part).iterdir()]
    return {path.read_bytes(): path.name.partition(":2,")[2] for path in files}


def wanting(post: PostOffice, action: str, move_to: str = "") -> Account:
    account = post.add(*LETTERS)
    Account.update(on_server=action, move_to=move_to).execute()
    return account


def test_mail_is_kept_unread_by_default(post: PostOffice) -> None:
    account = post.add(*LETTERS)
    post.collect(account)
    assert on_server(post, account) == dict.fromkeys(LETTERS, "")


def test_it_can_be_marked_as_read(post: PostOffice) -> None:
    account = wanting(post, "seen")
    post.collect(account)
    assert on_server(post, account) == dict.fromkeys(LETTERS, "S")
    assert post.mail(account) == sorted(LETTERS)


def test_it_can_be_moved_to_another_folder(post: PostOffice) -> None:
    account = wanting(post, "move", "Größe & Co")
    post.dovecot.maildir(post.user(account), "Gr&APYA3w-e &- Co")
    post.collect(account)
    assert on_server(post, account) == {}
    assert set(on_server(post, account, "Gr&APYA3w-e &- Co")) == set(LETTERS)
    assert post.mail(account) == sorted(LETTERS)


def test_it_can_be_deleted_and_what_others_marked_as_deleted_stays(post: PostOffice) -> None:
    account = wanting(post, "delete")
    post.collect(account)
    assert on_server(post, account) == {}
    marked = post.dovecot.deliver(post.user(account), letter(77))
    marked.rename(marked.parent.parent / "cur" / f"{marked.name}:2,ST")
    Account.update(on_server="keep").execute()
    post.collect(account)
    Account.update(on_server="delete").execute()
    post.deliver(account, letter(78))
    post.collect(account)
    assert on_server(post, account) == {letter(77): "ST"}


def test_what_was_delivered_before_somebody_chose_to_delete_stays(post: PostOffice) -> None:
    account = post.add(*LETTERS)
    post.collect(account)
    Account.update(on_server="delete").execute()
    post.deliver(account, letter(9))
    post.collect(account)
    assert on_server(post, account) == dict.fromkeys(LETTERS, "")


def test_what_was_skipped_stays_on_the_server(post: PostOffice, monkeypatch: pytest.MonkeyPatch) -> None:
    account = wanting(post, "delete")
    large = letter(99, b"x" * 20_000 + b"\r\n")
    post.deliver(account, large)
    monkeypatch.setattr(
        "panel.mail.policy.Policy.of",
        classmethod(lambda cls, s: cls(s.mail_ports, (), s.mail_ca_file, max_message=10_000)),
    )
    post.collect(account)
    assert list(on_server(post, account)) == [large]
    assert len(post.skipped(account)) == 1


@pytest.mark.parametrize(
    ("step", "when", "number"),
    [
        ("publish", "before", 1),
        ("rename", "after", 3),
        ("sync_new", "before", 1),
        ("_clear_ready", "before", 2),
    ],
)
def test_a_kill_before_mail_is_safe_here_deletes_nothing_that_is_not(
    post: PostOffice, step: str, when: str, number: int
) -> None:
    account = wanting(post, "delete")
    process = post.python(KILL_AT, step, when, str(number), account.uuid)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, output
    assert set(on_server(post, account)) == set(LETTERS)
    post.collect(account)
    assert post.mail(account) == sorted(LETTERS)
    assert on_server(post, account) == {}


def test_a_kill_between_doing_and_noting_it_is_made_good(post: PostOffice) -> None:
    account = wanting(post, "move", "Done")
    post.dovecot.maildir(post.user(account), "Done")
    process = post.python(KILL_AT, "move", "after", "1", account.uuid)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, output
    post.collect(account)
    assert set(on_server(post, account, "Done")) == set(LETTERS)
    assert post.mail(account) == sorted(LETTERS)
    assert not [row for row in post.fetched(account) if row.pending]


def test_a_missing_folder_is_named_and_mail_goes_on_coming_in(post: PostOffice) -> None:
    account = wanting(post, "move", "Nowhere")
    with pytest.raises(MailError, match="cannot be moved to “Nowhere”"):
        post.collect(account)
    assert post.mail(account) == sorted(LETTERS)
    row = post.row(account)
    assert row.problem and "Nowhere" in row.problem and not row.permanent
    post.deliver(account, letter(50))
    with pytest.raises(MailError):
        post.collect(account)
    assert letter(50) in post.mail(account)
    post.dovecot.maildir(post.user(account), "Nowhere")
    post.collect(account)
    assert len(on_server(post, account, "Nowhere")) == 7


def test_after_new_numbers_what_is_owed_is_done_to_the_same_messages(post: PostOffice) -> None:
    account = wanting(post, "move", "Nowhere")
    with pytest.raises(MailError):
        post.collect(account)
    post.dovecot.new_uidvalidity(post.user(account))
    post.dovecot.maildir(post.user(account), "Nowhere")
    outcome = post.collect(account)
    assert outcome.delivered == 0
    assert set(on_server(post, account, "Nowhere")) == set(LETTERS)


def test_files_stay_where_they_are(post: PostOffice) -> None:
    account = wanting(post, "delete")
    post.collect(account)
    taken = next(Path(post.spool(account) / "new").iterdir())
    taken.unlink()
    post.collect(account)
    assert len(post.mail(account)) == len(LETTERS) - 1
