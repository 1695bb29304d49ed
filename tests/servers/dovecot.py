"""A real Dovecot with a configuration, a run directory and users of its own, on loopback."""

from __future__ import annotations

import base64
import getpass
import hashlib
import itertools
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.running import free_port
from tests.servers.certificates import Authority

if TYPE_CHECKING:
    from tests.servers.smtp import SmtpServer

# Mail processes of a Dovecot started by root may not be root; started by somebody else, all are that one.
MAIL_USER = "mail" if os.getuid() == 0 else getpass.getuser()

CONFIGURATION = """
protocols = imap pop3
base_dir = {run}
state_dir = {run}
log_path = {log}
listen = 127.0.0.1, ::1
default_internal_user = {internal}
default_internal_group = {group}
default_login_user = {login}
first_valid_uid = 1
mail_uid = {uid}
mail_gid = {gid}
mail_home = {mail}/%u
mail_location = maildir:{mail}/%u/Maildir
mail_fsync = never
mail_max_userip_connections = 0
default_process_limit = 500
auth_mechanisms = plain login
auth_failure_delay = 0
auth_username_chars =
auth_username_format = %u
ssl = required
ssl_cert = <{chain}
ssl_key = <{key}
ssl_min_protocol = TLSv1.2
passdb {{
  driver = passwd-file
  args = username_format=%u {passwords}/%u
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={mail}/%u
}}
namespace inbox {{
  inbox = yes
}}
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service imap-login {{
  chroot =
  service_count = 0
  process_min_avail = 1
  inet_listener imap {{
    port = {starttls_port}
  }}
  inet_listener imaps {{
    port = {tls_port}
    ssl = yes
  }}
}}
service pop3-login {{
  chroot =
  service_count = 0
  process_min_avail = 1
  inet_listener pop3 {{
    port = {pop3_starttls_port}
  }}
  inet_listener pop3s {{
    port = {pop3_port}
    ssl = yes
  }}
}}
service stats {{
  chroot =
}}
"""
# Access tokens for IMAP, POP3 and submission, judged by asking the issuer (RFC 7662).
OAUTH = """
protocols = imap pop3 submission
auth_mechanisms = plain login xoauth2 oauthbearer
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {arguments}
}}
submission_relay_host = localhost
submission_relay_port = {relay_port}
submission_relay_ssl = smtps
submission_relay_ssl_verify = no
service submission-login {{
  chroot =
  service_count = 0
  process_min_avail = 1
  inet_listener submission {{
    port = {submission_port}
  }}
  inet_listener submissions {{
    port = 0
  }}
}}
"""
INTROSPECTION = """
introspection_mode = post
introspection_url = http://dovecot:dovecot@{issuer}/token/introspection
force_introspection = yes
active_attribute = active
active_value = true
username_attribute = mailbox
"""


def installed() -> bool:
    """Whether Debian's dovecot-imapd and dovecot-pop3d are here."""
    there = (Path("/usr/lib/dovecot", name).exists() for name in ("imap", "pop3"))
    return _binary() is not None and all(there)


def submits() -> bool:
    """Whether Debian's dovecot-submissiond is here."""
    return Path("/usr/lib/dovecot/submission").exists()


