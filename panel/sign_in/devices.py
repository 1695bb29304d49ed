"""Device cookies (OWASP): wrong passwords entered elsewhere do not lock a person out of a known browser.

The cookie grants no access; it only chooses which limit an attempt counts towards. It is signed with the
person's login hash, so a new password invalidates it.
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
    """The device cookie that a browser sent, None if it sent none, and the key that signs such cookies."""

    value: str | None
    key: Secret

    def id_for(self, person: Person | None) -> str | None:
        """The id of this browser, if `person` has signed in with it; None otherwise."""
        if person is None or not self.value:
            return None
        try:
            person_id, device_id = self._serializer(person).loads(self.value)
        except (BadData, TypeError, ValueError):
            return None
        return str(device_id) if person_id == person.id else None

    def issue(self, person: Person) -> str:
        """A cookie with a new id, for a browser in which `person` has just signed in."""
        cookie: str | bytes = self._serializer(person).dumps([person.id, secrets.token_urlsafe(16)])
        return str(cookie)

    def _serializer(self, person: Person) -> URLSafeSerializer:
        return URLSafeSerializer(self.key.reveal(), salt=SALT + person.login_hash)
