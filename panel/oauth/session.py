"""One call to a provider's token endpoint: Authlib's, over our own HTTPS client.

What a provider answers is checked for type and length before Authlib reads it; its words are never shown.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus, urlencode

from panel.errors import MailError, PanelError, TokenUnavailable
from panel.mail import https
from panel.mail.https import Body, HttpLimits
from panel.mail.policy import KIB, Policy
from panel.models.oauth import AppPlace
from panel.oauth import providers, sentences
from panel.oauth.providers import Endpoints
from panel.secret import Secret

LIMITS = HttpLimits(seconds=10.0, connect_seconds=4.0, body=128 * KIB)
# For one token: an issuer's addresses are discovered first, and it may be asked again without a scope.
LONGEST_CALL = providers.LIMITS.seconds + 2 * LIMITS.seconds
LONGEST_LIFE = 24 * 3600  # seconds
TEXTS = (
    "error", "error_description", "access_token", "token_type", "refresh_token", "id_token", "device_code",
    "user_code", "verification_uri",
)  # fmt: skip
OTHER_WORDS = {"authorization_declined": "access_denied"}  # Microsoft's
NETWORK = "Check this server's DNS and firewall, then try again."


class AnswerLost(TokenUnavailable):
    """The provider was asked, and its answer did not come whole: it may count the token as used."""


class TokenSession:
    """The session object that Authlib calls: `post`, `request` and `close` are all that it needs."""

    def __init__(self, app: AppPlace, at: Endpoints, policy: Policy, *, of_code: bool = False) -> None:
        self._app, self._at, self._policy, self._of_code = app, at, policy, of_code
        self.error = self._description = ""  # of the last answer

    def authlib(self, secret: Secret | None, redirect: str = "") -> Any:
        """Authlib's client for this app. Only what asks for a token imports it."""
        from authlib.oauth2 import OAuth2Client

        shown = secret.reveal() if secret else ""
        client = OAuth2Client(
            self,
            client_id=self._app.client_id,
            client_secret=shown or None,
            token_endpoint_auth_method=self._at.auth_method if shown else "none",
            scope=providers.scopes(self._app) or None,
            redirect_uri=redirect or None,
            code_challenge_method="S256",
        )
        client.register_client_auth_method((providers.BASIC, _basic))
        return client

    def tokens(self, secret: Secret, method: str, redirect: str = "", **values: str) -> dict[str, Any]:
        """Call the token endpoint by Authlib's `method`. Raises as the module says."""
        from authlib.common.errors import AuthlibBaseError

        try:
            found = getattr(self.authlib(secret, redirect), method)(self._at.token, **values)
        except AuthlibBaseError:
            raise self._refusal() from None
        fields: dict[str, Any] = found
        return fields

    def post_form(self, secret: Secret, url: str, values: dict[str, str]) -> dict[str, Any]:
        """POST to another address of the provider; what it answered."""
        client = self.authlib(secret)
        answer = self.post(url, values, {}, client.client_auth(client.token_endpoint_auth_method)).json()
        if self.error:
            raise self._refusal()
        return answer

    def _refusal(self) -> PanelError:
        return sentences.refusal(self._app, self.error, self._description, of_code=self._of_code)

    def _remedy(self, error: MailError) -> str:
        """Of a failed connection. Nobody has typed the names of Microsoft's and Google's servers."""
        typed = self._app.provider == "issuer" or error.permanent
        return error.remedy if typed or error.step not in ("name", "connect") else NETWORK

    def post(self, url: str, data: dict[str, str], headers: object, auth: Any) -> _Answer:
        """POST a form, as Authlib asks. Raises TokenUnavailable."""
        url, sent, body = auth.prepare("POST", url, {"Accept": "application/json"}, urlencode(data))
        form = Body(body.encode(), "application/x-www-form-urlencoded")
        internal = providers.is_internal(self._app, url)
        try:
            response = https.fetch(
                url, self._policy, internal=internal, limits=LIMITS, body=form, headers=sent
            )
        except MailError as error:
            if error.step == "send":
                raise AnswerLost(error.message, sentences.AGAIN) from None
            raise TokenUnavailable(error.message, self._remedy(error)) from None
        if response.status == 429 or response.status >= 500:
            raise sentences.busy(response.status, response.retry_after)
        fields = _fields(response.json_object())
        self.error, self._description = fields.get("error", ""), fields.pop("error_description", "")
        return _Answer(response.status, fields)

    def request(self, *_: object, **__: object) -> _Answer:
        """Only POST is used: a token has no place in a URL."""
        raise NotImplementedError

    def close(self) -> None:
        """Each call has a connection of its own."""


@dataclass(frozen=True)
class _Answer:
    """What Authlib looks at of a response."""

    status_code: int
    fields: dict[str, Any] = field(repr=False)

    def json(self) -> dict[str, Any]:
        return self.fields


def _fields(found: dict[str, Any] | None) -> dict[str, Any]:
    """The known fields of a token response, each of the type that it has to be. Raises AnswerLost."""
    if found is None:
        raise AnswerLost(*sentences.SENSELESS)
    # Empty or null, a field says as much as a missing one: `error` too, beside what was granted.
    texts = {name: found[name] for name in TEXTS if found.get(name) and isinstance(found[name], str)}
    if found.get("error"):
        error = texts.get("error", "")[:64].lower()  # as RFC 6749 writes them; some do not
        return {
            "error": OTHER_WORDS.get(error, error),
            "error_description": texts.get("error_description", ""),
        }
    numbers = {
        name: found[name] for name in ("expires_in", "interval") if whole_seconds(found.get(name), -1) >= 0
    }
    return texts | {name: whole_seconds(value, 0) for name, value in numbers.items()}


def is_token(value: object, longest: int) -> bool:
    """Whether it is visible ASCII (RFC 6749, appendix A), without a space, of 1 to `longest` characters."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= longest
        and value.isascii()
        and value.isprintable()
        and " " not in value
    )


def whole_seconds(value: object, otherwise: int) -> int:
    """A number of seconds, a day at most, as number or digits; `otherwise` for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:10])
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        return otherwise
    return min(int(value), LONGEST_LIFE)


def _basic(client: Any, method: str, uri: str, headers: dict[str, str], body: str) -> tuple[str, Any, str]:
    """HTTP Basic with both parts form-encoded, as RFC 6749 (2.3.1) has it and Authlib does not."""
    pair = f"{quote_plus(client.client_id)}:{quote_plus(client.client_secret)}"
    return uri, headers | {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}, body
