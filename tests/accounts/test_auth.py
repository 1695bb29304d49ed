"""Promises of mailboxes that sign in by OAuth2 or with a secret kept outside (panel.accounts.auth)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from panel import db
from panel.accounts import auth, export, importing, listing, overview, probe, rules, service, totals
from panel.accounts.auth import Auth, Login, Oauth, Outside
from panel.accounts.overview import Health
from panel.accounts.service import New, Seen
from panel.audit import Actor
from panel.errors import (
    BadInput,
    CannotOpen,
    CannotStore,
    ConsentNeeded,
    OutsideSecretError,
    PasswordNeeded,
    Refused,
)  # fmt: skip
from panel.listing import ListQuery
from panel.mail.server import MailServer
from panel.models import Account, Activity, Consent, Endpoint, OauthApp
from panel.models.oauth import AppPlace, new_uid
from panel.secret import Secret
from panel.sending import service as sending
from panel.vault.credential import Credential
from tests.encryption.conftest import House
from tests.running import Environ

ADA = Actor("ada@example.org")  # at a page
WHERE = MailServer("imap", "imap.example.org", 993, "tls", "support@example.org")
SMTP = MailServer("smtp", "smtp.example.org", 465, "tls", "support@example.org")


@pytest.fixture
def environ(environ: Environ, tmp_path: Path) -> Environ:
    (tmp_path / "secrets").mkdir(mode=0o700)
    return environ | {"PANEL_SECRETS_DIR": str(tmp_path / "secrets")}


@pytest.fixture
def on(house: House) -> Iterator[House]:
    """An install that encrypts, with one app of each kind."""
    house.enable()
    app(house, "corporate")
    app(house, "m365", provider="microsoft", tenant="contoso.example")
    app(house, "robot", access="application")
    yield house


def app(house: House, name: str, **over: str) -> OauthApp:
    place = AppPlace(new_uid(), name, "issuer", "", "https://login.example.org", "client", "", "delegated")
    row = OauthApp(created_at=db.now())
    row.secret = Secret("client-secret-marker")
    row.save(place=replace(place, **over))
    return OauthApp.get(OauthApp.name == name)


def add(
    house: House,
    how: Auth,
    where: MailServer = WHERE,
    sends: Login | None = None,
    who: Actor = ADA,
    address: str = "support@example.org",
) -> str:
    return service.add(house.vault, New(rules.mailbox(address), where, how, "now", sends), who)


def edit(house: House, how: Auth | None, where: MailServer | None = None, who: Actor = ADA) -> None:
    account, _ = service.find("support@example.org")
    box = service.mailbox_of(account)
    service.edit(house.vault, account.uuid, box, where, how, Seen(), who)


def endpoint(direction: str = "in") -> Endpoint:
    return Endpoint.get(Endpoint.direction == direction)


def connect(house: House, token: str = "refresh-token-marker") -> str:
    """Somebody signs in, as panel.accounts.connecting stores it; the consent's uid."""
    row = Consent.get()
    row.connected_at, row.ended_at = db.now(), None
    row.secret = Secret(token)
    row.save(place=replace(row.place, subject="sub"))
    return str(row.uid)


def line(house: House) -> overview.Line:
    found = overview.line(house.vault, service.find("support@example.org")[0].uuid)
    assert found is not None
    assert totals.read(house.vault.latest()).health == {found.health: 1}, "both say the same"
    return found


# -- what is stored ------------------------------------------------------------------------


def test_a_mailbox_by_oauth_waits_for_its_consent(on: House) -> None:
    add(on, Oauth("corporate", "kim@example.org"))
    row, consent = endpoint(), Consent.get()
    assert (row.kind, row.auth_method, on.opened(row)) == ("consent", "oauth", consent.uid)
    assert (consent.signs_in_as, consent.subject, consent.connected_at) == ("kim@example.org", "", None)
    shown = line(on)
    assert (shown.auth, shown.consent, shown.app, shown.signs_in_as) == (
        "oauth", "needed", "corporate", "kim@example.org",
    )  # fmt: skip
    assert shown.health is Health.CONSENT
    assert auth.as_typed(row, on.vault) == {
        "auth": "oauth", "app": consent.app, "signs_in_as": "kim@example.org",
    }  # fmt: skip


