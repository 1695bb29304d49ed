"""`flask messages`: what came in, from whom, and where it is now."""

from __future__ import annotations

from dataclasses import asdict

import click

from panel.errors import NotFound
from panel.listing import ListQuery
from panel.messages import search
from panel.messages.rows import MessageLine
from panel.messages.search import Scope
from panel.models import LISTED, Account
from panel.printing import print_json, say
from panel.services import current
from panel.shell import PanelGroup, count_option, json_option
from panel.times import exact, machine, parsed
from panel.wording import counted

messages = PanelGroup("messages", help="Collected mail: sender, subject, and where it is.")


@messages.command("list")
@click.argument("words", nargs=-1)
@click.option("--account", "address", metavar="ADDRESS", help="Only messages of this mailbox.")
@click.option("--from", "sender", default="", metavar="TEXT", help="Only with this text in the sender.")
@click.option(
    "--since", metavar="DATE", help="Only since this day or time, such as 2026-11-25 or 2026-11-25T14:30."
)
@click.option(
    "--text", default="", help="Only with these words in sender, subject or mailbox, or of this date."
)
@count_option
@json_option
def list_(
    words: tuple[str, ...], address: str | None, sender: str, since: str | None, text: str, count: int,
    json_: bool,
) -> None:  # fmt: skip
    """List messages, newest first: all, or those with all WORDS, as --text finds them.

    Their text is not kept: it is in the Maildir alone.
    """
    settings = current().settings
    at = None if since is None else parsed(since, settings.timezone)
    scope = Scope(account="" if address is None else _uuid(address), sender=sender.strip(), since=at)
    query = ListQuery(q=" ".join([text, *words]).strip())
    found = search.find(query, settings.timezone, settings.mail_spool, scope, count)
    if json_:
        print_json([_as_json(each) for each in found.rows])
        return
    if not found.rows:
        days = settings.message_log_days
        nothing = f"No matching messages in the last {counted(days, 'day')}."
        say(nothing if days else "Messages are not logged.")
    for each in found.rows:
        place = "set aside" if each.place == "aside" else each.place
        why = each.reason or each.answer
        state = f"{place}: {why}" if why else place
        sender = f"{each.sender_name} <{each.sender}>" if each.sender_name else each.sender
        head = f"{sender or '(no sender)'}: {each.subject or '(no subject)'}"
        say(f"{exact(each.at, settings.timezone)}  {each.mailbox}  {head}  {each.size} bytes, {state}")


def _uuid(address: str) -> str:
    account = Account.get_or_none(Account.address == address, LISTED)
    if account is None:
        raise NotFound(f"There is no mailbox {address}.", "To list them, run: flask accounts list")
    return str(account.uuid)


def _as_json(each: MessageLine) -> dict[str, object]:
    found = asdict(each)
    went_at = found.pop("went_at")
    times = {"at": machine(found.pop("at")), "went_at": None if went_at is None else machine(went_at)}
    return {**times, "state": found.pop("place"), **found}
