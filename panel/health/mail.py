"""Checks of the mail: the worker, the last runs, each mailbox, and whether the helpdesk picks mail up."""

from __future__ import annotations

import grp
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

from panel.accounts import overview
from panel.accounts.overview import Health
from panel.accounts.service import without_server
from panel.accounts.totals import Totals
from panel.collect import parked
from panel.deliver import status
from panel.deliver.status import Outgoing
from panel.health import causes, heartbeat
from panel.health import spool as counting
from panel.health.causes import FailingCause
from panel.health.check import Check, Install, Label, Link
from panel.health.spool import Count
from panel.times import ago
from panel.vault.files import typed
from panel.wording import counted, few, without_paths

MANY_UNREAD = 10_000  # messages of one mailbox
LONG_UNREAD = 24 * 3600  # that one message waits in new/
CAUSES_NAMED = 20  # of failing mailboxes
MAILBOXES = Link("/accounts", "Open Mailboxes")
FAILING = Link("/accounts?state=failing", "Show all that fail")
LEFT = "Mail stays in the Maildirs."
DELIVERY = Link("/server/delivery", "Open Delivery")
RESTORED = Link("/server/restored", "Confirm this server")
READ_THE_LOG = "Check that script/server is running, and read its log."
NOT_COLLECTED = {  # one, several
    Health.FAILING: ("is failing", "are failing"),
    Health.NO_PASSWORD: ("has no usable password", "have no usable password"),
    Health.CONSENT: ("waits for its consent", "wait for their consent"),
    Health.WAITS_FOR_KEY: ("needs the encryption key", "need the encryption key"),
    Health.OVERDUE: ("is overdue", "are overdue"),
    Health.NEW: ("is waiting for its first run", "are waiting for their first run"),
    Health.PAUSED: ("is paused", "are paused"),
}


def restored_copy(install: Install) -> Iterator[Check]:
    """Whether this install is the one that collects, and not a copy of it beside another one."""
    if install.copy is None:
        yield Check("restored copy", True, "This install is not a restored copy.")
        return
    message = f"{install.copy.message} No mail is collected, so that two installs never collect one mailbox."
    remedy = "Make sure that the other install is off, then confirm this one, or run: flask backup confirm"
    agent_message = (
        "No mail is collected: the server was restored from a copy, and an administrator must confirm it."
    )
    yield Check("restored copy", False, message, remedy, RESTORED, agent_message)


def worker(install: Install) -> Iterator[Check]:
    """Whether the process that collects mail is running, with or without mailboxes."""
    beat = install.heartbeat.beat_at
    if heartbeat.is_recent(beat):
        yield Check("worker", True, "The worker is running.")
        return
    message = f"The worker last responded {ago(beat)}." if beat else "The worker has never responded."
    agent_message = "The program that collects mail is not running."
    yield Check("worker", False, message, READ_THE_LOG, agent_message=agent_message)


def collecting(install: Install) -> Iterator[Check]:
    """Whether runs still succeed: the newest of all, and each mailbox that is overdue without an error."""
    found = install.mailboxes
    if not found.total:
        yield Check("collecting", True, "No mailboxes yet.", passed_as=Label.OFF)
    elif not found.running:
        yield Check("collecting", True, "All mailboxes are paused.", passed_as=Label.PAUSED)
    elif install.copy is not None:
        return  # `restored_copy` reports that
    elif install.key.state.no_key:
        message = "No mail is collected while the encryption key is unavailable."
        yield Check("collecting", False, message, "Restore the key; collecting then resumes by itself.")
    elif found.late_unexplained or found.late == found.running:  # an error is a result of its own
        yield _overdue(found)
    else:
        yield _collected(found)


def _overdue(found: Totals) -> Check:
    """The result where a mailbox is overdue without a known error, or all are."""
    late = few(found.late_named, found.late_unexplained) if found.late_unexplained else ""
    last = (
        f"Mail was last collected {ago(found.newest)}." if found.newest else "No mail has been collected yet."
    )
    named = f" Overdue without an error: {late}." if late else ""
    agent_message = f"Mail is overdue from {late}." if late else ""
    return Check("collecting", False, last + named, READ_THE_LOG, MAILBOXES, agent_message)


