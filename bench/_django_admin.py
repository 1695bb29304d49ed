"""Django's admin with one model, for `bench.pages`: as `startproject` sets it up, connections kept open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import django
from django.conf import settings

from bench._programs import PRAGMAS, mailboxes
from bench._sites import PASSWORD, Wsgi, sign_in

urlpatterns: list[Any] = []  # of this module, which is ROOT_URLCONF
APPS = ("admin", "auth", "contenttypes", "sessions", "messages", "staticfiles")
MIDDLEWARE = (
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
)
PROCESSORS = ("template.context_processors.request", "contrib.auth.context_processors.auth",
              "contrib.messages.context_processors.messages")  # fmt: skip


class DjangoAdmin:
    """The changelist of 25 rows a page."""

    def __init__(self, directory: Path) -> None:
        init = ";".join(f"PRAGMA {pragma}" for pragma in PRAGMAS)
        settings.configure(
            DATABASES={
                "default": {
                    "ENGINE": "django.db.backends.sqlite3",
                    "NAME": str(directory / "peer.db"),
                    "CONN_MAX_AGE": None,
                    "OPTIONS": {"timeout": 60, "init_command": init},
                }
            },
            SECRET_KEY="a key of the benchmark",
            ALLOWED_HOSTS=["*"],
            ROOT_URLCONF=__name__,
            STATIC_URL="/static/",
            INSTALLED_APPS=[
                *(f"django.contrib.{app}" for app in APPS),
                "bench",
            ],
            MIDDLEWARE=MIDDLEWARE,
            TEMPLATES=[
                {
                    "BACKEND": "django.template.backends.django.DjangoTemplates",
                    "APP_DIRS": True,
                    "OPTIONS": {"context_processors": [f"django.{each}" for each in PROCESSORS]},
                }
            ],
        )
        django.setup()
        self.model = _model()
        _register(self.model)

    def fill(self, number: int) -> str:
        """Make the tables and the rows, and sign in."""
        from django.contrib.auth.models import User
        from django.core.management import call_command
        from django.db import connection

        call_command("migrate", verbosity=0)
        with connection.schema_editor() as editor:
            editor.create_model(self.model)
        rows = (self.model(**row) for row in mailboxes(number))
        self.model.objects.bulk_create(rows, batch_size=500)
        User.objects.create_superuser("ada", "ada@example.org", PASSWORD)
        return sign_in(self.application(), "/admin/login/", username="ada", password=PASSWORD)

    def application(self) -> Wsgi:
        from django.core.handlers.wsgi import WSGIHandler

        handler: Wsgi = WSGIHandler()
        return handler


def _model() -> Any:
    from django.db import models

    class Mailbox(models.Model):
        address = models.CharField(max_length=254, unique=True)
        host = models.TextField()
        port = models.IntegerField()
        security = models.TextField()
        username = models.TextField()
        is_encrypted = models.BooleanField()
        last_success_at = models.IntegerField(null=True)
        secret = models.BinaryField(null=True)

        class Meta:
            app_label = "bench"
            db_table = "mailbox"
            ordering = ("address",)

        def __str__(self) -> str:
            return str(self.address)

    return Mailbox


def _register(model: Any) -> None:
    from django.contrib import admin
    from django.urls import path

    class MailboxAdmin(admin.ModelAdmin):
        list_display = ("address", "host", "security", "is_encrypted", "last_success_at")
        list_per_page = 25

    admin.site.register(model, MailboxAdmin)
    urlpatterns.append(path("admin/", admin.site.urls))
