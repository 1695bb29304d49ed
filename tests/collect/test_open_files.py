"""Running out of open files is not taken for a broken key file, and IDLE does not bring it about."""

from __future__ import annotations

from panel.models import Account
from tests.collect.conftest import PostOffice, letter

# Reads the key with no file left to open, then with some, and says what it found each time.
WITHOUT_FILES = """
import resource
from panel.errors import PanelError
from panel.vault.state import State
vault = Vault.of(s, db.database)
def state():
    try:
        return vault.read(counts=True).state.value
    except PanelError as error:
        return f"{type(error).__name__}: {error.message}"
print(state())
most = len(os.listdir("/proc/self/fd")) + 20
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
held = []
try:
    while True:
        held.append(os.dup(0))
except OSError:
    print(state())
for fd in held:
    os.close(fd)
print(state())
"""


def test_running_out_of_open_files_is_not_a_broken_key_file(post: PostOffice) -> None:
    account: Account = post.add(letter(1))
    post.encrypt()
    process = post.python(WITHOUT_FILES)
    output, _ = process.communicate(timeout=120)
    before, without, after = output.splitlines()
    assert (before, after) == ("on", "on")
    assert without == "OutOfFiles: Mailkeep has as many files open as the system allows."
    assert post.collect(account).delivered == 1
