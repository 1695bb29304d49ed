"""Promises of /metrics: the checks as numbers for a program on this machine; no address, path or secret in them."""

from __future__ import annotations

import http.client
import importlib.util

import pytest
from flask import Flask
from prometheus_client.parser import text_string_to_metric_families

from panel import create_app, db
from panel.config import ROOT, Settings
from panel.errors import SettingsError
from panel.health import checks, metrics
from panel.models import Account, Collection, Heartbeat, SpoolCount
from panel.vault.state import State
from tests.encryption.conftest import House
from tests.running import Environ, PanelServer

Numbers = dict[tuple[str, ...], float]


@pytest.fixture
def environ(environ: Environ) -> Environ:
    return environ | {"PANEL_METRICS": "1"}


def numbers(app: Flask) -> Numbers:
    """What a scrape gives, by name and labels. Each is described."""
    answer = app.test_client().get("/metrics")
    assert answer.status_code == 200
    assert answer.content_type == "text/plain; version=0.0.4; charset=utf-8"
    families = list(text_string_to_metric_families(answer.text))
    assert all(family.documentation and family.type == "gauge" for family in families)
    return {
        (sample.name.removeprefix("mailkeep_"), *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def test_a_healthy_install_in_numbers(app: Flask, healthy: House) -> None:
    found = numbers(app)
    states = {labels[0]: value for (name, *labels), value in found.items() if name == "key_state"}
    assert states == {state.value: float(state is State.ON) for state in State}
    problems = {labels[0]: value for (name, *labels), value in found.items() if name == "problems"}
    assert problems == dict.fromkeys(checks.CHECKS, 0)
    assert {name[0]: value for name, value in found.items() if len(name) == 1} == {
        "passwords_stored": 1, "passwords_encrypted": 1, "passwords_clear_text": 0, "passwords_unreadable": 0,
        "key_backup_verified": 1, "accounts": 1, "accounts_paused": 0, "accounts_failing": 0,
        "accounts_oauth": 0, "accounts_outside": 0, "accounts_without_consent": 0,
        "last_success_age_seconds": pytest.approx(0, abs=5),
        "worker_beat_age_seconds": pytest.approx(0, abs=5),
        "delivery_waiting_messages": 0, "delivery_oldest_age_seconds": 0, "delivery_targets_failing": 0,
        "delivery_set_aside": 0, "spool_unread_messages": 0, "submission_mailboxes": 0, "submission_sent_messages": 0, "accounts_connected": 0,
    }  # fmt: skip


def test_each_problem_is_counted_under_the_name_of_its_check(app: Flask, healthy: House) -> None:
    with db.database.connection_context():
        Heartbeat.update(beat_at=db.now() - 600).execute()
        Collection.update(problem="No.", last_success_at=db.now() - 7200).execute()
        account = healthy.add().account
        SpoolCount.create(account=account, unread=1234, oldest_at=1, counted_at=db.now())
        Account.update(paused_at=db.now()).where(Account.uuid == healthy.add().account.uuid).execute()
    healthy.key_file.unlink()
    found = numbers(app)
    assert found["key_state", "key-missing"] == 1
    assert found["key_state", "on"] == 0
    assert found["passwords_stored",] == found["passwords_unreadable",] == 3
    assert (found["accounts",], found["accounts_paused",], found["accounts_failing",]) == (3, 1, 1)
    assert found["last_success_age_seconds",] == pytest.approx(7200, abs=5)
    assert found["worker_beat_age_seconds",] == pytest.approx(600, abs=5)
    assert found["spool_unread_messages",] == 1234
    assert {check for (name, *labels), value in found.items() if name == "problems" and value for check in labels} == {
        "encryption", "worker", "collecting", "mailboxes", "mail spool",
    }  # fmt: skip


def test_what_never_was_has_no_number_and_what_is_unproved_is_0(app: Flask, house: House) -> None:
    found = numbers(app)
    assert ("last_success_age_seconds",) not in found
    assert ("worker_beat_age_seconds",) not in found
    assert found["key_backup_verified",] == 0
    assert found["key_state", "off"] == 1


def test_nothing_in_it_names_a_mailbox_a_path_or_a_password(app: Flask, healthy: House) -> None:
    with db.database.connection_context():
        Collection.update(problem=f"0@example.org failed in {healthy.data}").execute()
        (instance,) = healthy.sql("SELECT instance_id FROM encryption")[0]
    (healthy.data / "secret-key").chmod(0o644)
    text = app.test_client().get("/metrics").text
    for word in ("@", "example.org", str(healthy.data), "/", "hunter2", instance.hex()):
        assert word not in text


def test_it_is_not_there_unless_switched_on(environ: Environ, app: Flask, healthy: House) -> None:
    off = create_app(Settings.load(environ | {"PANEL_METRICS": "0"}))
    assert off.test_client().get("/metrics").status_code == 404


@pytest.mark.parametrize("peer", ["192.0.2.7", "10.0.0.1", "::ffff:192.0.2.7", "2001:db8::1", ""])
def test_another_machine_is_told_nothing(app: Flask, healthy: House, peer: str) -> None:
    answer = app.test_client().get("/metrics", environ_base={"REMOTE_ADDR": peer})
    assert answer.status_code == 404
    assert "mailkeep_" not in answer.text


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via", "X-Forwarded-Host"])
def test_a_request_through_a_proxy_on_this_machine_is_told_nothing(
    app: Flask, healthy: House, header: str
) -> None:
    assert app.test_client().get("/metrics", headers={header: "127.0.0.1"}).status_code == 404


def test_a_request_for_the_public_name_is_told_nothing(app: Flask, healthy: House) -> None:
    assert app.test_client().get("/metrics", headers={"Host": "mail.example.org"}).status_code == 404


@pytest.mark.parametrize(
    ("peer", "host"),
    [("::1", "[::1]:8000"), ("127.0.0.1", "localhost:8000"), ("::ffff:127.0.0.1", "127.0.0.1")],
)
def test_each_name_of_this_machine_is_answered(peer: str, host: str) -> None:
    assert metrics.is_local(peer, host, ["Host", "Accept"])


def test_a_missing_extra_says_at_start_what_to_type(
    environ: Environ, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SettingsError) as caught:
        Settings.load(environ)
    command = str(caught.value.remedy).removeprefix("Install it: ")
    assert command == ".venv/bin/python -m pip install --require-hashes -r requirements/metrics.txt"
    assert (ROOT / command.split()[-1]).exists()
    assert not Settings.load(environ | {"PANEL_METRICS": "0"}).metrics


def test_the_real_server_answers_a_scrape_and_nobody_who_comes_through_a_proxy(
    panel_server: PanelServer,
) -> None:
    def asked(headers: dict[str, str]) -> tuple[int, str]:
        connection = http.client.HTTPConnection(panel_server.environ["PANEL_BIND"], timeout=60)
        connection.request("GET", "/metrics", headers=headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text

    status, text = asked({})
    assert status == 200
    assert 'mailkeep_key_state{state="off"} 1.0' in text
    assert asked({"X-Forwarded-For": "192.0.2.7"})[0] == 404
