"""The access token of a mailbox: from memory while it is good, by a refresh that loses nothing otherwise."""

from __future__ import annotations

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import peewee
import pytest

from panel import db, identity
from panel.errors import (
    AppFault,
    CannotStore,
    ConsentNeeded,
    DatabaseError,
    KeyAbsent,
    PanelError,
    RestoredCopy,
    Tampered,
    TokenUnavailable,
)
from panel.oauth import client, consents, memory, refreshing, session
from panel.oauth.claims import Claims
from panel.oauth.client import Tokens
from panel.oauth.tokens import TokenRequest
from panel.secret import Secret
from panel.vault import sealer
from tests import disks, running
from tests.oauth.conftest import PANEL, Office, opened
from tests.servers.issuer import Issuer


def test_a_mailbox_that_waits_for_its_consent_says_so(office: Office) -> None:
    account = office.add_mailbox(office.add_app())
    with pytest.raises(ConsentNeeded, match="not connected"):
        office.token(account)
    assert office.asked() == 0


def test_a_token_is_fetched_once_and_used_until_it_ends(office: Office) -> None:
    account = office.connected()
    assert office.token(account) == office.token(account)
    assert office.refreshes() == 1


def test_the_refresh_token_that_came_is_stored_before_the_access_token_is_used(office: Office) -> None:
    account = office.connected()
    before = office.stored(account)
    office.token(account)
    assert office.stored(account) != before
    assert office.consent(account).lease_owner is None
    office.in_new_process().token(account)  # works with what was stored
    assert office.refreshes() == 2


def test_the_scope_is_sent_with_each_refresh(office: Office) -> None:
    account = office.connected()
    office.token(account)
    (entry,) = office.issuer.log()
    assert entry["form"]["scope"] == "openid email offline_access mail"


def test_a_provider_that_keeps_the_refresh_token_is_as_good(office: Office) -> None:
    office.issuer.set(rotate=False)
    account = office.connected()
    before = office.stored(account)
    for _ in range(2):
        office.in_new_process().token(account)
    assert office.stored(account) == before
    assert office.consent(account).lease_owner is None


def test_tokens_of_two_seconds_are_renewed_in_time(office: Office) -> None:
    office.issuer.set(accessSeconds=2)
    account = office.connected()
    began, first = time.monotonic(), office.token(account)
    again = office.token(account)
    assert again == first or time.monotonic() - began > 1
    time.sleep(1.1)
    assert office.token(account) not in {first, again}
    assert office.refreshes() == len({first, again}) + 1


@pytest.mark.parametrize(
    ("life", "before_its_end"), [(3600, 360), (3000, 300), (1200, 300), (600, 300), (100, 50), (2, 1), (0, 0)]
)
def test_a_token_is_renewed_before_it_ends(life: int, before_its_end: int) -> None:
    came = Tokens(Secret("token"), life, None, Claims())
    token = memory.AccessToken.of(came, 1000.0, forced=False)
    assert (token.ends_at, token.renew_at) == (1000 + life, 1000 + life - before_its_end)