def test_a_mailbox_with_an_outside_secret_stores_its_name_alone(on: House) -> None:
    add(on, Outside("support"))
    row = endpoint()
    assert (row.kind, row.auth_method, on.opened(row)) == ("reference", "plain", "support")
    assert (line(on).auth, line(on).consent, line(on).health) == ("outside", None, Health.NEW)
    assert auth.as_typed(row, on.vault) == {"auth": "outside", "secret_name": "support"}


def test_without_encryption_only_passwords_are_stored(house: House) -> None:
    with pytest.raises(CannotStore) as refused:
        add(house, Outside("support"))
    assert "Turn on encryption first: on the Encryption page, or with " in refused.value.remedy
    assert not Account.select().exists() and not Endpoint.select().exists()


@pytest.mark.parametrize(
    ("how", "field"),
    [(Oauth("unknown"), "app"), (Oauth(""), "app"), (Oauth("corporate", "a\nb"), "signs_in_as"),
     (Oauth("corporate", "x" * 1024), "signs_in_as"), (Outside("../etc/shadow"), "secret_name"),
     (Outside(""), "secret_name"), (Secret(""), "password")],
)  # fmt: skip
def test_what_cannot_sign_in_is_refused_by_its_field(on: House, how: Auth, field: str) -> None:
    with pytest.raises(BadInput) as refused:
        add(on, how)
    assert refused.value.field == field
    assert not Account.select().exists() and not Consent.select().exists()


def test_an_app_that_sql_changed_is_not_used(on: House) -> None:
    on.sql("UPDATE oauth_app SET issuer = 'https://rogue.example' WHERE name = 'corporate'")
    with pytest.raises(CannotOpen):
        add(on, Oauth("corporate"))
    assert not Account.select().exists()


def test_one_consent_serves_collecting_and_sending(on: House) -> None:
    add(on, Oauth("corporate"), sends=Login(SMTP, Oauth("corporate")))
    assert on.opened(endpoint("in")) == on.opened(endpoint("out")) == Consent.get().uid


def test_a_name_for_both_directions_is_sealed_twice(on: House) -> None:
    add(on, Outside("support"), sends=Login(SMTP, Outside("support")))
    assert endpoint("in").sealed != endpoint("out").sealed
    assert on.opened(endpoint("out")) == "support"


# -- another way in place --------------------------------------------------------------------

WAYS: dict[str, Auth] = {
    "password": Secret("typed"),
    "oauth": Oauth("corporate"),
    "outside": Outside("support"),
}


@pytest.mark.parametrize("before", WAYS)
@pytest.mark.parametrize("after", WAYS)
def test_a_mailbox_moves_between_all_ways_in_place(on: House, before: str, after: str) -> None:
    uuid = add(on, WAYS[before])
    edit(on, WAYS[after])
    assert service.find("support@example.org")[0].uuid == uuid
    assert line(on).auth == after
    opened = on.opened(endpoint())
    assert opened == (
        Consent.get().uid if after == "oauth" else {"password": "typed", "outside": "support"}[after]
    )
    assert Consent.select().count() == (after == "oauth"), "no consent is left that nothing uses"
    assert endpoint().server.auth_method == ("oauth" if after == "oauth" else "plain")


def test_activity_says_how_a_mailbox_signs_in_now_and_no_secret(on: House) -> None:
    add(on, Secret("typed-marker"))
    for how in (Oauth("corporate"), Outside("support"), Secret("typed-marker")):
        edit(on, how)
    details = [row.detail for row in Activity.select().where(Activity.what == "mailbox changed")]
    assert details == ["New: sign-in by OAuth2.", "New: secret kept outside.", "New: password."]


def test_moving_needs_the_server_that_the_password_was_entered_for(on: House) -> None:
    add(on, Secret("typed"))
    on.sql("UPDATE endpoint SET host = 'rogue.example.org'")
    for how in (Oauth("corporate"), Outside("support")):
        with pytest.raises(PasswordNeeded):
            edit(on, how)
    assert not Consent.select().exists()