class DovecotServer:
    """Runs from construction to `stop()`. Every mailbox is a Maildir below `directory`."""

    host = "localhost"

    def __init__(self, directory: Path, issuer: str = "", relay: SmtpServer | None = None) -> None:
        """Start it. A `directory` that the users of Dovecot cannot enter is replaced by one in /tmp.

        With the URL of an `issuer` it takes that one's access tokens too, and submits mail to `relay`.
        """
        self._issuer, self.relay = issuer, relay
        self._own = None if _open_to_others(directory) else Path(tempfile.mkdtemp(prefix="dovecot-"))
        self.directory = self._own or directory
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o755)
        self._authority = Authority(self.directory / "certificates")
        self._passwords = self.directory / "passwords"
        for open_to_others in (self.directory / "mail", self._passwords):
            open_to_others.mkdir(exist_ok=True)
            open_to_others.chmod(0o755)  # the umask is a private one once create_app was called
        self._numbers = itertools.count(1)
        self.ca_file = self._authority.ca_file
        self.ports = ports = [free_port() for _ in range(4)]
        self.tls_port, self.starttls_port, self.pop3_port, self.pop3_starttls_port = ports
        if issuer:
            self.submission_port = free_port()
            self.ports = [*ports, self.submission_port]
        self._start()

    # -- users and mail ----------------------------------------------------------

    def add_user(self, user: str, password: str) -> None:
        """Make a mailbox, or give it another password. Any text will do: only its hash is written."""
        digest = base64.b64encode(hashlib.sha512(password.encode()).digest()).decode()
        path = self._passwords / user
        changed = path.exists()
        fresh = self._passwords / f"{user}.new"
        fresh.write_text(f"{user}:{{SHA512.b64}}{digest}\n")
        fresh.chmod(0o644)
        os.utime(fresh, (0, next(self._numbers)))
        fresh.replace(path)
        if changed:
            time.sleep(1.1)  # Dovecot looks at a file it knows once per second, at its time in seconds
        self.maildir(user)

    def maildir(self, user: str, folder: str = "INBOX") -> Path:
        """The Maildir of one folder, made if need be."""
        home = self.directory / "mail" / user
        path = home / "Maildir" if folder == "INBOX" else home / "Maildir" / f".{folder}"
        for made in (home, home / "Maildir", path, path / "cur", path / "new", path / "tmp"):
            if not made.exists():
                made.mkdir(parents=True)
                self._give(made)
        return path

    def deliver(self, user: str, raw: bytes, folder: str = "INBOX") -> Path:
        """Put one message into a folder, as a mail transfer agent would. Returns the file."""
        path = self.maildir(user, folder)
        name = f"{int(time.time())}.M{next(self._numbers):07d}P{os.getpid()}.localhost"
        (path / "tmp" / name).write_bytes(raw)
        self._give(path / "tmp" / name)
        (path / "tmp" / name).rename(path / "new" / name)
        return path / "new" / name

    def fill(self, user: str, count: int, size: int) -> None:
        """Deliver `count` messages of about `size` bytes each, no two alike."""
        line = b"All happy families are alike; each unhappy family is unhappy in its own way.\r\n"
        body = line * max(1, (size - 200) // len(line))
        for number in range(count):
            head = (
                f"From: Sender {number} <sender{number}@example.com>\r\nTo: {user}\r\n"
                f"Subject: Message {number}\r\nMessage-ID: <{number}.{next(self._numbers)}@example.com>\r\n"
                "Date: Mon, 2 Nov 2026 10:00:00 +0000\r\n\r\n"
            )
            self.deliver(user, head.encode() + body)

    def new_uidvalidity(self, user: str) -> None:
        """Number the INBOX anew, as after a restore on the server. Nobody may have it open."""
        path = self.maildir(user)
        listing = path / "dovecot-uidlist"
        old = int(listing.read_text().split()[1][1:]) if listing.exists() else int(time.time())
        for index in path.glob("dovecot.index*"):
            index.unlink()
        listing.write_text(f"3 V{old + 1} N1 G{os.urandom(16).hex()}\n")
        self._give(listing)

    # -- the process -------------------------------------------------------------

    def stop(self) -> None:
        """End it and what it started, and remove a directory it had to make."""
        self._process.terminate()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._own:
            shutil.rmtree(self._own, ignore_errors=True)

    def log(self) -> str:
        """What it wrote into its log so far."""
        path = self.directory / "dovecot.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _start(self) -> None:
        configuration = self.directory / "dovecot.conf"
        configuration.write_text(self._configuration() + self._oauth())
        binary = _binary()
        if binary is None:
            raise RuntimeError("Dovecot is not installed: apt-get install dovecot-imapd dovecot-pop3d")
        self._process = subprocess.Popen(
            [*_dies_with_us(), binary, "-F", "-c", str(configuration)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            for port in self.ports:
                self._wait_for(port)
        except BaseException:
            self.stop()
            raise

    def _wait_for(self, port: int) -> None:
        limit = time.monotonic() + 15
        while time.monotonic() < limit and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError(f"Dovecot did not start: {self.log()}")

    def _configuration(self) -> str:
        good = self._authority.good()
        root = os.getuid() == 0
        owner = pwd.getpwnam(MAIL_USER)
        return CONFIGURATION.format(
            run=self.directory / "run",
            log=self.directory / "dovecot.log",
            internal="dovecot" if root else MAIL_USER,
            group="dovecot" if root else str(owner.pw_gid),
            login="dovenull" if root else MAIL_USER,
            uid=owner.pw_uid,
            gid=owner.pw_gid,
            mail=self.directory / "mail",
            chain=good.chain,
            key=good.key,
            passwords=self._passwords,
            tls_port=self.tls_port,
            starttls_port=self.starttls_port,
            pop3_port=self.pop3_port,
            pop3_starttls_port=self.pop3_starttls_port,
        )

    def _oauth(self) -> str:
        if not self._issuer:
            return ""
        assert self.relay is not None
        arguments = self.directory / "oauth2.conf"
        arguments.write_text(INTROSPECTION.format(issuer=self._issuer.removeprefix("http://")))
        arguments.chmod(0o644)
        return OAUTH.format(
            arguments=arguments, relay_port=self.relay.tls_port, submission_port=self.submission_port
        )

    def _give(self, path: Path) -> None:
        if os.getuid() == 0:
            shutil.chown(path, MAIL_USER, pwd.getpwnam(MAIL_USER).pw_gid)


def _binary() -> str | None:
    return shutil.which("dovecot", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def _dies_with_us() -> list[str]:
    """So that a test run that was killed leaves no server behind (util-linux; other systems do without)."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM"] if setpriv else []


def _open_to_others(directory: Path) -> bool:
    """Whether any user may pass through all folders that exist above `directory` (pytest's own are 0700)."""
    return os.getuid() != 0 or all(
        parent.stat().st_mode & 0o001 for parent in directory.absolute().parents if parent.exists()
    )
