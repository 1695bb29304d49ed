"""Promise of script/bench: what it lists can be run. With tiny numbers, and without the peers, which tests do not install."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.__main__ import benchmarks
from panel.config import ROOT


def run(results: Path, *arguments: str) -> tuple[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "bench", *arguments, "--rounds", "1", "--results", str(results)],
        cwd=ROOT, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(results.read_text("utf-8"))


def test_each_benchmark_has_its_question() -> None:
    found = benchmarks()
    assert {"collect", "fair", "pages", "record", "sweep"} <= set(found)
    assert all(question.endswith("?") for question in found.values())


def test_the_sweep_is_measured_and_every_password_comes_back(tmp_path: Path) -> None:
    names = "nobody|Mailkeep|bare UPDATE"
    told, found = run(tmp_path / "sweep.json", "sweep", "--rows", "30", "--programs", names)
    for phase in ("enable", "rotate"):
        assert set(found["medians"][phase]) == set(names.split("|"))
        assert found["medians"][phase]["Mailkeep"]["rows_per_second"] > 0
        assert f"{phase}: 30 rows" in told


def test_the_record_is_measured(tmp_path: Path) -> None:
    told, found = run(tmp_path / "record.json", "record", "--number", "3", "--saves", "2")
    assert {"Mailkeep seal", "Mailkeep open", "AESGCM seal", "Fernet open"} <= set(found["records_us"])
    assert set(found["saves_us"]) == {"clear", "encrypted"}
    assert "durable save" in told


def test_what_waits_beside_servers_that_hang_is_measured(tmp_path: Path) -> None:
    told, found = run(tmp_path / "fair.json", "fair", "--hung", "2", "--good", "1", "--accounts", "3")
    assert len(found["waits"]) == 1 and found["waits"][0] is not None
    assert "served within" in told and len(found["due_ms"]) == 4


def test_the_pages_are_measured(tmp_path: Path) -> None:
    numbers = ("--sizes", "3", "--seconds", "0.1", "--clients", "2")
    told, found = run(tmp_path / "pages.json", "pages", "--programs", "Mailkeep", *numbers)
    pages = found["mailboxes"]["3"]["Mailkeep"]
    assert {"list of mailboxes", "Encryption", "Overview", "its last page", "search, all"} <= set(pages)
    assert all(runs[0]["per_second"] > 0 and runs[0]["statements"] > 0 for runs in pages.values())
    assert "3 mailboxes" in told


def test_the_log_of_messages_is_measured(tmp_path: Path) -> None:
    numbers = ("--mailboxes", "4", "--messages", "20", "--days", "70")
    told, found = run(tmp_path / "messages.json", "messages", *numbers)
    assert set(found["bytes"]) == {"what was fetched", "log", "counts", "totals"}
    assert {"search: first page", "overview, 90 days", "fold and prune one day"} <= set(found["seconds"])
    assert "search: a sender" in told


def test_sending_for_a_helpdesk_is_measured(tmp_path: Path) -> None:
    told, found = run(
        tmp_path / "submission.json", "submission", "--messages", "2", "--emailproxy", "/nowhere"
    )
    assert found["Mailkeep"]["p50_ms"] > 0 and found["Mailkeep"]["large_mib_more"] < 20
    assert "email-oauth2-proxy is not installed" in told