# -- where a token may go ----------------------------------------------------------------------


@pytest.mark.parametrize("changed", [{"host": "rogue.example.org"}, {"port": 143}, {"username": "x"}])
def test_a_changed_server_needs_a_new_consent(on: House, changed: dict[str, object]) -> None:
    add(on, Oauth("corporate"), sends=Login(SMTP, Oauth("corporate")))
    old = connect(on)
    where = replace(WHERE, **changed)  # type: ignore[arg-type]
    with pytest.raises(PasswordNeeded):
        edit(on, None, where)
    edit(on, Oauth("corporate"), where)
    assert Consent.get().uid != old and Consent.get().connected_at is None
    assert on.opened(endpoint("in")) == on.opened(endpoint("out")) == Consent.get().uid
    assert not Consent.select().where(Consent.uid == old).exists(), "the token is gone"


def test_a_sending_server_that_is_added_later_needs_a_new_consent(on: House) -> None:
    """A stolen session could otherwise have the mailbox's token sent to a server of its own."""
    uuid = add(on, Oauth("corporate"))
    old = connect(on)
    rogue = replace(SMTP, host="rogue.example.org")
    sending.store(on.vault, uuid, rogue, Oauth("corporate"), Seen(), ADA)
    assert on.opened(endpoint("out")) != old
    assert [consent.connected_at for consent in Consent.select()] == [None]


def test_the_same_server_keeps_its_consent(on: House) -> None:
    add(on, Oauth("corporate"))
    old = connect(on)
    edit(on, Oauth("corporate"), WHERE)
    assert Consent.get().uid == old and line(on).consent == "ok"


def test_tokens_of_a_large_provider_go_to_its_own_servers_only(on: House) -> None:
    with pytest.raises(BadInput) as refused:
        add(on, Oauth("m365"))
    assert refused.value.field == "host" and "outlook.office365.com" in refused.value.remedy
    own = replace(WHERE, host="outlook.office365.com")
    uuid = add(on, Oauth("m365"), own)
    old = connect(on)
    smtp = replace(SMTP, host="smtp.office365.com", port=587, security="starttls")
    sending.store(on.vault, uuid, smtp, Oauth("m365"), Seen(), ADA)
    assert on.opened(endpoint("out")) == old, "and there one consent is enough"
    with pytest.raises(BadInput):
        edit(on, Oauth("m365"), replace(own, host="rogue.example.org"))


def test_an_app_that_needs_no_person_is_given_servers_in_the_shell_only(on: House) -> None:
    with pytest.raises(Refused, match="shell"):
        add(on, Oauth("robot"))
    add(on, Oauth("robot"), who=Actor())
    assert line(on).consent == "ok", "nobody has to sign in"
    with pytest.raises(Refused, match="shell"):
        edit(on, Oauth("robot"), replace(WHERE, host="rogue.example.org"))


def test_another_app_or_person_needs_a_new_consent(on: House) -> None:
    add(on, Oauth("corporate"))
    for how in (Oauth("corporate", "kim@example.org"), Oauth("robot")):
        old = connect(on)
        edit(on, how, who=Actor())
        assert Consent.get().uid != old


def test_a_consent_whose_app_sql_exchanged_is_not_kept(on: House) -> None:
    add(on, Oauth("corporate"))
    connect(on)
    on.sql("UPDATE consent SET app = (SELECT uid FROM oauth_app WHERE name = 'robot')")
    edit(on, Oauth("corporate"))
    assert Consent.get().connected_at is None and line(on).app == "corporate"


# -- testing -----------------------------------------------------------------------------------


def test_a_rogue_server_is_not_shown_another_mailboxs_outside_secret(on: House, tmp_path: Path) -> None:
    """An administrator's session was stolen: page, shell and collector read no file for that server."""
    (tmp_path / "secrets/support").write_text("outside-marker")
    (tmp_path / "secrets/support.server").write_text("imap.example.org 993 support@example.org\n")
    rogue = replace(WHERE, host="rogue.example.org")
    with pytest.raises(OutsideSecretError):
        probe.entered_source(Login(rogue, Outside("support")), on.settings)
    add(on, Outside("support"), rogue)
    with pytest.raises(OutsideSecretError):
        probe.stored(endpoint(), on.settings, on.vault)


