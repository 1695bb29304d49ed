"""Browsers in which a person has signed in before: strangers' wrong passwords do not lock them out.

After OWASP's 'device cookies': the cookie opens nothing, it only says whose budget a try is counted in.
It is signed over the person's login hash, and so is void once the password changes.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from itsdangerous import BadData, URLSafeSerializer

from panel.models.sign_in import Person
from panel.secret import Secret

SALT = "mailkeep device cookie of "


@dataclass(frozen=True)
class DeviceCookie:
    """What a browser sent as its device cookie (None: nothing), and the key that signs such cookies."""

    value: str | None
    key: Secret

    def number_for(self, person: Person | None) -> str | None:
        """The number of this browser, where `person` signed in with it; None for every other browser."""
        if person is None or not self.value:
            return None
        try:
            person_id, number = self._serializer(person).loads(self.value)
        except (BadData, TypeError, ValueError):
            return None
        return str(number) if person_id == person.id else None

    def issue(self, person: Person) -> str:
        """The cookie of a browser in which `person` has just signed in, with a number never used before."""
        cookie: str | bytes = self._serializer(person).dumps([person.id, secrets.token_urlsafe(16)])
        return str(cookie)

    def _serializer(self, person: Person) -> URLSafeSerializer:
        return URLSafeSerializer(self.key.reveal(), salt=SALT + person.login_hash)
