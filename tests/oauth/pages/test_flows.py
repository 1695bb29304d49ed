"""Promises of a sign-in at a provider: who began it goes on with it, once, and nobody else."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest
from werkzeug.test import TestResponse

from panel import create_app, db
from panel.accounts import connecting as service
from panel.accounts import service as accounts
from panel.audit import Actor
from panel.models import Consent, Endpoint, OauthApp, Pending
from panel.oauth import client, flow_rows, flows
from panel.oauth.flow_rows import Owner
from panel.vault import credential, unfinished
from tests.oauth.pages.connecting import Connecting, path_of
from tests.servers.issuer import Client
from tests.sign_in.browser import Browser, add_person, asked, confirm, later

OVER = "This sign-in is over, or was begun elsewhere."


def tokens_asked(connecting: Connecting) -> int:
    """How often the provider was asked for tokens."""
    return len(connecting.issuer.log())


def is_connected(connecting: Connecting, address: str) -> bool:
    return connecting.consent(connecting.uuid(address)).connected_at is not None


def said(connecting: Connecting, answer: TestResponse) -> str:
    """The page that a redirect leads to."""
    return connecting.follow(answer).text


def test_the_state_of_one_session_connects_nothing_in_another(connecting: Connecting) -> None:
    address = connecting.user()
    ended_at = connecting.sign_in(connecting.add(address), "mallory@example.org")
    victim = Browser(connecting.app)
    victim.sign_in()  # the same person, in another browser
    assert OVER in victim.get(victim.get(path_of(ended_at)).location).text
    add_person("bob@example.org", "admin")
    other = Browser(connecting.app)
    other.sign_in("bob@example.org")
    assert OVER in other.get(other.get(path_of(ended_at)).location).text
    assert tokens_asked(connecting) == 0
    assert not is_connected(connecting, address)
    assert connecting.come_back(ended_at).status_code == 200  # for who began it, it is still good
    assert tokens_asked(connecting) == 1


def test_a_callback_that_nobody_asked_for_connects_nothing(connecting: Connecting) -> None:
    connecting.add(connecting.user())
    for query in ("", "?code=x", "?code=x&state=", "?code=x&state=" + "s" * 3000, "?error=access_denied&state=1",
                  "?state=%00%ff&code=%0d%0a", "?state[]=1&code[]=2", "?code=💥&state=💥"):  # fmt: skip
        answer = connecting.admin.get(f"/oauth/callback/{connecting.uid}{query}")
        assert answer.status_code in (303, 413), query
        assert answer.location in (None, "/accounts")
    assert connecting.admin.get("/oauth/callback/" + "x" * 500 + "?code=1&state=2").status_code == 303
    assert tokens_asked(connecting) == 0


def test_a_code_goes_to_no_other_app_than_the_one_it_was_asked_for(connecting: Connecting) -> None:
    """Mix-up: a rogue issuer has the browser bring an honest issuer's code to the rogue one's own address."""
    rogue = connecting.add_app("Rogue", client_id="rogue")
    address = connecting.user()
    ended_at = connecting.sign_in(connecting.add(address), address)
    astray = path_of(ended_at).replace(connecting.uid, rogue)
    connecting.admin.get(astray)
    assert tokens_asked(connecting) == 0
    connecting.admin.get(path_of(ended_at))  # nor is it good for its own any more: two know its state
    assert tokens_asked(connecting) == 0
    assert not is_connected(connecting, address)


def test_the_answer_of_another_issuer_is_refused(connecting: Connecting) -> None:
    address = connecting.user()
    ended_at = connecting.sign_in(connecting.add(address), address)
    evil = re.sub(r"iss=[^&]+", "iss=https%3A%2F%2Fevil.example", path_of(ended_at))
    assert evil != path_of(ended_at)
    page = connecting.come_back(evil)
    assert "does not say that it comes from the app&#39;s own provider" in page.text
    assert tokens_asked(connecting) == 0


def test_an_answer_is_redeemed_once(connecting: Connecting) -> None:
    address = connecting.user()
    ended_at = connecting.sign_in(connecting.add(address), address)
    first, second = connecting.come_back(ended_at), connecting.come_back(ended_at)
    assert first.request.path == second.request.path
    assert "Signed in as" in first.text and "Signed in as" in second.text
    assert tokens_asked(connecting) == 1
    assert connecting.confirm(first).status_code == 303
    assert OVER in said(connecting, connecting.admin.get(path_of(ended_at)))
    assert tokens_asked(connecting) == 1


def test_an_answer_for_the_shell_that_comes_twice_disturbs_no_redeeming(connecting: Connecting) -> None:
    uuid, house = connecting.waiting(connecting.user()), connecting.house
    owner = Owner("shell", f"{flow_rows.SHELL}1")
    with connecting.database():
        flow = service.begin(house.vault, house.settings, uuid, owner)
        assert flow is not None
        answer = {"code": "x", "state": parse_qs(urlsplit(flow.url).query)["state"][0]}
        assert flows.hand_over(house.vault, connecting.uid, answer)
        before = Pending.get().rev
        assert flows.hand_over(house.vault, connecting.uid, answer | {"code": "y"})
        assert Pending.get().rev == before
        assert flows.handed_over(house.vault, flow.uid, owner)["code"] == "x"


def test_nor_twice_at_the_same_time(connecting: Connecting) -> None:
    address = connecting.user()
    path = path_of(connecting.sign_in(connecting.add(address), address))
    both, found = threading.Barrier(4), []

    def bring() -> None:
        browser = Browser(connecting.app)
        browser.cookie = connecting.admin.cookie
        both.wait(60)
        found.append(browser.get(path).location)

    threads = [threading.Thread(target=bring) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1 and "/connect/" in found[0]
    assert tokens_asked(connecting) == 1
    assert connecting.confirm(connecting.admin.get(found[0])).status_code == 303
    assert is_connected(connecting, address)


def test_a_sign_in_lasts_ten_minutes(connecting: Connecting, monkeypatch: pytest.MonkeyPatch) -> None:
    address = connecting.user()
    page = connecting.add(address)
    ended_at = connecting.sign_in(page, address)
    later(monkeypatch, 601)
    assert OVER in said(connecting, connecting.admin.get(path_of(ended_at)))
    with connecting.database():
        assert not Pending.select().exists()
    assert tokens_asked(connecting) == 0


def test_what_nobody_confirms_is_forgotten(connecting: Connecting, monkeypatch: pytest.MonkeyPatch) -> None:
    address = connecting.user()
    connecting.come_back(connecting.sign_in(connecting.add(address), address))
    with connecting.database():
        assert Pending.select().exists()
        later(monkeypatch, 601)
        unfinished.settle(connecting.house.vault)  # what the worker's tick does
        assert not Pending.select().exists()


def test_nor_is_it_kept_alive_by_a_time_in_the_database(
    connecting: Connecting, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = connecting.user()
    ended_at = connecting.sign_in(connecting.add(address), address)
    later(monkeypatch, 601)
    with connecting.database():
        Pending.update(created_at=db.now()).execute()
    assert OVER in said(connecting, connecting.admin.get(path_of(ended_at)))
    assert tokens_asked(connecting) == 0


def test_it_survives_a_restart(connecting: Connecting) -> None:
    address = connecting.user()
    ended_at = connecting.sign_in(connecting.add(address), address)
    cookie = connecting.admin.cookie
    connecting.admin = Browser(create_app(connecting.house.settings))
    connecting.admin.cookie = cookie
    assert connecting.confirm(connecting.come_back(ended_at)).status_code == 303
    assert is_connected(connecting, address)


def broken(address: str) -> str:
    """As pages show it: it breaks after its "@"."""
    return address.replace("@", "@<wbr>")


def test_who_signed_in_is_shown_before_anything_is_stored(connecting: Connecting) -> None:
    address = connecting.user()
    page = connecting.come_back(connecting.sign_in(connecting.add(address), "delegate@example.org"))
    assert "Signed in as delegate@<wbr>example.org" in page.text
    assert f"You did not sign in as {broken(address)}." in page.text
    assert re.search(r"<dt>Used at</dt><dd>localhost:[0-9]+</dd>", page.text), (
        "and to which server its token goes"
    )
    assert not is_connected(connecting, address)
    answer = connecting.admin.post(f"{page.request.path}/cancel", on=page.request.path)
    assert "Nothing was stored" in said(connecting, answer)
    with connecting.database():
        assert not Pending.select().exists()
    assert not is_connected(connecting, address)


def test_somebody_else_than_before_is_said_plainly(connecting: Connecting) -> None:
    address = connecting.user()
    uuid = connecting.connected(address)
    page = connecting.come_back(connecting.sign_in(connecting.connect(uuid), "bob@example.org"))
    assert "Signed in as bob@<wbr>example.org" in page.text
    assert f"This mailbox was connected as {broken(address)}." in page.text
    assert connecting.consent(uuid).signs_in_as == address
    connecting.confirm(page)
    assert connecting.consent(uuid).signs_in_as == "bob@example.org"


def test_a_person_who_does_not_consent_is_told_so(connecting: Connecting) -> None:
    address = connecting.user()
    page = connecting.add(address)
    state = parse_qs(urlsplit(connecting.provider_url(page)).query)["state"][0]
    answer = connecting.admin.get(f"/oauth/callback/{connecting.uid}?error=access_denied&state={state}")
    assert "access_denied" in said(connecting, answer)
    assert answer.location.startswith("/accounts/")
    assert tokens_asked(connecting) == 0


def test_consent_without_offline_access_is_refused(connecting: Connecting) -> None:
    connecting.issuer.set(refresh=False)
    address = connecting.user()
    page = connecting.come_back(connecting.sign_in(connecting.add(address), address))
    assert "The provider granted no offline access." in page.text
    assert not is_connected(connecting, address)


def test_a_wrong_client_secret_names_the_app(connecting: Connecting) -> None:
    address = connecting.user()
    ended_at = connecting.sign_in(connecting.add(address), address)
    redirect = (connecting.redirect(connecting.uid),)
    connecting.issuer.register(Client(connecting.client_id, "another secret", redirect))
    assert (
        "does not accept the client ID or secret of the app “Company”" in connecting.come_back(ended_at).text
    )


def test_whoever_is_not_signed_in_takes_no_answer_along(connecting: Connecting) -> None:
    address = connecting.user()
    ended_at = connecting.sign_in(connecting.add(address), address)
    stranger = Browser(connecting.app).client
    answer = stranger.get(path_of(ended_at), base_url="http://localhost")
    assert (answer.status_code, answer.location) == (303, "/login?next=/accounts")
    assert "code" not in answer.text


def test_localhost_hands_an_answer_to_the_session_on_127_0_0_1(connecting: Connecting) -> None:
    stranger = Browser(connecting.app).client
    path = f"/oauth/callback/{connecting.uid}?code=a&state=b"
    assert stranger.get(path, base_url="http://localhost:8000").location == f"http://127.0.0.1:8000{path}"
    assert stranger.get(path, base_url="http://127.0.0.1:8000").location == "/login?next=/accounts"
    assert stranger.get(path, base_url="https://localhost:8000").location == "/login?next=/accounts"


# -- what was changed meanwhile, or outside Mailkeep ---------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE endpoint SET host = 'evil.example.org'",
        "UPDATE endpoint SET username = 'somebody@example.org'",
        "UPDATE endpoint SET kind = 'password', auth_method = 'plain'",
        "UPDATE consent SET app = (SELECT uid FROM oauth_app WHERE name = 'Rogue')",
        "UPDATE consent SET subject = 'x'",
        "UPDATE consent SET sealed = NULL",
        "UPDATE oauth_app SET issuer = 'http://127.0.0.1:1'",
        "UPDATE oauth_app SET client_id = 'rogue'",
        "UPDATE account SET address = 'somebody@example.org'",
        "DELETE FROM consent",
    ],
)
def test_no_browser_is_sent_to_a_provider_for_what_was_edited(connecting: Connecting, statement: str) -> None:
    connecting.add_app("Rogue", client_id="rogue")
    uuid = connecting.connected()
    connecting.issuer.forget()
    with connecting.database():
        Pending.delete().execute()
        connecting.house.sql(statement)
    for fields in ({}, {"way": "device"}):
        answer = connecting.admin.post(f"/accounts/{uuid}/connect", on="/accounts/new", **fields)
        assert answer.status_code in (303, 404)
        assert answer.location in (None, f"/accounts/{uuid}")
    with connecting.database():
        assert not Pending.select().exists()
        with pytest.raises(Exception):  # noqa: B017 - each has an error of its own
            service.begin(connecting.house.vault, connecting.house.settings, uuid, Owner("ada", "shell"))
    assert connecting.issuer.log() == connecting.issuer.log("/device/auth") == []


def test_swapped_consents_are_connected_by_nobody(connecting: Connecting) -> None:
    one, other = connecting.connected(), connecting.connected()
    with connecting.database():
        rows = connecting.house.sql("SELECT sealed FROM endpoint ORDER BY id")
        connecting.house.sql("UPDATE endpoint SET sealed = ? WHERE account_id = ?", rows[1][0], one)
        connecting.house.sql("UPDATE endpoint SET sealed = ? WHERE account_id = ?", rows[0][0], other)
    for uuid in (one, other):
        answer = connecting.admin.post(f"/accounts/{uuid}/connect", on="/accounts/new")
        assert answer.location == f"/accounts/{uuid}"


def test_a_server_that_was_changed_meanwhile_is_not_connected(connecting: Connecting) -> None:
    address = connecting.user()
    page = connecting.come_back(connecting.sign_in(connecting.add(address), address))
    uuid = connecting.uuid(address)
    with connecting.database():
        row = Endpoint.get(Endpoint.account == uuid)
        row.secret = credential.open_row(row, connecting.house.vault)
        row.username = "other@example.org"
        row.save()
    assert "has been changed since" in said(connecting, connecting.confirm(page))
    assert not is_connected(connecting, address)


def test_a_mailbox_is_connected_whatever_state_it_is_in(connecting: Connecting) -> None:
    address = connecting.user()
    uuid = connecting.connected(address)
    with connecting.database():
        accounts.pause(uuid, Actor("ada@example.org"))
        Consent.update(ended_at=db.now(), ended_code="invalid_grant").execute()
        OauthApp.update(problem="It fails.", problem_at=db.now()).execute()
    before = connecting.consent(uuid)
    assert (
        "The provider has ended the consent (invalid_grant)."
        in connecting.admin.get(f"/accounts/{uuid}").text
    )
    connecting.confirm(connecting.come_back(connecting.sign_in(connecting.connect(uuid), address)))
    after = connecting.consent(uuid)
    assert (after.ended_at, after.ended_code) == (None, None)
    with connecting.database():
        opened = [credential.open_row(row, connecting.house.vault).reveal() for row in (after,)]
        assert OauthApp.get().problem is None
    assert opened[0] and after.rev > before.rev


def test_without_the_key_nothing_begins_and_says_why(connecting: Connecting) -> None:
    uuid = connecting.connected()
    key, path = connecting.house.key_file.read_bytes(), connecting.house.key_file
    path.unlink()
    answer = connecting.admin.post(f"/accounts/{uuid}/connect", on="/profile")
    page = said(connecting, answer)
    path.write_bytes(key)
    assert "key" in page
    with connecting.database():
        assert not Pending.select().exists()


# -- without coming back: pasted, with a code, by the app itself -----------------------------------


def test_the_address_may_be_pasted_back(connecting: Connecting) -> None:
    address = connecting.user()
    page = connecting.add(address)
    ended_at = connecting.sign_in(page, address)
    where = page.request.path
    for wrong in ("", "hello", "https://example.org/?code=1&state=2", "x" * 4096,
                  f"http://localhost/oauth/callback/{connecting.uid}?code=a&state=b", "http://[::1", "💥"):  # fmt: skip
        answer = connecting.admin.post(f"{where}/paste", on=where, address=wrong)
        assert answer.status_code == 422, wrong
        assert "There is a problem" in answer.text
    assert tokens_asked(connecting) == 0
    answer = connecting.admin.post(f"{where}/paste", on=where, address=f"  {ended_at}\r\n")
    assert connecting.confirm(connecting.follow(answer)).status_code == 303
    assert is_connected(connecting, address)


def test_a_code_for_another_device(connecting: Connecting) -> None:
    address = connecting.user()
    connecting.add(address)
    uuid = connecting.uuid(address)
    page = connecting.connect(uuid, way="device")
    code = re.findall(r'class="code">([^<]+)<', page.text)[0]
    where = page.request.path
    waiting = connecting.follow(
        connecting.admin.post(f"{where}/poll", on=where)
    )  # too early: nobody is asked
    assert code in waiting.text
    assert tokens_asked(connecting) == 0
    connecting.issuer.enter(code, address)
    _let_pass(connecting, 6)
    done = connecting.follow(connecting.admin.post(f"{where}/poll", on=where))
    assert "Signed in as" in done.text
    connecting.confirm(done)
    assert is_connected(connecting, address)


def _let_pass(connecting: Connecting, seconds: int) -> None:
    """As if so many seconds had passed for the flow."""
    with connecting.database():
        row = Pending.select().order_by(Pending.id.desc()).get()
        details = flow_rows.Details.read(credential.open_row(row, connecting.house.vault))
        row.secret = replace(details, next_at=db.now() - seconds).secret
        row.save()


def test_a_device_is_asked_for_no_faster_than_the_provider_wants(connecting: Connecting) -> None:
    address = connecting.user()
    connecting.add(address)
    page = connecting.connect(connecting.uuid(address), way="device")
    where = page.request.path
    headers = {"content-type": "application/json"}
    connecting.issuer.fault(status=400, body='{"error": "slow_down"}', headers=headers)
    _let_pass(connecting, 6)
    for _ in range(3):
        shown = connecting.follow(connecting.admin.post(f"{where}/poll", on=where)).text
    assert tokens_asked(connecting) == 1
    assert "every 10s" in shown


def test_a_provider_that_is_down_for_a_while_ends_no_device_code(connecting: Connecting) -> None:
    address = connecting.user()
    where = connecting.connect(connecting.waiting(address), way="device").request.path
    code = re.findall(r'class="code">([^<]+)<', connecting.admin.get(where).text)[0]
    connecting.issuer.fault(status=503, body="no")
    _let_pass(connecting, 6)
    assert code in connecting.follow(connecting.admin.post(f"{where}/poll", on=where)).text
    connecting.issuer.enter(code, address)
    _let_pass(connecting, 6)
    assert "Signed in as" in connecting.follow(connecting.admin.post(f"{where}/poll", on=where)).text


def test_the_app_itself_is_asked_whether_it_has_access(connecting: Connecting) -> None:
    app = connecting.add_app("Whole company", access="application", client_id=f"{connecting.client_id}-app")
    address = connecting.user()
    refused = connecting.admin.post("/accounts/new", **connecting.form(address, app=app))
    assert refused.status_code in (409, 422) and "shell" in refused.text
    uuid = connecting.waiting(address, app)
    answer = connecting.admin.post(f"/accounts/{uuid}/connect", on=f"/accounts/{uuid}")
    assert "is connected" in said(connecting, answer)
    assert is_connected(connecting, address)
    connecting.issuer.fault(status=401, body='{"error": "invalid_client"}')
    with connecting.database():
        Consent.update(connected_at=None).execute()
    answer = connecting.admin.post(f"/accounts/{uuid}/connect", on=f"/accounts/{uuid}")
    assert "does not accept the client ID or secret" in said(connecting, answer)
    assert not is_connected(connecting, address)


# -- what stays nowhere ------------------------------------------------------------------------------


def test_no_secret_of_a_flow_stands_in_a_file_a_page_or_activity(
    connecting: Connecting, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    address = connecting.user()
    page = connecting.add(address)
    ended_at = connecting.sign_in(page, address)
    callback = connecting.admin.get(path_of(ended_at))
    shown = connecting.follow(callback)
    secrets = [parse_qs(urlsplit(ended_at).query)["code"][0], "MARKER-of-the-client-secret"]
    sent = connecting.issuer.log()[-1]["form"]
    secrets += [sent["code_verifier"]]
    with connecting.database():
        row = Pending.get()
        secrets.append(flow_rows.Details.read(credential.open_row(row, connecting.house.vault)).refresh)
    done = connecting.follow(connecting.confirm(shown))
    uuid = connecting.uuid(address)
    pages = [
        page,
        callback,
        shown,
        done,
        *map(
            connecting.admin.get,
            ("/activity", "/server/oauth", f"/server/oauth/{connecting.uid}", f"/accounts/{uuid}/edit"),
        ),
    ]
    with connecting.database():
        events = [" ".join(map(str, row)) for row in connecting.house.sql("SELECT * FROM activity")]
    texts = [each.text + str(each.headers) for each in pages] + events + [caplog.text]
    assert len(secrets) == 4 and all(len(secret) > 10 for secret in secrets)
    for secret in secrets:
        assert not [text for text in texts if secret in text]
        assert connecting.house.files_with(secret) == []
    assert "mailbox connected" in " ".join(events)


def test_nor_does_a_device_code(connecting: Connecting, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    page = connecting.connect(connecting.waiting(connecting.user()), way="device")
    with connecting.database():
        code = flow_rows.Details.read(credential.open_row(Pending.get(), connecting.house.vault)).device_code
    assert len(code) > 20
    assert code not in page.text + str(page.headers) + caplog.text + connecting.admin.get("/activity").text
    assert connecting.house.files_with(code) == []


def test_microsoft_s_own_access_takes_no_sign_in_and_goes_to_its_servers_alone(
    connecting: Connecting, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = connecting.known_app("microsoft", "application")
    asked_for: list[str] = []
    monkeypatch.setattr(client, "application_token", lambda row, *_: asked_for.append(row.tenant))
    form = connecting.form("office@contoso.example", provider="microsoft", host="evil.example.org", app="")
    answer = connecting.admin.post("/accounts/new", **form | {"app_microsoft": app})
    assert "office@contoso.example is connected." in said(connecting, answer)
    assert asked_for == ["contoso.example"]
    with connecting.database():
        assert [str(row.host) for row in Endpoint.select()] == ["outlook.office365.com"]
        assert Consent.get().connected_at and not Pending.select().exists()


def test_google_has_no_device_code_for_mail(connecting: Connecting) -> None:
    app = connecting.known_app("google")
    form = connecting.form("office@example.net", provider="google", app="")
    connecting.admin.post("/accounts/new", **form | {"app_google": app})
    uuid = connecting.uuid("office@example.net")
    assert "With a device code" not in connecting.admin.get(f"/accounts/{uuid}").text
    answer = connecting.admin.post(f"/accounts/{uuid}/connect", on=f"/accounts/{uuid}", way="device")
    assert "This provider has no device code for mail." in said(connecting, answer)


def test_the_callback_is_left_at_once(connecting: Connecting) -> None:
    address = connecting.user()
    answer = connecting.admin.get(path_of(connecting.sign_in(connecting.add(address), address)))
    assert answer.status_code == 303
    assert "code" not in answer.location and "state" not in answer.location
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert answer.headers["Cache-Control"] == "no-store"


def test_it_takes_the_password_again_to_begin(
    connecting: Connecting, monkeypatch: pytest.MonkeyPatch
) -> None:
    uuid = connecting.connected()
    later(monkeypatch, 301)
    answer = connecting.admin.post(f"/accounts/{uuid}/connect", on=f"/accounts/{uuid}")
    form = asked(answer)
    with connecting.database():
        assert not Pending.select().exists()
    page = connecting.follow(confirm(connecting.admin, form))
    assert page.headers["Refresh"] == f"0; url={connecting.provider_url(page)}"