def test_a_row_that_sql_redirected_reads_no_file(on: House, tmp_path: Path) -> None:
    (tmp_path / "secrets/support").write_text("outside-marker")
    (tmp_path / "secrets/support.server").write_text(
        "imap.example.org 993 support@example.org\nother.example.org 993 support@example.org\n"
    )
    add(on, Outside("support"))
    found = probe.stored(endpoint(), on.settings, on.vault)
    assert isinstance(found, Credential) and found.secret.reveal() == "outside-marker"
    for column, value in {
        "host": "other.example.org",
        "username": "x",
        "port": 143,
        "kind": "password",
    }.items():
        (before,) = on.sql(f"SELECT {column} FROM endpoint")
        on.sql(f"UPDATE endpoint SET {column} = ?", value)
        with pytest.raises(CannotOpen):
            probe.stored(endpoint(), on.settings, on.vault)
        on.sql(f"UPDATE endpoint SET {column} = ?", *before)


def test_what_must_be_connected_first_says_so(on: House) -> None:
    with pytest.raises(ConsentNeeded, match="no consent yet"):
        probe.entered_source(Login(WHERE, Oauth("corporate")), on.settings)


# -- states --------------------------------------------------------------------------------------


def test_consents_that_are_missing_or_ended_need_attention(on: House) -> None:
    add(on, Oauth("corporate"))
    connect(on)
    assert (line(on).consent, line(on).health) == ("ok", Health.NEW)
    on.sql("UPDATE consent SET ended_at = ?, ended_code = 'invalid_grant'", db.now())
    assert (line(on).consent, line(on).health) == ("ended", Health.CONSENT)
    on.sql("UPDATE account SET paused_at = ?", db.now())
    assert line(on).health is Health.PAUSED


def test_the_list_shows_them_among_what_needs_attention(on: House) -> None:

    add(on, Oauth("corporate"))
    service.add(on.vault, New(rules.mailbox("other@example.org"), WHERE, Secret("x")), ADA)
    for query in (ListQuery(state="attention"), ListQuery("support", state="attention")):
        assert [each.address for each in listing.page(on.vault, query).rows] == ["support@example.org"]


# -- many at once ----------------------------------------------------------------------------------


def imported(house: House, text: str) -> tuple[int, list[str]]:
    lines = importing.read(io.BytesIO(text.encode()), house.settings)
    done = list(importing.store(house.vault, lines.wanted, ADA))
    bad = [*lines.bad, *(each for batch in done for each in batch.bad)]
    return sum(batch.added for batch in done), [f"{each.line}: {each.why.message}" for each in bad]


def test_all_ways_can_be_imported(on: House) -> None:
    one = {"address": "a@example.org", "host": "imap.example.org"}
    lines = [
        one | {"password": "p"},
        one | {"address": "b@example.org", "app": "corporate", "sign_in_as": "kim@example.org"},
        one | {"address": "c@example.org", "secret_name": "support", "sending": {"host": "smtp.example.org"}},
        one | {"address": "d@example.org", "app": "corporate", "password": "p"},
        one | {"address": "e@example.org", "app": "unknown"},
        one | {"address": "f@example.org", "sign_in_as": "kim@example.org", "password": "p"},
        one | {"address": "g@example.org"},
        one | {"address": "h@example.org", "app": "m365"},
        one | {"address": "i@example.org", "app": "robot"},
        one | {"address": "j@example.org", "auth": "outside", "password": "p"},
    ]
    added, bad = imported(on, "\n".join(json.dumps(each) for each in lines))
    assert added == 3
    assert [each.partition(":")[0] for each in bad] == ["4", "6", "7", "10", "5", "8", "9"]
    kinds = {row.address: row.auth for row in overview.lines(on.vault)}
    assert kinds == {"a@example.org": "password", "b@example.org": "oauth", "c@example.org": "outside"}
    assert on.opened(Endpoint.get(Endpoint.direction == "out")) == "support"


