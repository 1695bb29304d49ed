"""Promises of page and shell: choosing a target, testing one, and what they say of mail that goes out."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from flask import Flask

from panel import db
from panel.alerts import conditions
from panel.audit import Actor
from panel.config import Settings
from panel.deliver import mailboxes, spool, status
from panel.health import checks, metrics
from panel.health.check import Check
from panel.listing import ListQuery
from panel.mail.maildir import Maildir
from panel.messages import retention, search
from panel.messages.search import Scope
from panel.models import Account, LoggedMessage, Message, SpoolCount
from tests.deliver.conftest import Post, letter
from tests.encryption.conftest import House
from tests.running import Environ, wait_until
from tests.sign_in.browser import Browser, add_person

LOGGED = """
INSERT INTO message_log (account_id, fetched_id, at, size, sender, sender_name, subject, message_id, waiting)
VALUES (?, ?, ?, 1, 'a@example.com', '', '<b> Ä 💥', '', 1)
"""
Cli = Callable[..., CompletedProcess[str]]


class Install(Post):
    """A `Post` whose mailboxes are those of an install."""

    def __init__(self, directory: Path, house: House) -> None:
        super().__init__(directory)
        self.spool = house.settings.mail_spool
        self.house = house
        self.targets(f'helpdesk = {{ type = "command", command = {json.dumps(self.command)}, timeout = 60 }}')

    def account(self, target: str = "helpdesk") -> Account:
        endpoint = self.house.add("secret")
        mailboxes.choose(self.house.settings, endpoint.account.uuid, target, Actor("admin@example.org"))
        return Account.get_by_id(endpoint.account.uuid)


@pytest.fixture
def environ(environ: Environ, tmp_path: Path) -> Environ:
    (tmp_path / "desk").mkdir()
    environ["PANEL_TARGETS_FILE"] = str(tmp_path / "desk" / "targets.toml")
    return environ


@pytest.fixture
def place(app: Flask, settings: Settings, tmp_path: Path) -> Iterator[Install]:
    db.database.connect(reuse_if_open=True)
    try:
        yield Install(tmp_path / "desk", House(settings, app.extensions["mailkeep"].vault))
    finally:
        if not db.database.is_closed():  # each request closes it
            db.database.close()


@pytest.fixture
def admin(app: Flask, place: Install) -> Browser:
    add_person()
    browser = Browser(app)
    browser.sign_in()
    return browser


def maildir(place: Install, account: Account, *messages: bytes) -> list[str]:
    box = Maildir(place.spool / account.uuid)
    box.create()
    return place.put(box, *messages)


def test_a_target_is_chosen_on_the_page_and_told_to_the_deliverer(admin: Browser, place: Install) -> None:
    account = place.account("maildir")
    page = admin.get(f"/accounts/{account.uuid}/delivery")
    assert "leaves mail for the helpdesk to pick up" in page.text
    page = admin.post(f"/accounts/{account.uuid}/delivery", deliver_to="helpdesk")
    assert "goes out to helpdesk now" in admin.get(page.location).text
    listed = json.loads(spool.beside(place.spool, "mailboxes.json").read_text())
    assert listed[account.uuid] == {"address": account.address, "target": "helpdesk"}
    assert "helpdesk" in admin.get(f"/accounts/{account.uuid}").text


@pytest.mark.parametrize("name", ["gone", "x" * 1024, "--yes", "a\r\nb", "💥 ü", "../x"])
def test_a_target_that_is_not_in_the_file_is_not_chosen(admin: Browser, place: Install, name: str) -> None:
    account = place.account()
    page = admin.post(f"/accounts/{account.uuid}/delivery", deliver_to=name)
    assert page.status_code == 422 and "no target" in page.text
    assert Account.get_by_id(account.uuid).deliver_to == "helpdesk"


def test_a_broken_file_is_said_and_not_that_mail_stays_in_maildirs(
    admin: Browser, cli: Cli, place: Install
) -> None:
    place.targets('default = "helpdesk"\nhelpdesk = { type = "command", command = ["/bin/true"] }')
    account = place.account("")
    place.targets("helpdesk = 1")
    done = cli("deliver", "targets")
    assert (done.returncode, done.stdout) == (1, "") and "cannot be used" in done.stderr
    assert "Send sample" not in admin.get("/server/delivery").text
    for path in (f"/accounts/{account.uuid}", f"/accounts/{account.uuid}/delivery"):
        text = admin.get(path).text
        assert "mail stays there" not in text and "the default" in text
    assert "cannot be used" in text


def test_a_name_that_sql_put_there_is_named_and_mail_waits(admin: Browser, place: Install) -> None:
    account = place.account()
    db.database.execute_sql("UPDATE account SET deliver_to = ?", ("evil\x1b[31m",))
    mailboxes.publish(place.house.settings)
    maildir(place, account, letter("waits"))
    with place.delivering():
        time.sleep(0.5)
    assert place.taken() == []
    assert "not in the targets file, so mail waits" in admin.get(f"/accounts/{account.uuid}/delivery").text
    assert "not in the targets file" in admin.get("/server/delivery").text


def test_a_sample_is_sent_by_the_deliverer_and_its_answer_shown(admin: Browser, place: Install) -> None:
    place.account()
    with place.delivering():
        url = admin.post("/server/delivery/helpdesk/test", on="/server/delivery").location
        wait_until(lambda: place.tries(), "the sample")
        wait_until(lambda: "was delivered" in admin.get(url).text, "the answer")
    assert "ticket 1" in admin.get(url).text
    assert place.taken() == ["Test message from Mailkeep"]


def test_without_a_deliverer_nothing_is_run_and_the_page_says_so(admin: Browser, place: Install) -> None:
    place.account()
    planted = spool.beside(place.spool, "state", "test-planted.json")
    planted.mkdir()
    os.utime(planted, (0, 0))
    page = admin.get(admin.post("/server/delivery/helpdesk/test", on="/server/delivery").location)
    assert "on its way" in page.text and "not running" in page.text and place.tries() == []
    account = place.account("helpdesk")
    assert "The deliverer is not running" in admin.get(f"/accounts/{account.uuid}/delivery").text
    account = place.account("maildir")
    assert "not running" not in admin.get(f"/accounts/{account.uuid}/delivery").text


def test_the_shell_chooses_tests_lists_and_repeats(cli: Cli, place: Install) -> None:
    account = place.account("maildir")
    done = cli("accounts", "edit", account.address, "--deliver-to", "helpdesk")
    assert done.returncode == 0, done.stderr
    assert "no target “gone”" in cli("accounts", "edit", account.address, "--deliver-to", "gone").stderr
    maildir(place, account, letter("one"))
    with place.delivering():
        done = cli("deliver", "test", "helpdesk")
        assert (done.returncode, done.stdout) == (0, "ok  helpdesk: ticket 1\n"), done.stderr
        wait_until(lambda: "one" in place.taken(), "delivery")
        wait_until(lambda: place.told().get("targets"), "a report")
        done = cli("deliver", "targets", "--json")
        assert done.returncode == 0 and json.loads(done.stdout)[1]["mailboxes"] == 1, (
            done.stdout + done.stderr
        )
        assert "1 message is delivered again" in cli("deliver", "again", account.address).stdout
        wait_until(lambda: place.taken().count("one") == 2, "the repeat")
    assert len(set(place.tries())) == len(place.tries())  # each with an id of its own
    assert "No messages" in cli("deliver", "again", account.uuid, "--since", "2199-01-01").stdout
    assert "There is no mailbox" in cli("deliver", "again", "nobody@example.org").stderr
    assert cli("deliver", "test", "maildir").returncode == 3
    done = cli("accounts", "edit", account.address, "--deliver-to", "maildir", "--host", "other.example.org")
    assert done.returncode == 3 and "--password-file" in done.stderr
    assert Account.get_by_id(account.uuid).deliver_to == "helpdesk", "nothing was changed"


def test_a_sample_that_no_deliverer_takes_is_a_problem(
    app: Flask, place: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("panel.deliver.cli.WAIT_SECONDS", -60.0)
    done = app.test_cli_runner().invoke(args=["deliver", "test", "helpdesk"])
    assert done.exit_code == 1 and done.output.startswith("FAILED  helpdesk: The deliverer has not answered.")


def test_before_anything_was_collected_nothing_is_delivered_again(cli: Cli, place: Install) -> None:
    address = place.account().address
    shutil.rmtree(place.spool, ignore_errors=True)
    for options in ((), ("--set-aside",)):
        done = cli("deliver", "again", address, *options)
        assert (done.returncode, done.stdout) == (0, "No messages are delivered again.\n"), done.stderr


def test_again_gives_another_id_keeps_the_place_in_the_order_and_is_known_to_the_log(place: Install) -> None:
    account = place.account()
    place.rules("first=65")
    first, second = maildir(place, account, letter("first"), letter("second"))
    for uid, name in enumerate((first, second), 1):
        Message.create(account=account, uidvalidity=1, uid=uid, name=name, digest=bytes(32), ready=False)
    with place.delivering():
        wait_until(lambda: place.taken() == ["second"], "delivery")
        wait_until(lambda: not spool.names(place.spool / account.uuid / "new"), "both")
    place.rules("")
    assert status.where(place.spool, account.uuid, first)[0] == "aside"  # type: ignore[index]
    assert mailboxes.again(place.house.settings, account.uuid, 0, only_aside=False, actor=Actor("a")) == 2
    with place.delivering():
        wait_until(lambda: place.taken() == ["second", "first", "second"], "both again")
    assert len(set(place.tries())) == 4
    names = [row.name for row in Message.select().order_by(Message.uid)]
    assert [status.where(place.spool, account.uuid, name)[0] for name in names] == ["sent", "sent"]  # type: ignore[index]


def test_what_was_set_aside_is_named_on_the_page_and_goes_out_again_from_there(
    admin: Browser, place: Install
) -> None:
    account = place.account()
    place.rules("bad=65")
    [name] = maildir(place, account, letter("bad"))
    row = Message.create(account=account, uidvalidity=1, uid=1, name=name, digest=bytes(32), ready=False)
    db.database.execute_sql(LOGGED, (account.uuid, row.id, db.now()))
    with place.delivering():
        wait_until(lambda: not spool.names(place.spool / account.uuid / "new"), "the refusal")
    page = admin.get(f"/accounts/{account.uuid}/delivery")
    assert (
        "<strong>&lt;b&gt; Ä 💥</strong>" in page.text
        and name in page.text
        and "Exit status 65. no bad" in page.text
    )
    assert "1 set aside" in admin.get(f"/accounts/{account.uuid}").text
    place.rules("")
    page = admin.post(f"/accounts/{account.uuid}/delivery/again", on=f"/accounts/{account.uuid}/delivery")
    assert "1 message is delivered again" in admin.get(page.location).text
    with place.delivering():
        wait_until(lambda: place.taken() == ["bad"], "delivery")


def test_what_a_member_of_the_group_has_renamed_goes_out_all_the_same(admin: Browser, place: Install) -> None:
    account = place.account()
    names, new = maildir(place, account, letter("one"), letter("two")), place.spool / account.uuid / "new"
    aside = spool.beside(place.spool, account.uuid, "aside")
    (new / names[0]).rename(new / os.fsdecode(b"\xff\x1b[31m<b>"))
    (new / names[1]).rename(aside / os.fsdecode(b"\xfe\nx" + b"y" * 252))  # as long as a name can be
    url = f"/accounts/{account.uuid}/delivery"
    assert admin.get(url).status_code == 200
    assert admin.post(f"{url}/again", on=url).status_code == 303
    with place.delivering():
        wait_until(lambda: set(place.taken()) == {"one", "two"}, "delivery")
    assert admin.get(url).status_code == 200


def test_messages_tell_how_each_one_is_doing(admin: Browser, place: Install) -> None:
    account = place.account()
    place.rules("Subject: waits=75\nSubject: bad=65")
    names = maildir(place, account, letter("goes"), letter("bad"), letter("waits"), letter("after it"))
    for uid, name in enumerate(names, 1):
        row = Message.create(
            account=account, uidvalidity=1, uid=uid, name=name, digest=bytes(32), ready=False
        )
        db.database.execute_sql(LOGGED, (account.uuid, row.id, db.now()))
    with place.delivering():
        wait_until(lambda: status.tries(place.spool, account.uuid, names[2])[0] > 1, "tries")
        rows = admin.get("/messages").text.split("<tbody>")[1].split("</tr>")[:4]
    found = (re.sub(r"<[^>]{1,300}>", " ", row.rpartition("<td>")[2]) for row in rows)
    after, waits, bad, goes = (" ".join(each.split()) for each in found)
    assert after == "Waiting" and "tries: Exit status 75. no Subject: waits" in waits
    assert bad.startswith("Set aside") and goes.startswith("Delivered")
    assert bad.endswith(": Exit status 65. no Subject: bad")


def test_an_agent_is_not_told_what_a_target_answered(place: Install) -> None:
    account = place.account()
    place.rules("bad=65")
    [name] = maildir(place, account, letter("bad"))
    row = Message.create(account=account, uidvalidity=1, uid=1, name=name, digest=bytes(32), ready=False)
    db.database.execute_sql(LOGGED, (account.uuid, row.id, db.now()))
    with place.delivering():
        wait_until(lambda: status.refusal(place.spool, account.uuid, name), "the refusal")
    zone = place.house.settings.timezone
    for may_read, answer in ((True, "Exit status 65. no bad"), (False, "")):
        [line] = search.find(ListQuery(), zone, place.spool, Scope(may_read), 9).rows
        assert (line.place, line.answer) == ("aside", answer)


def test_messages_are_filtered_by_what_became_of_them(admin: Browser, place: Install) -> None:
    account, kept_in_maildir = place.account(), place.account("maildir")
    place.rules("Subject: bad=65\nSubject: waits=75")
    for each, subjects in (
        (account, ("old one", "goes", "bad", "waits")),
        (kept_in_maildir, ("picked up",)),
    ):
        names = maildir(place, each, *map(letter, subjects))
        for uid, (name, subject) in enumerate(zip(names, subjects, strict=True), 1):
            row = Message.create(
                account=each, uidvalidity=1, uid=uid, name=name, digest=bytes(32), ready=False
            )
            at = db.now() - (8 * 86400 if subject == "old one" else 0)  # its copy is no longer kept
            LoggedMessage.create(account=each, fetched=row, at=at, size=9, subject=subject)
    with place.delivering():
        new, state = place.spool / account.uuid / "new", spool.beside(place.spool, "state")
        wait_until(lambda: len(spool.names(new)) == 1, "delivery")
        wait_until(lambda: spool.read(state / "deliverer.json").get("aside"), "the report")
    next((place.spool / kept_in_maildir.uuid / "new").iterdir()).unlink()
    retention.note_taken(place.spool)

    def shown(state: str) -> list[str]:
        page = admin.get(f"/messages?state={state}").text
        return [name for name in ("old one", "goes", "bad", "waits", "picked up") if f">{name}<" in page]

    assert shown("waiting") == ["waits"] and shown("delivered") == ["goes"] and shown("aside") == ["bad"]
    assert shown("taken") == ["old one", "picked up"]
    chips = re.findall(
        r'([A-Z][a-z ]+) <span class="num">(\d+)</span>', admin.get("/messages?q=example").text
    )
    assert chips == [
        ("All", "5"), ("Waiting", "1"), ("Delivered", "1"), ("Set aside", "1"), ("Taken", "2"), ("Skipped", "0"),
    ]  # fmt: skip


# -- what is reported, and what nobody has to believe -----------------------------------------


JUNK = [b"", b"[]", b"null", b"{", b"[" * 100_000, b"\xff", b'{"aside": [1, {"name": [], "at": "x"}], "attempts": -1}',
        b'{"attempts": 1e999, "answer": 5, "at": true, "targets": [], "problem": {}}', b'{"x": "' + b"a" * 2**21 + b'"}',
        b'{"answer": "\\u001b[31m<script>\\ud800", "attempts": 3, "next_at": 99999999999999999999}']  # fmt: skip


@pytest.mark.parametrize("junk", JUNK, ids=range(len(JUNK)))
def test_no_page_believes_what_a_member_of_the_group_wrote(
    admin: Browser, place: Install, junk: bytes
) -> None:
    account = place.account()
    for path in (
        spool.beside(place.spool, "state", f"{account.uuid}.json"),
        spool.beside(place.spool, "state", "deliverer.json"),
    ):
        path.write_bytes(junk)
    page = admin.get(f"/accounts/{account.uuid}/delivery")
    assert page.status_code == 200 and "<script>" not in page.text and "\x1b" not in page.text
    for url in ("/server/delivery", f"/accounts/{account.uuid}", "/", "/messages"):
        assert admin.get(url).status_code == 200


@pytest.mark.parametrize("plant", ["fifo", "link", "folder"])
def test_no_page_waits_for_or_follows_what_was_planted(admin: Browser, place: Install, plant: str) -> None:
    account = place.account()
    secret = place.directory / "secret.json"
    secret.write_text('{"answer": "SECRET", "attempts": 1}')
    for path in (
        spool.beside(place.spool, "state", f"{account.uuid}.json"),
        spool.beside(place.spool, "state", "deliverer.json"),
    ):
        if plant == "fifo":
            os.mkfifo(path)
        elif plant == "link":
            path.symlink_to(secret)
        else:
            path.mkdir()
    assert "SECRET" not in admin.get(f"/accounts/{account.uuid}/delivery").text
    admin.get("/server/delivery")


def alerts(place: Install) -> dict[str, conditions.Condition]:
    found = conditions.found(place.house.vault, settings=place.house.settings)
    return {each.name: each for each in found if each.topic == "delivery"}


def test_a_target_that_is_down_is_one_alert_and_ends(place: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conditions, "TARGET_SECONDS", -1)
    one, two = place.account(), place.account()
    place.rules("Subject=75")
    for account in (one, two):
        maildir(place, account, letter("x"))
        SpoolCount.create(account=account, unread=1, oldest_at=db.now() - 7200, counted_at=db.now())
    with place.delivering():
        wait_until(lambda: "target-failing" in alerts(place), "the alert")
        found = alerts(place)
        assert list(found) == ["target-failing"] and found["target-failing"].mailboxes == 2
        assert results(place)[0].message.startswith("helpdesk takes no mail")
        place.rules("")
        wait_until(lambda: len(place.taken()) == 2, "delivery")
        SpoolCount.update(unread=0).execute()
        wait_until(lambda: not alerts(place), "its end")


def results(place: Install) -> list[Check]:
    install = checks.gather(place.house.settings, place.house.vault)
    return [each for each in checks.run(install) if each.check.startswith("delivery")]


def test_mail_that_waits_too_long_is_an_alert_where_its_target_is_gone(place: Install) -> None:
    account = place.account()
    place.targets("keep_days = 7")
    SpoolCount.create(account=account, unread=2, oldest_at=db.now() - 3700, counted_at=db.now())
    with place.delivering():
        wait_until(lambda: place.told(), "a report")
        found = alerts(place)
        assert list(found) == ["mail-waiting"] and account.address in found["mail-waiting"].message
        assert "not in the targets file" in results(place)[0].message
        SpoolCount.update(oldest_at=db.now() - 3500).execute()
        assert not alerts(place)


def test_a_deliverer_that_does_not_run_is_an_alert(place: Install) -> None:
    place.account()
    assert "not running" in alerts(place)["delivery-stopped"].message


def test_numbers_for_prometheus(place: Install) -> None:
    account = place.account()
    SpoolCount.create(account=account, unread=2, oldest_at=db.now() - 100, counted_at=db.now())
    text = metrics.text(place.house.settings, place.house.vault).decode()
    assert "mailkeep_delivery_waiting_messages 2.0" in text
    assert "mailkeep_delivery_set_aside 0.0" in text


def test_what_waits_is_told_before_the_worker_counts_it(admin: Browser, cli: Cli, place: Install) -> None:
    account = place.account()
    place.rules("Subject=75")
    maildir(place, account, letter("one"), letter("two"))
    assert re.search(r"<dt>Waiting</dt><dd>2, the oldest since", admin.get(f"/accounts/{account.uuid}").text)
    with place.delivering():
        wait_until(
            lambda: ["helpdesk", 1, 2] in [each[:3] for each in place.told().get("used", ())], "the report"
        )
        text = metrics.text(place.house.settings, place.house.vault).decode()
        assert "mailkeep_delivery_waiting_messages 2.0" in text
        listed = {each["name"]: each for each in json.loads(cli("deliver", "targets", "--json").stdout)}
        assert listed["helpdesk"]["waiting"] == 2 and listed["helpdesk"]["oldest_at"]
        assert re.search(r'data-label="Waiting">2<', admin.get("/server/delivery").text)


def test_an_agent_reads_once_that_mail_does_not_go_out(app: Flask, place: Install) -> None:
    for target in ("gone", "lost"):
        Account.update(deliver_to=target).where(Account.uuid == place.account().uuid).execute()
    assert len([each for each in results(place) if not each.ok]) > 1
    add_person("agent@example.org", "agent")
    agent = Browser(app)
    agent.sign_in("agent@example.org")
    assert agent.get("/status").text.count("Mail does not go out to the helpdesk.") == 1


def test_an_alert_believes_the_worker_alone_what_waits(place: Install) -> None:
    account = place.account()
    SpoolCount.create(account=account, unread=2, oldest_at=db.now() - 3700, counted_at=db.now())
    told = {"at": int(time.time()), "used": [["helpdesk", 1, 0, 0]]}  # which the helpdesk can write
    spool.write(spool.beside(place.spool, "state", "deliverer.json"), told, 0o600)
    assert list(alerts(place)) == ["mail-waiting"]


def test_mail_that_only_lies_in_maildirs_is_no_alert(place: Install) -> None:
    account = place.account("maildir")
    SpoolCount.create(account=account, unread=2, oldest_at=db.now() - 86_000, counted_at=db.now())
    assert not alerts(place)
    assert [each.message for each in results(place)] == ["Mail stays in the Maildirs."]
