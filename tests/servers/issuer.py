"""A real OAuth2 provider on loopback: npm's oidc-provider, certified for OpenID Connect (tests/servers/oidc)."""

from __future__ import annotations

import base64
import hashlib
import html
import http.client
import json
import re
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

from tests.running import free_port

FOLDER = Path(__file__).parent / "oidc"
SCOPE = "openid email offline_access mail"
CONTROL_SECONDS = 20


@dataclass(frozen=True)
class Client:
    """An app as the provider knows it. `secret`: empty for a public client."""

    id: str
    secret: str
    redirects: tuple[str, ...] = ("http://127.0.0.1/oauth/callback/app",)
    method: str = "client_secret_basic"


CLIENTS = (
    Client("panel", "the client secret of the panel +/%&=:~"),
    Client("other", "another client secret", method="client_secret_post"),
    Client("public", ""),
)


class Person:
    """Somebody with a browser: cookies, redirects, and whatever form the provider shows."""

    def __init__(self, home: str) -> None:
        self._home = home
        self._cookies: dict[str, str] = {}

    def visit(self, url: str, account: str) -> str:
        """Follow `url` to where it leaves the provider, or to a page without a form."""
        form: dict[str, str] | None = None
        for _ in range(20):
            if not url.startswith(self._home):
                return url
            location, page = self._ask(url, form)
            if location is None and "<form" not in page:
                return url.partition("?")[0]
            if location is not None:
                url, form = urljoin(url, location), None
                continue
            url = urljoin(url, html.unescape(re.findall(r'<form[^>]* action="([^"]*)"', page)[0]))
            form = dict(re.findall(r'<input[^>]* name="([^"]*)"[^>]*? value="([^"]*)"', page))
            form |= {"login": account, "password": "any", "confirm": "yes"}
        raise AssertionError(f"the provider does not let {account} go on at {url}")

    def _ask(self, url: str, form: dict[str, str] | None) -> tuple[str | None, str]:
        to = urlsplit(url)
        connection = http.client.HTTPConnection(to.netloc, timeout=CONTROL_SECONDS)
        cookies = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        headers = {"Cookie": cookies, "Content-Type": "application/x-www-form-urlencoded"}
        body = None if form is None else urlencode(form)
        connection.request(
            "GET" if form is None else "POST", to._replace(scheme="", netloc="").geturl(), body, headers
        )
        with connection.getresponse() as response:
            for cookie in response.headers.get_all("Set-Cookie") or ():
                name, _, value = cookie.partition(";")[0].partition("=")
                self._cookies[name] = value
            page = response.read().decode()
            assert response.status < 400, f"{url}: {response.status}: {page}"
            return response.headers["Location"], page


def missing() -> str:
    """What is not installed here, to be said where a test is skipped; empty where all is."""
    node = shutil.which("node")
    if node is None:
        return "needs Node.js 20 or newer with npm"
    version = subprocess.run([node, "--version"], capture_output=True, text=True).stdout
    if int((re.match(r"v(\d+)", version) or ["", "0"])[1]) < 20:
        return f"needs Node.js 20 or newer, not {version.strip()}"
    if not (FOLDER / "node_modules" / "oidc-provider").is_dir():
        return "needs the packages that script/npm-packages installs"
    return ""


class Issuer:
    """Runs from construction to `stop()`. Every account signs in with any password, and is its own mailbox."""

    def __init__(self, clients: tuple[Client, ...] = CLIENTS, **settings: Any) -> None:
        """Start it. `settings` are those of provider.mjs."""
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        described = [vars(client) for client in clients]
        self._process = subprocess.Popen(
            ["node", str(FOLDER / "provider.mjs")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdin and self._process.stdout
        print(
            json.dumps({"port": self.port, "clients": described, **settings}),
            file=self._process.stdin,
            flush=True,
        )
        if self._process.stdout.readline() != "ready\n":
            self.stop()
            raise RuntimeError("the provider did not start")

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream
            stream.close()

    def reset(self) -> None:
        """As it was started: settings, no faults, an empty log. Consents and clients stay."""
        self._control("reset", {})

    def register(self, client: Client) -> None:
        """Add a client, or change the one of that id; not one of CLIENTS, which other tests find as it is."""
        assert client.id not in {one.id for one in CLIENTS}
        self._control("client", vars(client))

    def set(self, **settings: Any) -> None:
        """Change settings of provider.mjs."""
        self._control("settings", settings)

    def fault(self, path: str = "/token", **fault: Any) -> None:
        """What becomes of the next request to `path`, or the next `times`: see provider.mjs."""
        self._control("fault", {"path": path, **fault})

    def revoke(self, account: str, **how: str) -> None:
        """End the consents of `account`; with only="access" its access tokens alone."""
        self._control("revoke", {"account": account, **how})

    def consent(
        self, account: str, client: str = "panel", scope: str = SCOPE, redirect: str = ""
    ) -> tuple[str, str]:
        """A code, as if `account` had signed in and consented, and the verifier that belongs to it."""
        verifier = secrets.token_urlsafe(48)
        digest = hashlib.sha256(verifier.encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        redirect = redirect or CLIENTS[0].redirects[0]
        asked = {
            "client": client,
            "account": account,
            "scope": scope,
            "redirect": redirect,
            "challenge": challenge,
        }
        return self._control("grant", asked)["code"], verifier

    def sign_in(self, url: str, account: str) -> str:
        """Open `url` as a person with a browser, sign in as `account`, consent; where the browser ends."""
        return Person(self.url).visit(url, account)

    def enter(self, user_code: str, account: str) -> None:
        """Enter a device's code, sign in as `account` and consent."""
        page = Person(self.url).visit(f"{self.url}/device?user_code={user_code}", account)
        assert page.startswith(f"{self.url}/device/"), page

    def log(self, path: str = "/token") -> list[dict[str, Any]]:
        """The requests to `path`, oldest first, each with its form."""
        found: list[dict[str, Any]] = self._control("log", None)
        return [entry for entry in found if entry["path"] == path]

    def forget(self) -> None:
        """Begin the log anew."""
        self._control("log", None, "DELETE")

    def _control(self, name: str, values: object, method: str | None = None) -> Any:
        body = None if values is None else json.dumps(values).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=CONTROL_SECONDS)
        connection.request(method or ("GET" if body is None else "POST"), f"/control/{name}", body)
        with connection.getresponse() as response:
            assert response.status == 200, f"{name}: {response.status}"
            return json.load(response)
