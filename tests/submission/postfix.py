"""Debian's Postfix with SASL by Dovecot, on ports and in folders of its own; the machine's stays off."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.running import free_port, wait_until
from tests.servers.certificates import Certificate
from tests.servers.dovecot import _dies_with_us

NEEDED = ("/usr/sbin/postfix", "/usr/sbin/dovecot")
MAIN = """
compatibility_level = 3.6
queue_directory = {place}/queue
data_directory = {place}/data
daemon_directory = /usr/lib/postfix/sbin
command_directory = /usr/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = {place}/log
maillog_file_prefixes = {place}
inet_interfaces = 127.0.0.1
myhostname = smtp.example.org
mydestination =
mynetworks = 192.0.2.0/24
alias_maps =
alias_database =
relayhost = [127.0.0.1]:{next_port}
smtp_tls_security_level = none
smtp_host_lookup = native
smtpd_tls_chain_files = {key}, {chain}
smtpd_tls_security_level = may
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = private/auth
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_recipient_restrictions = check_recipient_access inline:{{ {{nobody@example.net = 550 5.1.1 No such mailbox}} }}, permit_sasl_authenticated, reject
smtpd_sender_login_maps = inline:{{ {{help@example.org = help@example.org}} }}
smtpd_sender_restrictions = reject_sender_login_mismatch
message_size_limit = 60000000
mailbox_size_limit = 0
"""
MASTER = """
127.0.0.1:{tls_port} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes
127.0.0.1:{starttls_port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
smtp unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
proxymap unix - - n - - proxymap
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
"""
AUTH = """
protocols =
base_dir = {place}/dovecot
state_dir = {place}/dovecot
log_path = {place}/dovecot.log
auth_mechanisms = plain login
auth_failure_delay = 0
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid=mail gid=mail home=/nonexistent
}}
service auth {{
  unix_listener {place}/queue/private/auth {{
    mode = 0660
    user = postfix
    group = postfix
  }}
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
"""


def missing() -> str:
    """Why it cannot run here, or nothing."""
    if os.getuid() != 0:
        return "Postfix takes root"
    return ", ".join(path for path in NEEDED if not Path(path).exists())


class Postfix:
    """Runs from construction to `stop()`. What it takes it hands to `next_port` on loopback."""

    def __init__(self, certificate: Certificate, password: str, next_port: int) -> None:
        """Every username signs in with `password`, which holds no space."""
        self.place = Path(tempfile.mkdtemp(prefix="postfix-"))
        self.tls_port, self.starttls_port = free_port(), free_port()
        values = {
            "place": self.place, "password": password, "next_port": next_port, "tls_port": self.tls_port,
            "starttls_port": self.starttls_port, "key": self.place / "key", "chain": self.place / "chain",
        }  # fmt: skip
        for name in ("etc", "queue", "queue/private", "data"):
            (self.place / name).mkdir(0o755)
        shutil.copy(certificate.key, self.place / "key")
        shutil.copy(certificate.chain, self.place / "chain")
        for name, text in (("main.cf", MAIN), ("master.cf", MASTER), ("auth.conf", AUTH)):
            (self.place / "etc" / name).write_text(text.format(**values))
        for path in (self.place, *self.place.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o600 if path.name == "key" else 0o644)
        for name in ("data", "queue/private"):
            shutil.chown(self.place / name, "postfix", "postfix")
        self._running = [
            self._start(["/usr/sbin/dovecot", "-F", "-c", str(self.place / "etc/auth.conf")]),
            self._start(["/usr/sbin/postfix", "-c", str(self.place / "etc"), "start-fg"]),
        ]
        try:
            wait_until(
                lambda: "daemon started" in self.log and (self.place / "queue/private/auth").exists(),
                self.log,
            )
        except BaseException:
            self.stop()
            raise

    @property
    def log(self) -> str:
        """What it wrote so far."""
        path = self.place / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _start(self, command: list[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*_dies_with_us(), *command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True, umask=0o022,
        )  # fmt: skip

    def stop(self) -> None:
        """End it."""
        subprocess.run(
            ["/usr/sbin/postfix", "-c", self.place / "etc", "stop"], capture_output=True, timeout=30
        )
        for process in self._running:
            process.terminate()
        for process in self._running:
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
        shutil.rmtree(self.place, ignore_errors=True)
