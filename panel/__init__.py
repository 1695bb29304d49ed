"""Mailkeep: the server-admin panel of a self-hosted helpdesk.

Nothing is imported here before it is needed: the deliverer (`panel.deliver`) knows neither database nor key.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from panel.config import Settings


def create_app(settings: Settings | None = None) -> Flask:
    """The application for `settings` (read from the environment when not given). A wiring list."""
    from flask import Flask

    from panel import db, install
    from panel.accounts import cli as accounts_cli
    from panel.accounts import connect_cli, connect_routes
    from panel.accounts import mailbox_routes as accounts_mailbox
    from panel.activity import cli as activity_cli
    from panel.activity import routes as activity
    from panel.alerts import cli as alerts_cli
    from panel.alerts import routes as alerts
    from panel.backup import cli as backup_cli
    from panel.backup import routes as backup
    from panel.collect import cli as collect_cli
    from panel.config import ROOT, Settings
    from panel.deliver import cli as deliver_cli
    from panel.deliver import routes as deliver
    from panel.encryption import cli as encryption_cli
    from panel.encryption import routes as encryption
    from panel.health import cli as health_cli
    from panel.health import routes as health
    from panel.help import routes as help_
    from panel.messages import cli as messages_cli
    from panel.messages import routes as messages
    from panel.oauth import cli as oauth_cli
    from panel.oauth import routes as oauth
    from panel.people import cli as people_cli
    from panel.people import routes as people
    from panel.sending import cli as sending_cli
    from panel.sending import routes as sending
    from panel.serve.jobs import Jobs
    from panel.server_settings import cli as settings_cli
    from panel.server_settings import routes as server_settings
    from panel.services import Services
    from panel.setup import cli as setup_cli
    from panel.setup import routes as setup
    from panel.sign_in import invitation_routes as invitation
    from panel.sign_in import login
    from panel.sign_in import routes as sign_in
    from panel.submission import cli as submission_cli
    from panel.submission import routes as submission
    from panel.vault import sealer
    from panel.vault.vault import Vault
    from panel.web import access, connection, errors, headers, help_topics, static_files, templating, text
    from panel.web.form_tokens import FormTokens

    os.umask(0o077)  # whatever this process writes is private
    settings = settings or Settings.load()
    database = db.connect(settings.database_url)
    db.database.initialize(database)
    vault = Vault.of(settings, database)
    sealer.connect(vault)

    app = Flask("panel", root_path=str(ROOT), static_folder=None, template_folder="templates")
    secret_key = install.read_secret_key(settings)
    app.secret_key = secret_key.reveal() if secret_key else None
    app.extensions["mailkeep"] = Services(settings, vault)
    app.extensions["mailkeep.jobs"] = Jobs(app.extensions["mailkeep"])

    connection.init_app(app)
    headers.init_app(app, settings)
    errors.init_app(app)
    static_files.init_app(app, ROOT / "static")
    text.init_app(app)
    login.init_app(app)
    FormTokens(app)
    access.init_app(app)
    templating.init_app(app, settings)
    help_topics.init_app(app)

    app.register_blueprint(health.blueprint)
    app.register_blueprint(health.home_blueprint)
    app.register_blueprint(health.status_blueprint)
    app.register_blueprint(setup.blueprint)
    app.register_blueprint(setup.steps_blueprint)
    app.register_blueprint(sign_in.blueprint)
    app.register_blueprint(sign_in.profile_blueprint)
    app.register_blueprint(accounts_mailbox.blueprint)  # with the views of its other *_routes
    app.register_blueprint(connect_routes.blueprint)
    app.register_blueprint(connect_routes.callback_blueprint)
    app.register_blueprint(oauth.blueprint)
    app.register_blueprint(invitation.blueprint)
    app.register_blueprint(sending.blueprint)
    app.register_blueprint(submission.blueprint)
    app.register_blueprint(deliver.blueprint)
    app.register_blueprint(deliver.mailbox_blueprint)
    app.register_blueprint(encryption.blueprint)
    app.register_blueprint(alerts.blueprint)
    app.register_blueprint(backup.blueprint)
    app.register_blueprint(messages.blueprint)
    app.register_blueprint(people.blueprint)
    app.register_blueprint(activity.blueprint)
    app.register_blueprint(server_settings.blueprint)
    app.register_blueprint(help_.blueprint)
    app.cli.add_command(setup_cli.setup)
    app.cli.add_command(messages_cli.messages)
    app.cli.add_command(people_cli.people)
    app.cli.add_command(accounts_cli.accounts)
    app.cli.add_command(sending_cli.sending)
    sending_cli.sending.add_command(submission_cli.submission_password)
    oauth_cli.oauth.add_command(connect_cli.connect)
    app.cli.add_command(oauth_cli.oauth)
    app.cli.add_command(encryption_cli.encryption)
    app.cli.add_command(alerts_cli.alerts)
    app.cli.add_command(deliver_cli.deliver)
    app.cli.add_command(backup_cli.backup)
    app.cli.add_command(activity_cli.activity)
    app.cli.add_command(health_cli.doctor)
    app.cli.add_command(collect_cli.collect)
    app.cli.add_command(settings_cli.settings)
    return app
