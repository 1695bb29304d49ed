"""A crash, or a full or broken disk, at each call that writes: no password is lost, none ends up in the wrong form.

The steps run in processes of their own under strace, which kills them (or fails the call) at the Nth
write, sync, link, rename, truncate or unlink. What is on the disk then must hold every password; a start and
a `resume` must end in one of the states that are meant. The short form tries one N of each scenario and kind of
fault, `--long` every one; tests/faults/test_planted_bugs.py dies at every step in both.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from panel import create_app, db, install
from panel.audit import Actor
from panel.config import ROOT, Settings
from panel.vault import only_encrypted, retired_keys
from panel.vault.state import State
from panel.vault.vault import Vault
from tests.encryption import kinds
from tests.encryption.conftest import House, settings_in
from tests.faults.driver import IDLE, LONGER
from tests.faults.promises import check, check_every_kind, check_forgotten, on_disk

# The last ones are not made by anything here; one that came would be noticed, since the driver has no idle one.
CALLS = ",".join((*IDLE, "writev", "pwritev", "pwritev2", "truncate", "fallocate", "copy_file_range"))
ACCOUNTS = 6
PASSWORDS = frozenset(f"MARKER password {number}" for number in range(ACCOUNTS))
WHEN = 800  # more calls of one kind than any scenario makes
FAULTS = {"kill": "signal=KILL", "full disk": "error=ENOSPC", "broken disk": "error=EIO"}

Check = Callable[[Settings, str], None]


def all_there(*ends: State, new: str = "") -> Check:
    """Every password is there, and it ends in one of `ends`."""
    allowed = PASSWORDS | ({new} if new else set())
    return lambda settings, why: check(settings, ACCOUNTS, allowed, set(ends), why)


def every_kind(new: str = "") -> Check:
    """Every secret of every table is there; the consent's may be `new`."""
    expected = kinds.expected("MARKER")
    expected["endpoint"] |= PASSWORDS
    return lambda settings, why: check_every_kind(settings, expected, new, why)


@dataclass(frozen=True)
class Scenario:
    """Where it begins, what is done, and what must hold afterwards."""

    begins: str  # off, on, every kind, rotated, pruned, lost
    steps: str
    check: Check


