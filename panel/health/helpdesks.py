"""The check of sending for helpdesks: through which mailboxes, how much, and what does not work."""

from __future__ import annotations

import socket
from collections.abc import Iterator

from panel.health.check import Check, Install, Label, Link
from panel.health.sending import SendingTotals
from panel.times import ago
from panel.wording import counted

ANSWER_SECONDS = 5.0
OFF = "No helpdesk sends through Mailkeep: the submission server is off."


def helpdesk_sending(install: Install) -> Iterator[Check]:
    """Whether helpdesks can send, where that was set up."""
    bind, found = install.settings.submission_bind, install.sending
    if bind is None and not found.mailboxes:
        yield Check("helpdesk sending", True, OFF, passed_as=Label.OFF)
        return
    if problem := _problem(bind, install.deep):
        yield Check("helpdesk sending", False, *problem)
        return
    for each in found.failing:
        link = Link(f"/accounts/{each.path}/sending", "Open its server for sending")
        message = f"No helpdesk can send as {each.address}: {each.problem}"
        yield Check("helpdesk sending", False, message, each.remedy, link)
    if not found.failing:
        status = Label.OK if found.sent else Label.PENDING
        yield Check("helpdesk sending", True, _message(found), passed_as=status)


def _message(found: SendingTotals) -> str:
    if not found.mailboxes:
        return "No mailbox has a submission password yet."
    sent = "nothing yet"
    if found.sent_at:
        sent = f"{counted(found.sent, 'message')}, the last one {ago(found.sent_at)}"
    return f"Helpdesks can send as {counted(found.mailboxes, 'mailbox')}. Sent: {sent}."


def _problem(bind: tuple[str, int] | None, deep: bool) -> tuple[str, str] | None:
    if bind is None:
        return (
            "A mailbox has a submission password, but no helpdesk can send: the submission server is off.",
            "Set PANEL_SUBMISSION_BIND and restart Mailkeep, or delete the password on the mailbox's page.",
        )
    if deep and not _answers(bind):
        return (
            f"The submission server does not answer on {bind[0]}, port {bind[1]}.",
            "Check that script/server is running, and read its log.",
        )
    return None


def _answers(bind: tuple[str, int]) -> bool:
    try:
        with socket.create_connection(bind, ANSWER_SECONDS) as connection:
            connection.settimeout(ANSWER_SECONDS)
            return connection.recv(4) == b"220 "
    except OSError:
        return False
