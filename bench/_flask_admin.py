"""Flask-Admin's list on SQLAlchemy behind Flask-Login, for `bench.pages`: as its examples set it up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flask import Flask, redirect, request
from flask_admin import Admin
from flask_admin.contrib.sqla import ModelView
from flask_login import LoginManager, UserMixin, current_user, login_user
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event

from bench._programs import PRAGMAS, mailboxes
from bench._sites import PASSWORD, Wsgi, sign_in

db: Any = SQLAlchemy()


class User(UserMixin, db.Model):
    """Who signs in; read from the database for each request."""

    id = db.Column(db.Integer, primary_key=True)
    email = db.Column(db.String(254), unique=True)


class Mailbox(db.Model):
    id = db.Column(db.Integer, primary_key=True)
    address = db.Column(db.String(254), unique=True)
    host = db.Column(db.Text)
    port = db.Column(db.Integer)
    security = db.Column(db.Text)
    username = db.Column(db.Text)
    is_encrypted = db.Column(db.Boolean)
    last_success_at = db.Column(db.Integer)
    secret = db.Column(db.LargeBinary)


class MailboxView(ModelView):
    """The list of 25 rows a page, for who is signed in."""

    page_size = 25
    column_list = ("address", "host", "security", "is_encrypted", "last_success_at")
    column_default_sort = "address"

    def is_accessible(self) -> bool:
        """Ask Flask-Login, as the manual shows."""
        return bool(current_user.is_authenticated)


class FlaskAdmin:
    """The application, with a sign-in page that takes one password."""

    def __init__(self, directory: Path) -> None:
        self.app = app = Flask("bench_flask_admin")
        app.secret_key = "a key of the benchmark"
        app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{directory / 'peer.db'}"
        db.init_app(app)
        LoginManager(app).user_loader(lambda number: db.session.get(User, int(number)))
        Admin(app).add_view(MailboxView(Mailbox, db.session, endpoint="mailbox"))
        app.add_url_rule("/login", view_func=_login, methods=["GET", "POST"])
        with app.app_context():
            event.listen(db.engine, "connect", _prepare)

    def fill(self, number: int) -> str:
        """Make the tables and the rows, and sign in."""
        with self.app.app_context():
            db.create_all()
            db.session.add(User(email="ada@example.org"))
            db.session.execute(db.insert(Mailbox), list(mailboxes(number)))
            db.session.commit()
        return sign_in(self.application(), "/login", password=PASSWORD)

    def application(self) -> Wsgi:
        return self.app


def _prepare(connection: Any, _record: Any) -> None:
    for pragma in PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")


def _login() -> Any:
    if request.form.get("password") == PASSWORD:
        login_user(db.session.execute(db.select(User)).scalar_one())
        return redirect("/admin/mailbox/")
    return "<form method=post><input name=password type=password></form>"