def test_a_clock_that_is_an_hour_off_neither_ends_nor_keeps_a_token(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = office.connected()
    first = office.token(account)
    real = time.time
    for hours in (1, -1):
        monkeypatch.setattr(time, "time", lambda hours=hours: real() + hours * 3600)
        assert office.token(account) == first
        assert office.in_new_process().token(account) != first
    assert office.refreshes() == 3


# -- the provider is down, or busy -------------------------------------------------------------


FAULTS = [
    {"status": 503},
    {"status": 429, "headers": {"Retry-After": "7"}},
    {"mode": "drop"},
    {"body": "<html>no JSON</html>"},
    {"body": '{"access_token": 7}'},
    {"body": '{"access_token": "a b", "token_type": "bearer"}'},
    {"body": "[]"},
    {"body": '{"error": "temporarily_unavailable"}', "status": 400},
    {"body": '{"error": 7}', "status": 400},
    {"huge": 500_000},
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: str(fault)[:40])
def test_trouble_of_the_provider_passes_by_itself(office: Office, fault: dict[str, Any]) -> None:
    account = office.connected()
    before = office.stored(account)
    office.issuer.fault(times=3, **fault)
    with pytest.raises(TokenUnavailable) as error:
        office.token(account)
    assert "<" not in str(error.value)
    assert (office.stored(account), office.consent(account).ended_at) == (before, None)
    assert office.consent(account).lease_owner is None
    office.issuer.reset()
    office.in_new_process().token(account)


def test_a_provider_that_hangs_is_left_in_time(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    account = office.connected()
    monkeypatch.setattr(session, "LIMITS", replace(session.LIMITS, seconds=0.3))
    office.issuer.fault(mode="hang", times=2)
    with pytest.raises(TokenUnavailable, match="did not answer in time"):
        office.token(account)
    assert office.asked() == 2  # once more, since the first answer may have been lost
    assert office.in_new_process().token(account)


def test_the_provider_is_not_asked_before_it_wants_to_be(office: Office) -> None:
    account = office.connected()
    office.issuer.fault(status=429, headers={"Retry-After": "70"})
    for interactive in (False, False, True):
        with pytest.raises(TokenUnavailable) as error:
            office.token(account, interactive=interactive)
        assert error.value.retry_after in (69, 70, 71)
    assert office.asked() == 1


def test_an_app_that_fails_is_asked_for_ever_less_often_and_by_a_person_at_once(office: Office) -> None:
    app = office.add_app()
    accounts = [office.add_mailbox(app) for _ in range(5)]
    for account in accounts:
        office.connect(account)
    office.issuer.fault(status=500, times=2)
    for account in accounts:
        with pytest.raises(TokenUnavailable):
            office.token(account)
    assert office.asked() == 1
    with pytest.raises(TokenUnavailable):
        office.token(accounts[0], interactive=True)
    assert office.asked() == 2
    assert office.token(accounts[0], interactive=True)
    assert [office.token(account) for account in accounts]


def test_what_is_valid_is_used_while_the_provider_is_down(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = office.connected()
    first = office.token(account)
    office.issuer.fault(status=503, times=9)
    real = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: real() + 3300)  # to be renewed, and still good
    assert office.token(account) == first
    assert office.refreshes() == 2
    monkeypatch.setattr(time, "monotonic", lambda: real() + 3700)
    with pytest.raises(TokenUnavailable):
        office.token(account)


def test_a_lost_answer_is_asked_for_once_more_with_the_old_token(office: Office) -> None:
    office.issuer.set(strict=False)
    account = office.connected()
    office.issuer.fault(mode="lose")
    assert office.token(account)
    sent = [entry["form"]["refresh_token"] for entry in office.issuer.log()]
    assert len(sent) == 2
    assert sent[0] == sent[1]


def test_a_lost_answer_costs_the_consent_at_a_strict_provider_and_is_seen_at_once(office: Office) -> None:
    account = office.connected()
    office.issuer.fault(mode="lose")
    with pytest.raises(ConsentNeeded):
        office.token(account)
    assert office.consent(account).ended_code == "invalid_grant"


# -- the consent has ended -----------------------------------------------------------------------


def test_a_revoked_consent_is_seen_at_once_and_not_asked_for_again(office: Office) -> None:
    account = office.connected()
    office.issuer.revoke(str(account.address))
    with pytest.raises(ConsentNeeded, match=r"ended this mailbox's consent \(invalid_grant\)"):
        office.token(account)
    row = office.consent(account)
    assert (row.ended_code, row.lease_owner) == ("invalid_grant", None)
    assert row.ended_at is not None
    for interactive in (False, True) * 20:
        with pytest.raises(ConsentNeeded):
            office.in_new_process().token(account, interactive=interactive)
    assert office.asked() == 1


def test_a_mailbox_is_connected_again_whatever_state_it_is_in(office: Office) -> None:
    account = office.connected()
    office.issuer.revoke(str(account.address))
    with pytest.raises(ConsentNeeded):
        office.token(account)
    office.connect(account)
    assert office.token(account)


@pytest.mark.parametrize(
    "error", ["invalid_grant", "consent_required", "interaction_required", "Invalid_Grant"]
)
def test_what_ends_a_consent_is_decided_by_the_error_alone(office: Office, error: str) -> None:
    account = office.connected()
    description = 'AADSTS70043: <b>\\u0000 \\"the token\\"\\r\\nTrace ID'
    office.issuer.fault(status=400, body=f'{{"error": "{error}", "error_description": "{description}"}}')
    with pytest.raises(ConsentNeeded) as shown:
        office.token(account)
    assert "AADSTS70043" in str(shown.value)
    assert "Trace" not in str(shown.value)
    assert office.consent(account).ended_code == "AADSTS70043"


def test_a_mailbox_that_was_connected_anew_meanwhile_is_not_ended_by_the_old_answer(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = office.connected()
    real = client.refresh

    def late(*args: Any) -> object:
        monkeypatch.setattr(client, "refresh", real)
        office.connect(account)
        office.issuer.fault(status=400, body='{"error": "invalid_grant"}')
        return real(*args)

    monkeypatch.setattr(client, "refresh", late)
    with pytest.raises(ConsentNeeded):
        office.token(account)
    assert office.consent(account).ended_at is None
    assert office.token(account)


def test_a_mailbox_that_was_connected_anew_meanwhile_keeps_the_newer_consent(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = office.connected()
    real, newer = client.refresh, []

    def late(*args: Any) -> object:
        monkeypatch.setattr(client, "refresh", real)
        came = real(*args)
        office.connect(account, "somebody@example.org")
        newer.append(office.stored(account))
        return came

    monkeypatch.setattr(client, "refresh", late)
    office.token(account)
    assert office.issuer.log()[-1]["form"]["refresh_token"] == newer[0]
    assert office.consent(account).subject == "somebody@example.org"


# -- the app's own fault ---------------------------------------------------------------------------


def test_a_wrong_client_secret_is_the_fault_of_the_app_and_costs_no_consent(office: Office) -> None:
    account = office.connected()
    app = office.app_of(account)
    app.secret = Secret("wrong")
    app.save()
    for _ in range(3):
        with pytest.raises(AppFault, match="client ID or secret") as error:
            office.token(account)
        assert error.value.app == app.uid
    assert office.asked() == 1
    row = office.app_of(account)
    assert row.problem == error.value.message
    assert office.consent(account).ended_at is None
    row.secret = Secret(PANEL.secret)
    row.save()
    assert office.token(account)  # at once, though it is asked less often while it fails
    assert office.app_of(account).problem is None


def test_a_fault_of_the_app_that_another_process_saw_end_is_over_everywhere(office: Office) -> None:
    account = office.connected()
    office.issuer.fault(status=401, body='{"error": "invalid_client"}')
    for _ in range(2):
        with pytest.raises(AppFault):
            office.token(account)
    assert office.asked() == 1
    assert office.in_new_process().token(account)
    assert office.token(account)


def test_an_app_signs_in_for_all_its_mailboxes_by_one_token(office: Office) -> None:
    app = office.add_app(access="application")
    accounts = [office.add_mailbox(app) for _ in range(3)]
    assert len({office.token(account) for account in accounts}) == 1
    (entry,) = office.issuer.log()
    assert entry["form"]["grant_type"] == "client_credentials"


def test_an_app_without_application_access_does_not_sign_in_by_itself(office: Office) -> None:
    account = office.add_mailbox(office.add_app())
    office.sql("UPDATE oauth_app SET access = 'application'")
    with pytest.raises(Tampered):
        office.token(account)
    assert office.asked() == 0


# -- what is made sure of before -------------------------------------------------------------------


def test_nothing_is_sent_while_the_key_is_away(office: Office) -> None:
    account = office.connected()
    key = office.settings.key_file
    shutil.move(key, key.with_name("away"))
    with pytest.raises(KeyAbsent):
        office.token(account)
    assert office.asked() == 0
    shutil.move(key.with_name("away"), key)
    assert office.token(account)


def test_nothing_is_sent_by_a_restored_copy(office: Office) -> None:
    account = office.connected()
    (office.settings.data_dir / identity.FILE).write_text("00" * 16)
    with pytest.raises(RestoredCopy):
        office.token(account)
    assert office.asked() == 0


@pytest.mark.parametrize("trouble", ["database or disk is full", "attempt to write a readonly database"])
def test_nothing_is_sent_where_the_database_takes_no_write(
    office: Office, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    account = office.connected()

    def full(self: object) -> None:
        raise peewee.OperationalError(trouble)

    with monkeypatch.context() as patch:
        patch.setattr(db.GuardedSqlite, "commit", full)
        with pytest.raises(DatabaseError):
            office.token(account)
    assert office.asked() == 0
    assert office.token(account)


def test_nothing_is_sent_while_the_disk_is_full(tmp_path: Path, issuer: Issuer) -> None:
    with disks.disk(tmp_path / "disk", "3m") as disk, opened(running.environ_for(disk), issuer) as office:
        account = office.connected()
        office.in_new_process().token(account)
        disks.spoil(disk, "full disk")
        with pytest.raises(DatabaseError):
            office.token(account)
        assert office.refreshes() == 1
        disks.remedy(disk)
        assert office.token(account)


def test_nothing_is_sent_where_the_key_does_not_seal(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    account = office.connected()

    def refuse(*_: object) -> None:
        raise CannotStore("The key cannot be used.")

    with monkeypatch.context() as patch:
        patch.setattr(sealer.Sealer, "seal", refuse)
        with pytest.raises(CannotStore):
            office.token(account)
    assert office.asked() == 0
    assert office.token(account)


def test_a_refresh_token_that_cannot_be_stored_stays_in_memory_until_it_can(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = office.connected()
    monkeypatch.setattr(refreshing, "COMMIT_PAUSE", 0.0)
    real = consents.store

    def full(*_: object) -> bool:
        raise DatabaseError("The disk is full.")

    monkeypatch.setattr(consents, "store", full)
    for _ in range(3):
        with pytest.raises(DatabaseError):
            office.token(account)
    assert office.refreshes() == 1
    monkeypatch.setattr(consents, "store", real)
    assert office.token(account) == office.token(account)
    assert office.refreshes() == 1
    assert office.stored(account) not in office.issuer.log()[0]["form"].values()
    assert office.in_new_process().token(account)


def test_a_refresh_token_that_could_not_be_stored_is_stored_before_the_old_access_token_ends(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = office.connected()
    first = office.token(account)
    monkeypatch.setattr(refreshing, "COMMIT_PAUSE", 0.0)
    real, clock = consents.store, time.monotonic

    def full(*_: object) -> bool:
        raise DatabaseError("The disk is full.")

    monkeypatch.setattr(consents, "store", full)
    monkeypatch.setattr(time, "monotonic", lambda: clock() + 3300)  # to be renewed, and still good
    assert [office.token(account) for _ in range(3)] == [first] * 3
    assert office.refreshes() == 2
    before = office.stored(account)
    monkeypatch.setattr(consents, "store", real)
    assert office.token(account) != first
    assert office.stored(account) != before
    assert office.refreshes() == 2


def test_what_came_for_a_refused_token_and_could_not_be_stored_is_stored_first(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = office.connected()
    refused = office.request(account).token()
    monkeypatch.setattr(refreshing, "COMMIT_PAUSE", 0.0)

    def full(*_: object) -> bool:
        raise DatabaseError("The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(consents, "store", full)
        with pytest.raises(DatabaseError):
            office.token(account, refused=refused.secret)
        assert office.token(account) == refused.secret.reveal()  # nothing else can be had
    before = office.stored(account)
    assert office.token(account) != refused.secret.reveal()
    assert office.stored(account) != before
    assert office.refreshes() == 2


def test_a_refusal_that_is_unknown_holds_up_no_other_mailbox(office: Office) -> None:
    app = office.add_app()
    accounts = [office.add_mailbox(app) for _ in range(2)]
    for account in accounts:
        office.connect(account)
    office.issuer.fault(status=400, body='{"error": "something_new"}')
    for _ in range(3):
        with pytest.raises(TokenUnavailable, match="something_new"):
            office.token(accounts[0])
    assert office.asked() == 1
    assert office.token(accounts[1])


def test_two_threads_ask_once(office: Office) -> None:
    account = office.connected()
    request = office.request(account)

    def ask(_: int) -> str:
        with db.database.connection_context():
            return request.token().secret.reveal()

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(ask, range(4)))) == 1
    assert office.refreshes() == 1


# -- a token that the mail server refuses -------------------------------------------------------------


def test_a_refused_token_is_renewed_once_and_not_at_each_round(office: Office) -> None:
    account = office.connected()
    first = office.request(account).token()
    second = office.request(account, refused=first.secret).token()
    assert second.secret.reveal() != first.secret.reveal()
    for _ in range(5):  # rounds in which the second one is refused too
        again = office.request(account).token()
        assert office.request(account, refused=again.secret).token().secret.reveal() == second.secret.reveal()
    assert office.refreshes() == 2
    office.vault.memory["tokens"].accepted(second)
    third = office.request(account, refused=second.secret).token()
    assert third.secret.reveal() != second.secret.reveal()


# -- rows that SQL changed -------------------------------------------------------------------------


EDITS = [
    "UPDATE oauth_app SET issuer = '{rogue}'",
    "UPDATE oauth_app SET provider = 'microsoft', tenant = 'evil'",
    "UPDATE oauth_app SET client_id = 'other'",
    "UPDATE oauth_app SET scopes = 'everything'",
    "UPDATE oauth_app SET access = 'application'",
    "UPDATE consent SET subject = 'somebody else'",
    "UPDATE consent SET signs_in_as = 'somebody@example.org'",
    "UPDATE consent SET sealed = (SELECT sealed FROM oauth_app LIMIT 1)",
    "UPDATE oauth_app SET sealed = (SELECT sealed FROM consent LIMIT 1)",
    "UPDATE consent SET sealed = NULL",
    "UPDATE oauth_app SET sealed = NULL",
]


@pytest.mark.parametrize("edit", EDITS)
def test_a_row_that_sql_changed_sends_no_token_anywhere(office: Office, edit: str) -> None:
    account = office.connected()
    office.issuer.forget()
    office.sql(edit.format(rogue=f"http://localhost:{office.issuer.port}"))
    with pytest.raises(PanelError):
        office.token(account)
    assert office.issuer.log() == []
    assert office.issuer.log("/.well-known/openid-configuration") == []


@pytest.mark.parametrize("table", ["oauth_app", "consent"])
def test_a_value_in_clear_text_that_sql_planted_is_sent_to_nobody(office: Office, table: str) -> None:
    account = office.connected()
    office.sql("PRAGMA ignore_check_constraints = 1")
    office.sql(f"UPDATE {table} SET clear = 'planted', sealed = NULL")
    with pytest.raises(Tampered):
        office.token(account)
    assert office.asked() == 0


@pytest.mark.parametrize("edit", [edit for edit in EDITS if edit.startswith("UPDATE consent")])
def test_a_consent_that_sql_changed_is_not_used_though_its_token_is_in_memory(
    office: Office, edit: str
) -> None:
    account = office.connected()
    assert office.token(account) == office.token(account)
    request = office.request(account)
    office.sql(edit)
    with pytest.raises(PanelError):
        request.token()


def test_a_row_that_did_not_change_is_not_opened_again(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = office.connected()
    request = office.request(account)
    given = [request.token(), request.token()]
    monkeypatch.setattr(consents, "find", lambda uid: pytest.fail("it was opened"))
    given.append(request.token())
    assert len({token.secret.reveal() for token in given}) == 1
    with pytest.raises(pytest.fail.Exception):
        replace(request, account="another").token()


def test_the_consent_of_another_mailbox_is_not_used(office: Office) -> None:
    app = office.add_app()
    mine, other = office.add_mailbox(app), office.add_mailbox(app)
    office.connect(other)
    request = office.request(other)
    with pytest.raises(Tampered):
        replace(request, account=mine.uuid).token()
    assert office.asked() == 0


def test_consents_that_were_swapped_send_nothing(office: Office) -> None:
    app = office.add_app()
    accounts = [office.add_mailbox(app) for _ in range(2)]
    for account in accounts:
        office.connect(account)
    one, other = (office.consent(account) for account in accounts)
    office.sql("UPDATE consent SET account_id = ? WHERE uid = ?", accounts[1].uuid, one.uid)
    office.sql("UPDATE consent SET account_id = ? WHERE uid = ?", accounts[0].uuid, other.uid)
    for uid in (one.uid, other.uid):
        for account in accounts:
            with pytest.raises(Tampered):
                TokenRequest(uid, account.uuid, office.vault, office.settings).token()
    assert office.asked() == 0


def test_apps_that_were_swapped_send_nothing(office: Office) -> None:
    """A consent is bound to its app: its refresh token goes to that one's token address alone."""
    account, other = office.connected(), office.add_app()
    office.sql("UPDATE consent SET app = ?", other.uid)
    with pytest.raises(Tampered):
        office.token(account)
    assert office.asked() == 0


def test_no_secret_is_found_in_any_file(office: Office) -> None:
    account = office.connected()
    secrets = [PANEL.secret, office.stored(account)]
    for _ in range(2):
        secrets += [office.in_new_process().token(account), office.stored(account)]
    office.issuer.revoke(str(account.address))
    with pytest.raises(ConsentNeeded):
        office.in_new_process().token(account)
    for secret in secrets:
        assert running.find_marker(office.settings.data_dir, secret) == []