def _collected(found: Totals) -> Check:
    """How many mailboxes are collected; OK only where that is each of them."""
    good, others = found.health[Health.OK], ", ".join(not_collected(found.health))
    if good:
        message = (
            f"{good:,} of {counted(found.total, 'mailbox')} collected, the least recent {ago(found.oldest)}."
        )
        if at_once := parked.connected():
            message += f" New mail of {at_once} arrives at once."
        message += f" {others}." if others else ""
        all_good = good + found.health[Health.PAUSED] == found.total
        return Check("collecting", True, message, passed_as=Label.OK if all_good else Label.ATTENTION)
    if found.health[Health.NEW]:
        message = f"No mailbox has been collected yet: {others}."
        return Check("collecting", True, message, passed_as=Label.PENDING)
    message = f"No mailbox is collected: {others}."
    if found.health[Health.OVERDUE]:
        return Check("collecting", False, message, READ_THE_LOG, MAILBOXES, "No mailbox is collected.")
    return Check("collecting", True, message, link=MAILBOXES, passed_as=Label.FAILING)


def not_collected(found: Mapping[Health, int]) -> list[str]:
    """How many mailboxes are in each state but OK: "1 is failing", "2 are paused"."""
    return [f"{found[each]} {text[found[each] != 1]}" for each, text in NOT_COLLECTED.items() if found[each]]


def mailboxes(install: Install) -> Iterator[Check]:
    """Each mailbox that fails, and why; the first ones of many."""
    for account in without_server() if install.deep or install.mailboxes.without_server else ():
        message = f"{account.address} has no mail server in the database, so it is not collected."
        link = Link(f"/accounts/{account.uuid}/remove", "Remove mailbox", account.address)
        yield Check("mailboxes", False, message, "Remove the mailbox, then add it again.", link)
    if not install.deep:
        yield from _by_cause()
        return
    for line in overview.failing(install.key, install.mailboxes.total).lines:
        yield _failing(line.uuid, line.address, line.problem, line.remedy, line.last_success_at)


def _failing(uuid: str, address: str, problem: str | None, remedy: str | None, success: int | None) -> Check:
    return Check(
        f"mailbox {address}",
        False,
        problem or "",
        remedy or "See the page of the mailbox.",
        Link(f"/accounts/{quote(uuid, '')}", "Open mailbox", address),
        mailbox_problem(address, problem, success),
    )


def _by_cause() -> Iterator[Check]:
    """One result for those that fail alike."""
    found = causes.read(CAUSES_NAMED)
    for each in found.named:
        if each.count == 1:
            yield _failing(each.uuid, each.addresses[0], each.problem, each.remedy, each.last_success_at)
            continue
        message = f"{counted(each.count, 'mailbox')}: {each.cause or each.problem}"
        remedy = each.remedy or "See the page of each."
        link = Link(each.path, f"Show the {each.count:,} mailboxes")
        agent_message = (
            f"{counted(each.count, 'mailbox')} ({few(each.addresses, each.count)}): {cause_text(each)}"
        )
        yield Check("mailboxes", False, message, remedy, link, agent_message, count=each.count)
    if found.more:
        message = f"{found.more_mailboxes:,} more mailboxes fail, for {found.more:,} other reasons."
        yield Check(
            "mailboxes", False, message, "See the list.", FAILING, message, count=found.more_mailboxes
        )


def cause_text(found: FailingCause) -> str:
    """Why these mailboxes fail, without a path of this server."""
    unnamed = "They cannot be collected." if found.cause else "A file of this server cannot be used."
    return without_paths(found.cause) or unnamed


def spool(install: Install) -> Iterator[Check]:
    """Whether the helpdesk picks mail up: each mailbox where many messages wait, or one for long."""
    yield from _group_access(install)
    found = install.waiting
    if install.deep:
        found = counting.counted(install.settings.mail_spool, MANY_UNREAD, LONG_UNREAD)
    for address, count in found.left:
        yield _left(install, address, count)
    if not found.left and found.counted_at is None:
        message = "Messages have not been counted yet."
        yield Check("mail spool", True, message, passed_as=Label.PENDING)
    elif not found.left:
        messages = counted(found.unread, "message") if found.unread else "No messages"
        message = f"{messages} waiting for the helpdesk, counted {ago(found.counted_at)}."
        yield Check("mail spool", True, message)


