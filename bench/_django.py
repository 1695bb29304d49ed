"""Django with django-fernet-encrypted-fields, for `bench.sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import django
from django.conf import settings

from bench._programs import NEW, OLD, PRAGMAS, Peer, passwords

BATCH = 500  # `bulk_update` builds one CASE a batch; larger ones are slower


class Django(Peer):
    """The field re-encrypts whatever is saved; in bulk, which is ten times quicker than save() a row."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.keys = [OLD]

    def open(self) -> None:
        """Configure Django and map the table. Under OLD at first, under NEW once it is to be rotated."""
        rotating = self._is_encrypted()
        settings.configure(
            DATABASES={
                "default": {
                    "ENGINE": "django.db.backends.sqlite3",
                    "NAME": str(self.database),
                    "OPTIONS": {"timeout": 60, "init_command": ";".join(f"PRAGMA {p}" for p in PRAGMAS)},
                }
            },
            SECRET_KEY=NEW if rotating else OLD,
            SECRET_KEY_FALLBACKS=[OLD] if rotating else [],
            SALT_KEY="salt of the benchmark",
        )
        django.setup()
        self.model: Any = _model()
        _ = self.model._meta.get_field("secret").f  # the key is derived once a process, before it is measured

    def _is_encrypted(self) -> bool:
        from bench._programs import connect

        with connect(self.database) as connection:
            return bool(connection.execute("SELECT 1 FROM account WHERE secret IS NOT NULL").fetchone())

    def enable(self) -> None:
        """Pages of objects, `bulk_update`, one commit a page."""
        for page in self._pages():
            for row in page:
                row.secret, row.clear = row.clear, None
            self.model.objects.bulk_update(page, ["secret", "clear"])

    def rotate(self) -> None:
        """The same: reading decrypts with the old key, writing encrypts with the new one."""
        for page in self._pages():
            self.model.objects.bulk_update(page, ["secret"])

    def _pages(self) -> Any:
        last = 0
        while page := list(self.model.objects.filter(id__gt=last).order_by("id")[:BATCH]):
            last = page[-1].id
            yield page

    def check(self) -> int:
        found = dict(self.model.objects.values_list("id", "secret"))
        return sum(found[number] == secret for number, _, secret in passwords(len(found)))


def _model() -> Any:
    from django.db import models
    from encrypted_fields.fields import EncryptedTextField

    class Account(models.Model):
        id = models.IntegerField(primary_key=True)
        address = models.TextField()
        host = models.TextField()
        port = models.IntegerField()
        username = models.TextField()
        is_encrypted = models.BooleanField()
        clear = models.TextField(null=True)
        secret = EncryptedTextField(null=True)

        class Meta:
            app_label = "bench"
            db_table = "account"

    return Account
