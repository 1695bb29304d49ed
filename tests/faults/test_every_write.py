"""A crash, or a full or broken disk, at each call that writes: no password is lost, none ends up in the wrong form.

The steps run in a process of their own under strace, which kills it (or fails
the call) at the Nth write, sync, link, rename or unlink. What is on the disk
then must hold every password; a start and a `resume` must end in one of the two
states. The short form tries some N, `--long` every one.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from panel import create_app, db, install
from panel.activity.service import Actor
from panel.encryption import keys
from panel.encryption.keystore import KeyStore
from panel.encryption.state import State
from tests import warm
from tests.encryption.conftest import House, settings_in
from tests.faults.promises import check, on_disk
from tests.running import process_environ, wait_until

CALLS = "write,pwrite64,fsync,fdatasync,link,linkat,rename,renameat,renameat2,unlink,unlinkat,ftruncate"
ACCOUNTS = 6
PASSWORDS = {f"MARKER password {number}" for number in range(ACCOUNTS)}
RUNS = 5  # of each scenario and fault, in the short form

HEAD = """
import sys
from panel import create_app, db
from panel.activity.service import Actor
from panel.config import Settings
from panel.encryption import keys, release, rotation, switch
from panel.encryption.keystore import KeyStore
from panel.models import Endpoint
from panel.secret import Secret
settings = Settings.load({"PANEL_DATA_DIR": sys.argv[1], "PANEL_ENV_FILE": "/dev/null"})
create_app(settings)
keystore = KeyStore.of(settings)
db.database.connect()
"""


@dataclass(frozen=True)
class Scenario:
    """Where it begins (off, on, rotated, pruned), what is done, and where it may end."""

    begins: str
    steps: str
    ends: set[State]
    passwords: frozenset[str] = frozenset(PASSWORDS)


SCENARIOS = {
    "turning on": Scenario(
        "off", "switch.enable(keystore, Actor()); switch.resume(keystore)", {State.OFF, State.ON}
    ),
    "turning off": Scenario(
        "on",
        "release.disable(keystore, Actor(), in_shell=True); switch.resume(keystore)",
        {State.OFF, State.ON},
    ),
    "cancelling": Scenario(
        "on",
        "release.disable(keystore, Actor(), in_shell=True); release.cancel(keystore, Actor());"
        "switch.resume(keystore)",
        {State.OFF, State.ON},
    ),
    "changing the key": Scenario(
        "on", "rotation.rotate(keystore, Actor()); switch.resume(keystore)", {State.ON}
    ),
    "dropping a retired key": Scenario("rotated", "keys.prune(keystore, Actor())", {State.ON}),
    "adding an older key": Scenario(
        "pruned", "keys.add(keystore, keystore.path.with_name('older').read_bytes(), Actor())", {State.ON}
    ),
    "saving": Scenario(
        "on",
        "e = Endpoint.get_by_id(1); e.password = Secret('MARKER new'); e.save()",
        {State.ON},
        frozenset({*PASSWORDS, "MARKER new"}),
    ),
}
FAULTS = {"kill": "signal=KILL", "full disk": "error=ENOSPC", "broken disk": "error=EIO"}


@pytest.fixture(scope="module", params=SCENARIOS, ids=lambda name: name.replace(" ", "-"))
def prepared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Scenario, Path, int]]:
    """A scenario, the install that it begins with, and how many calls it makes."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    scenario = SCENARIOS[request.param]
    directory = tmp_path_factory.mktemp("prepared")
    settings = settings_in(directory)
    install.prepare(settings)
    create_app(settings)
    house = House(settings, KeyStore.of(settings))
    with db.database.connection_context():
        for password in sorted(PASSWORDS):
            house.add(password)
        begin(house, scenario.begins)
    yield scenario, directory, count_calls(scenario, directory)


def begin(house: House, where: str) -> None:
    if where != "off":
        house.enable()
    if where in ("rotated", "pruned"):
        shutil.copy(house.key_file, house.data / "older")
        house.rotate()
    if where == "pruned":
        keys.prune(house.keystore, Actor())


def run(scenario: Scenario, directory: Path, *strace: str) -> subprocess.CompletedProcess[str]:
    """Do the steps of `scenario`. Strace comes to the process once all is imported: imports write nothing."""
    tracers: list[subprocess.Popen[bytes]] = []

    def attach(pid: int) -> None:
        command = ["strace", "-f", "-qq", "-e", f"trace={CALLS}", "-e", "signal=none", *strace]
        tracers.append(subprocess.Popen([*command, "-p", str(pid)], stderr=subprocess.DEVNULL))
        status = Path(f"/proc/{pid}/status")
        wait_until(lambda: "TracerPid:\t0\n" not in status.read_text(), 20, "strace to attach")

    environ = process_environ({"PYTHONDONTWRITEBYTECODE": "1"})
    arguments = [HEAD + scenario.steps, str(directory / "data")]
    done = warm.run_module("tests.snippet", arguments, environ, "", seconds=60, attach=attach)
    tracers[0].wait(20)
    return done


def copy_of(directory: Path, name: str) -> Path:
    copy = directory.with_name(f"{directory.name}-{name}")
    shutil.copytree(directory, copy)
    return copy


def count_calls(scenario: Scenario, directory: Path) -> int:
    copy = copy_of(directory, "counted")
    log = copy / "strace.log"
    done = run(scenario, copy, "-o", str(log))
    assert done.returncode == 0, done.stderr
    return len(log.read_text().splitlines())


def chosen(calls: int, every: bool) -> list[int]:
    """Which calls to fail: all, or some that lie evenly, the first and the last among them."""
    if every or calls <= RUNS:
        return list(range(1, calls + 1))
    return sorted({1 + round(i * (calls - 1) / (RUNS - 1)) for i in range(RUNS)})


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_any_write_loses_no_password(
    prepared: tuple[Scenario, Path, int], fault: str, pytestconfig: pytest.Config
) -> None:
    scenario, directory, calls = prepared
    for number in chosen(calls, bool(pytestconfig.getoption("--long"))):
        copy = copy_of(directory, f"{fault.replace(' ', '-')}-{number}")
        done = run(scenario, copy, "-o", "/dev/null", "-e", f"inject={CALLS}:{FAULTS[fault]}:when={number}")
        assert "MARKER" not in done.stdout + done.stderr
        where = settings_in(copy)
        check(
            where,
            ACCOUNTS,
            scenario.passwords,
            scenario.ends,
            f"{fault} at call {number} of {calls}: {done.stderr[-400:]}",
        )
        shutil.rmtree(copy)


def test_the_harness_notices_a_lost_key(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    install.prepare(settings)
    create_app(settings)
    house = House(settings, KeyStore.of(settings))
    with db.database.connection_context():
        house.add("MARKER password 0")
        house.enable()
        assert on_disk(house) == {"MARKER password 0"}
        house.key_file.unlink()
        with pytest.raises(AssertionError, match="no key on the disk"):
            on_disk(house)