def test_a_line_is_told_in_names_of_columns_what_its_way_needs(on: House) -> None:
    one = {"address": "a@example.org", "host": "imap.example.org"}
    wrong = [
        one | {"auth": "oauth"},
        one | {"auth": "outside", "app": "corporate"},
        one | {"auth": "password"},
        one | {"sign_in_as": "kim@example.org"},
    ]
    assert imported(on, "\n".join(json.dumps(each) for each in wrong)) == (
        0,
        [
            "1: “auth” oauth needs “app”.",
            "2: “auth” outside needs “secret_name”.",
            "3: “auth” password needs “password”.",
            "4: “sign_in_as” needs “app”.",
        ],
    )


def test_the_export_names_no_stored_password_where_there_is_none(on: House) -> None:
    add(on, Outside("support"), address="a@example.org")
    add(on, Oauth("corporate"), address="b@example.org")
    add(on, Secret("x"), address="c@example.org")
    rows = csv.DictReader(io.StringIO("".join(export.as_csv(on.vault, ListQuery(sort="address")))))
    assert [(row["auth"], row["stored_password"]) for row in rows] == [
        ("outside", "none"), ("oauth", "none"), ("password", "encrypted"),
    ]  # fmt: skip


def test_csv_has_columns_for_all_ways(on: House) -> None:
    added, bad = imported(
        on,
        "address,host,password,auth,app,sign_in_as,secret_name\n"
        "a@example.org,imap.example.org,p,,,,\n"
        "b@example.org,imap.example.org,,oauth,corporate,kim@example.org,\n"
        "c@example.org,imap.example.org,,,,,support\n",
    )
    assert (added, bad) == (3, [])


M365 = replace(SMTP, host="smtp.office365.com")


@pytest.mark.parametrize("access", ["delegated", "application"])
def test_the_other_server_of_a_mailbox_gets_no_token_that_is_not_for_it(on: House, access: str) -> None:
    """A server of one's own, then one of the provider's: the first would be handed what belongs to the second."""
    app(on, "contoso", provider="microsoft", tenant="contoso.example", access=access)
    rogue = replace(WHERE, host="rogue.example.org")
    uuid = add(on, Oauth("corporate"), rogue)
    with pytest.raises(Refused, match="its own servers only"):
        sending.store(on.vault, uuid, M365, Oauth("contoso"), Seen(), ADA)
    with pytest.raises(Refused, match="its own servers only"):
        add(on, Oauth("corporate"), rogue, Login(M365, Oauth("contoso")), address="two@example.org")
    assert on.opened(endpoint()) == Consent.get().uid and Consent.get().connected_at is None
    assert Consent.get().app == OauthApp.get(OauthApp.name == "corporate").uid


def test_nor_one_of_an_app_that_opens_all_mailboxes(on: House) -> None:
    uuid = add(on, Oauth("corporate"), replace(WHERE, host="rogue.example.org"))
    with pytest.raises(Refused, match="in the shell only"):
        sending.store(on.vault, uuid, SMTP, Oauth("robot"), Seen(), ADA)
    assert [consent.connected_at for consent in Consent.select()] == [None]


def test_nor_does_the_shell_hand_it_to_a_server_that_it_does_not_show(on: House) -> None:
    shell = Actor()
    uuid = add(on, Oauth("corporate"))
    sending.store(on.vault, uuid, replace(SMTP, host="rogue.example.org"), Oauth("corporate"), Seen(), ADA)
    with pytest.raises(Refused, match="the other server"):
        edit(on, Oauth("robot"), WHERE, shell)
    sending.remove(uuid, shell)
    edit(on, Oauth("robot"), WHERE, shell)
    sending.store(on.vault, uuid, SMTP, Oauth("robot"), Seen(), shell)
    edit(on, Oauth("robot"), replace(WHERE, port=143), shell)
    assert on.opened(endpoint("in")) == on.opened(endpoint("out")) == Consent.get().uid