def _group_access(install: Install) -> Iterator[Check]:
    """What keeps the group of the helpdesk from reading the spool."""
    group, spool = install.settings.mail_group, install.settings.mail_spool
    if group is None:
        return
    if spool.is_relative_to(install.settings.data_dir):
        message = f"The mail spool is in the data directory, which the group {group} cannot enter."
        yield Check("mail spool", False, message, "Set PANEL_MAIL_SPOOL to a directory outside of it.")
        return
    try:
        gid = grp.getgrnam(group).gr_gid
    except KeyError:
        message = f"The Unix group {group} does not exist."
        yield Check("mail spool", False, message, "Create it with groupadd, or change PANEL_MAIL_GROUP.")
        return
    if spool.exists() and not _group_has(spool, gid, 0o5):
        message = f"The group {group} cannot read the mail spool {spool}."
        remedy = f"Run: chgrp {shlex.quote(group)} {typed(spool)} && chmod 2750 {typed(spool)}"
        yield Check("mail spool", False, message, remedy)
    shut = next((each for each in spool.parents if each.exists() and not _group_has(each, gid, 0o1)), None)
    if shut is not None:
        message = f"The group {group} cannot reach the mail spool: it may not enter {shut}."
        yield Check("mail spool", False, message, f"Run: chmod o+x {typed(shut)}, or move PANEL_MAIL_SPOOL.")


def _group_has(directory: Path, gid: int, bits: int) -> bool:
    """Whether the group, or everybody, has `bits` (read 4, enter 1) by the plain modes."""
    found = directory.stat()
    by_group = found.st_gid == gid and (found.st_mode >> 3) & bits == bits
    return by_group or found.st_mode & bits == bits


def _left(install: Install, address: str, count: Count) -> Check:
    new = install.settings.mail_spool / count.account / "new"
    messages = counted(count.unread, "message")
    oldest = f", the oldest delivered {ago(count.oldest_at)}" if count.oldest_at else ""
    return Check(
        f"mail spool of {address}",
        False,
        f"The helpdesk does not pick up mail for {address}: {messages} in {new}{oldest}.",
        "Have the helpdesk collect mail from that folder, or pause the mailbox.",
        Link(f"/accounts/{count.account}", "Open mailbox", address),
        f"Mail for {address} arrives, but the helpdesk does not pick it up.",
    )


def delivery(install: Install) -> Iterator[Check]:
    """Whether mail goes out to the targets that mailboxes have chosen."""
    if install.settings.targets_file is None:
        yield Check("delivery", True, LEFT, passed_as=Label.OFF)
        return
    found = status.outgoing(install.settings, reported_use=not install.deep, reported_waiting=True)
    good = True
    for name, message, remedy in _undelivered(found):
        good = False
        yield Check(name, False, message, remedy, DELIVERY, "Mail does not go out to the helpdesk.")
    if not found.used:
        yield Check("delivery", True, LEFT, passed_as=Label.OFF)
    elif good:
        names = few([each.name for each in found.used])
        waiting = sum(each.waiting for each in found.used)
        waits = f"{counted(waiting, 'message') if waiting else 'none'} waited when last counted"
        oldest = f", the oldest from {ago(found.oldest_at)}" if found.oldest_at else ""
        yield Check("delivery", True, f"Mail goes out to {names}; {waits}{oldest}.")


def _undelivered(found: Outgoing) -> Iterator[tuple[str, str, str]]:
    """Name of the check, message and remedy of each reason for which mail does not go out."""
    if found.problem:
        yield "delivery", found.problem, found.remedy
    for each in found.used:
        name = f"delivery to {each.name}"
        if not each.does:
            remedy = "Add it there, or choose another target: flask accounts edit ADDRESS --deliver-to NAME"
            yield name, f"The target {each.name} is not in the targets file, so mail waits.", remedy
        elif each.since:
            message = f"{each.name} takes no mail and first failed {ago(each.since)}: {each.answer}"
            yield name, message, "Mail waits until it does."
    if count := sum(found.aside.values()):
        remedy = "The page of each mailbox says why. Then run: flask deliver again ADDRESS --set-aside"
        yield "delivery", f"{counted(count, 'message')} could not be delivered, and lie set aside.", remedy


def mailbox_problem(address: str, problem: str | None, last_success_at: int | None) -> str:
    """The error of a mailbox in a sentence without paths of this server."""
    stated = without_paths(problem) or "The mailbox cannot be collected."
    return f"{address}: {stated} Last collected: {ago(last_success_at)}."
