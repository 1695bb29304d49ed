"""The very proxies of proxy.md, running with the configuration that stands there."""

from __future__ import annotations

import http.client
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from tests.docs.pages import Block
from tests.running import free_port, wait_until
from tests.servers.certificates import Authority, Certificate

AROUND = """
user {user};
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {server}
}}
"""


def binary(kind: str) -> str | None:
    """Where the proxy is installed, if it is."""
    return shutil.which(kind, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin")


class Proxy:
    """nginx or Caddy with a block of the manual, on a port of its own, in front of `backend`."""

    def __init__(self, block: Block, backend: str, authority: Authority, folder: Path, user: str) -> None:
        """Start it and wait until it listens. Fails with what it said where it does not."""
        self.port = free_port()
        folder.mkdir(parents=True)
        self.host = _name(block)
        certificate = authority.issue(self.host, [self.host])
        text = block.text.replace("127.0.0.1:8000", backend)
        program = str(binary(block.kind))
        if block.kind == "nginx":
            path = folder / "nginx.conf"
            server = _with_certificate(text, self.port, certificate)
            path.write_text(AROUND.format(user=user, folder=folder, server=server), "utf-8")
            command = [program, "-e", str(folder / "nginx.log"), "-c", str(path), "-g", "daemon off;"]
        else:
            path = folder / "Caddyfile"
            site = f"https://{self.host}:{self.port} {{\ntls {certificate.chain} {certificate.key}"
            text = text.replace(f"{self.host} {{", site, 1)
            path.write_text(f"{{\nadmin off\nauto_https disable_redirects\n}}\n{text}", "utf-8")
            command = [program, "run", "--adapter", "caddyfile", "--config", str(path)]
        self._said = folder / "said.log"
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(
                command, stdout=said, stderr=said, env={"HOME": str(folder), "PATH": "/usr/bin:/bin"}
            )
        wait_until(self._listens, lambda: f"{block.kind}: {self._said.read_text()}")

    def _listens(self) -> bool:
        assert self._process.poll() is None, self._said.read_text("utf-8")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(60)


def _name(block: Block) -> str:
    found = re.search(
        r"server_name (\S+);" if block.kind == "nginx" else r"^(\S+) \{", block.text, re.MULTILINE
    )
    assert found, block
    return found[1]


def _with_certificate(text: str, port: int, certificate: Certificate) -> str:
    text = text.replace("listen 443 ssl", f"listen 127.0.0.1:{port} ssl")
    text = re.sub(r"ssl_certificate +[^;]+", f"ssl_certificate {certificate.chain}", text)
    return re.sub(r"ssl_certificate_key +[^;]+", f"ssl_certificate_key {certificate.key}", text)


@dataclass(frozen=True)
class Answer:
    """A response, read to its end unless it is `open`."""

    status: int
    headers: http.client.HTTPMessage
    text: str


class _Connection(http.client.HTTPSConnection):
    """To 127.0.0.1, from an address of our own, whatever name stands in the URL."""

    def __init__(self, proxy: Proxy, authority: Path, source: str) -> None:
        super().__init__(proxy.host, proxy.port, timeout=30)
        self._trusted = ssl.create_default_context(cafile=str(authority))
        self._source = source

    def connect(self) -> None:
        plain = socket.create_connection(("127.0.0.1", self.port), 30, (self._source, 0))
        self.sock = self._trusted.wrap_socket(plain, server_hostname=self.host)


@dataclass
class Visitor:
    """Somebody with a browser behind the proxy: keeps cookies, sends forms with their token."""

    proxy: Proxy
    authority: Path
    source: str = "127.0.0.2"
    cookies: dict[str, str] = field(default_factory=dict)
    token: str = ""

    def get(self, path: str, **headers: str) -> Answer:
        """One page."""
        return self._read(self._ask("GET", path, None, headers))

    def post(self, path: str, **form: str) -> Answer:
        """A form, with the token of the page that was seen last."""
        return self._read(self._ask("POST", path, form, {}))

    def begin_post(self, path: str, form: Mapping[str, str], **headers: str) -> http.client.HTTPResponse:
        """A form whose answer is read by the caller, as it comes."""
        return self._ask("POST", path, form, headers)

    def _ask(
        self, method: str, path: str, form: Mapping[str, str] | None, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        connection = _Connection(self.proxy, self.authority, self.source)
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        sent = {"Host": self.proxy.host, "Cookie": cookies, **headers}
        body = None
        if form is not None:
            body = urlencode({"csrf_token": self.token, **form})
            origin = f"https://{self.proxy.host}"
            sent |= {"Content-Type": "application/x-www-form-urlencoded", "Referer": f"{origin}{path}"}
        connection.request(method, path, body, sent)
        return connection.getresponse()

    def _read(self, response: http.client.HTTPResponse) -> Answer:
        text = response.read().decode("utf-8", "replace")  # fonts too
        for line in response.headers.get_all("Set-Cookie") or []:
            for name, morsel in SimpleCookie(line).items():
                self.cookies[name] = morsel.value
        token = re.search(r'name="csrf_token"[^>]* value="([^"]+)"', text)
        self.token = token[1] if token else self.token
        return Answer(response.status, response.headers, text)


def path_of(url: str) -> str:
    """The path of an address that an answer names, whole or not."""
    return urlsplit(url).path