SCENARIOS = {
    "turning on": Scenario(
        "off", "turn_on.turn_on(vault, BOTH, actor); unfinished.resume(vault)", all_there(State.OFF, State.ON)
    ),
    "turning off": Scenario(
        "on",
        "turn_off.turn_off(vault, actor, in_shell=True); unfinished.resume(vault)",
        all_there(State.OFF, State.ON),
    ),
    "cancelling": Scenario(
        "on",
        "turn_off.turn_off(vault, actor, in_shell=True); turn_off.cancel(vault, actor);"
        "unfinished.resume(vault)",
        all_there(State.OFF, State.ON),
    ),
    "changing the key": Scenario(
        "on", "rotation.rotate(vault, actor); unfinished.resume(vault)", all_there(State.ON)
    ),
    "dropping a retired key": Scenario("rotated", "retired_keys.prune(vault, actor)", all_there(State.ON)),
    "adding an older key": Scenario(
        "pruned",
        "retired_keys.add(vault, vault.keystore.path.with_name('older').read_bytes(), actor)",
        all_there(State.ON),
    ),
    "saving": Scenario(
        "on",
        "e = Endpoint.get_by_id(1); e.secret = Secret('MARKER new'); e.save()",
        all_there(State.ON, new="MARKER new"),
    ),
    "changing the key of every kind of secret": Scenario(
        "every kind", "rotation.rotate(vault, actor); unfinished.resume(vault)", every_kind()
    ),
    "storing a new token": Scenario(
        "every kind",
        "c = Consent.get(); c.secret = Secret('MARKER new token'); c.save()",
        every_kind(new="MARKER new token"),
    ),
    "giving a lost key up": Scenario(
        "lost", "forget.forget(vault, actor)", lambda settings, why: check_forgotten(settings, PASSWORDS, why)
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Prepared:
    """An install that a scenario begins with, and the kinds of all the calls that write, as it makes them."""

    directory: Path
    calls: list[str]

    def spoiling(self, number: int) -> tuple[str, int]:
        """Call `number`, from 1, as the driver wants it: its kind, and that it is the Nth of its kind."""
        kind = self.calls[number - 1]
        return kind, self.calls[:number].count(kind)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Prepared]:
    """What each scenario begins with."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    directories = {name: tmp_path_factory.mktemp("prepared") for name in SCENARIOS}
    for name, directory in directories.items():
        _prepare(directory, SCENARIOS[name].begins)
    counted = tmp_path_factory.mktemp("counted")
    calls = _calls(counted, directories)
    assert all(one.count(kind) < WHEN for one in calls for kind in IDLE)
    return {name: Prepared(directories[name], made) for name, made in zip(SCENARIOS, calls, strict=True)}


def _prepare(directory: Path, begins: str) -> None:
    settings = settings_in(directory)
    install.prepare(settings)
    create_app(settings)
    house = House(settings, Vault.of(settings, db.database))
    with db.database.connection_context():
        for password in sorted(PASSWORDS):
            house.add(password)
        _begin(house, begins)


def _begin(house: House, where: str) -> None:
    if where != "off":
        house.enable()
    if where == "every kind":
        kinds.add_all("MARKER")
    if where in ("rotated", "pruned"):
        shutil.copy(house.key_file, house.data / "older")
        house.rotate()
    if where == "pruned":
        retired_keys.prune(house.vault, Actor())
    if where == "lost":
        house.key_file.rename(house.data.parent / "safe")


def _calls(place: Path, directories: dict[str, Path]) -> list[list[str]]:
    """Which calls each scenario makes, nothing being spoiled."""
    jobs: list[Job] = []
    for number, (name, directory) in enumerate(directories.items()):
        shutil.copytree(directory, place / str(number))
        jobs.append((str(place / str(number) / "data"), SCENARIOS[name].steps, "", 0))
    _strace(place, jobs, "-ff", "-o", str(place / "strace"))
    said = [(place / f"log-{number}").read_text() for number in range(len(jobs))]
    assert said == [""] * len(jobs)
    pids = [pid for pid, _ in _ended(place)]
    lines = [(place / f"strace.{pid}").read_text().splitlines() for pid in pids]
    return [[line.partition("(")[0] for line in made] for made in lines]


Job = tuple[str, str, str, int]  # data directory, steps, and the Nth call of a kind to be spoiled


def _strace(place: Path, jobs: list[Job], *options: str) -> None:
    (place / "jobs.json").write_text(json.dumps(jobs))
    strace = ["strace", "-f", "-qq", "-e", f"trace={CALLS}", "-e", "signal=none", *options]
    driver = ["-B", "-m", "tests.faults.driver", str(place / "jobs.json"), str(WHEN), str(place / "log")]
    subprocess.run([*strace, sys.executable, *driver], cwd=ROOT, check=True, timeout=1800)


def _ended(place: Path) -> list[tuple[int, int]]:
    """Process id and status of each run."""
    return [(pid, status) for pid, status in json.loads((place / "log.ended").read_text())]


def chosen(calls: int, fault: str, every: bool) -> list[int]:
    """Which calls to spoil: all, or one, which is another for each kind of fault."""
    if every:
        return list(range(1, calls + 1))
    return [1 + (calls - 1) * (1 + list(FAULTS).index(fault)) // (1 + len(FAULTS))]


@dataclass(frozen=True)
class Run:
    """One that was spoiled: which install it left behind, at which of how many calls, what it printed."""

    settings: Settings
    why: str
    said: str


@pytest.fixture(scope="module", params=FAULTS, ids=lambda fault: fault.replace(" ", "-"))
def spoiled(
    request: pytest.FixtureRequest,
    prepared: dict[str, Prepared],
    tmp_path_factory: pytest.TempPathFactory,
    pytestconfig: pytest.Config,
) -> Iterator[dict[str, list[Run]]]:
    """Every scenario, spoiled by one kind of fault at each of the chosen calls."""
    place = tmp_path_factory.mktemp("spoiled")
    every = bool(pytestconfig.getoption("--long"))
    runs = [
        (name, call) for name in SCENARIOS for call in chosen(len(prepared[name].calls), request.param, every)
    ]
    jobs: list[Job] = []
    for number, (name, call) in enumerate(runs):
        shutil.copytree(prepared[name].directory, place / str(number))
        jobs.append(
            (str(place / str(number) / "data"), SCENARIOS[name].steps, *prepared[name].spoiling(call))
        )
    log = place / "strace"
    _strace(place, jobs, "-o", str(log), "-e", f"inject={CALLS}:{FAULTS[request.param]}:when={WHEN}")
    assert request.param == "kill" or log.read_text().count("(INJECTED)") == len(runs)
    ended = [status for _, status in _ended(place)]
    found: dict[str, list[Run]] = {name: [] for name in SCENARIOS}
    for number, (name, call) in enumerate(runs):
        said = (place / f"log-{number}").read_text()
        why = f"{request.param} at call {call} of {len(prepared[name].calls)} of {name}: {said[-400:]}"
        assert request.param != "kill" or ended[number] == signal.SIGKILL, why
        found[name].append(Run(settings_in(place / str(number)), why, said))
    yield found
    shutil.rmtree(place)


@pytest.mark.reliability
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", SCENARIOS, ids=lambda name: name.replace(" ", "-"))
def test_a_fault_at_any_write_loses_no_password(
    spoiled: dict[str, list[Run]], name: str, record_property: Callable[[str, object], None], monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(only_encrypted, "PENDING_SECONDS", LONGER)
    for run in spoiled[name]:
        assert "MARKER" not in run.said
        SCENARIOS[name].check(run.settings, run.why)
    kind = spoiled[name][0].why.partition(" at ")[0]
    record_property(
        "reliability", {"table": "faults", "row": name, "column": kind, "tried": len(spoiled[name])}
    )


def test_the_harness_notices_a_lost_key(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    install.prepare(settings)
    create_app(settings)
    house = House(settings, Vault.of(settings, db.database))
    with db.database.connection_context():
        house.add("MARKER password 0")
        house.enable()
        assert on_disk(house) == {"MARKER password 0"}
        house.key_file.unlink()
        with pytest.raises(AssertionError, match="no key on the disk"):
            on_disk(house)
