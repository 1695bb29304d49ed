"""Checks of the mail: the worker, the last real rounds, each account, and whether mail is taken away."""

from __future__ import annotations

import grp
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from panel import db
from panel.accounts import overview
from panel.accounts.overview import Health, Line
from panel.accounts.service import without_server
from panel.accounts.totals import Totals
from panel.health import spool as counting
from panel.health.check import Check, Install, Link
from panel.health.spool import Count
from panel.times import ago
from panel.vault.files import typed

SILENT_SECONDS = 90  # the worker's beat comes every five
FAILING_NAMED = 20  # mailboxes that are findings of their own
MANY_UNREAD = 10_000  # messages of one account
LONG_UNREAD = 24 * 3600  # that one message lies in new/
ACCOUNTS = Link("/accounts", "Open Mail accounts")
NOT_COLLECTED = {  # one, several
    Health.FAILING: ("fails", "fail"),
    Health.NO_PASSWORD: ("has no usable password", "have no usable password"),
    Health.WAITS_FOR_KEY: ("waits for the key", "wait for the key"),
    Health.OVERDUE: ("is overdue", "are overdue"),
    Health.NEW: ("waits for its first round", "wait for their first round"),
    Health.PAUSED: ("is paused", "are paused"),
}
RESTORED = Link("/server/restored", "Answer the question")


def restored_copy(install: Install) -> Iterator[Check]:
    """Whether this is the install that collects, and no copy of it beside another one."""
    if install.copy is None:
        yield Check("restored copy", True, "This is the install that collects, not a copy of it.")
        return
    message = f"{install.copy.message} No mail is collected, so that two installs never collect one mailbox."
    remedy = "Is the other install switched off? Then say so, or type: flask backup confirm"
    told = "No mail is collected: this server was restored from a copy, and an administrator must confirm it."
    yield Check("restored copy", False, message, remedy, RESTORED, told)


def worker(install: Install) -> Iterator[Check]:
    """Whether the process that collects mail is alive, mailboxes or none."""
    beat = install.heartbeat.beat_at
    if beat is not None and abs(db.now() - beat) <= SILENT_SECONDS:
        yield Check("worker", True, "The worker runs.")
        return
    message = f"The worker was last heard of {ago(beat)}." if beat else "The worker was never heard of."
    told = "The program that collects mail does not run."
    yield Check("worker", False, message, "Is script/server running? Its log tells more.", told=told)


def collecting(install: Install) -> Iterator[Check]:
    """Whether real rounds still end well: the newest of all, and any that is overdue without a reason."""
    found = install.mailboxes
    if not found.total:
        yield Check("collecting", True, "There is no mailbox yet.", instead="No mailbox")
        return
    if not found.running:
        yield Check("collecting", True, "Every mailbox is paused.", instead="Paused")
        return
    if install.copy is not None:
        return  # that is said already
    if install.key.state.no_key:
        remedy = "Put the key right first; collecting goes on by itself then."
        yield Check("collecting", False, "No mail is collected while the key is not in order.", remedy)
        return
    if found.late_unexplained or found.late == found.running:  # where there is a problem, that says it
        late = _few(found.late_named, found.late_unexplained) if found.late_unexplained else ""
        named = f" Overdue without a known reason: {late}." if late else ""
        message = f"The last successful collection of any mailbox was {ago(found.newest)}.{named}"
        told = f"Mail is overdue from {late}." if late else ""
        yield Check(
            "collecting", False, message, "Is script/server running? Its log tells more.", ACCOUNTS, told
        )
    else:
        yield _collected(found)


def _collected(found: Totals) -> Check:
    """How many mailboxes are collected. OK stands there only where each of them is."""
    good, others = found.health[Health.OK], not_collected(found.health)
    but = f" {', '.join(others)}." if others else ""
    if not good and not found.health[Health.NEW]:
        message = f"No mailbox is collected: {', '.join(others)}."
        if not found.health[Health.OVERDUE]:  # the others are findings of their own
            return Check("collecting", True, message, link=ACCOUNTS, instead="Failing")
        return Check(
            "collecting", False, message, "Is script/server running?", ACCOUNTS, "No mailbox is collected."
        )
    if not good:
        message = f"No mailbox has been collected yet: {', '.join(others)}."
        return Check("collecting", True, message, instead="Not known yet")
    count = f"{good} of {found.total} mailboxes {'is' if good == 1 else 'are'} collected"
    message = f"{count}, the longest ago {ago(found.oldest)}.{but}"
    whole = good + found.health[Health.PAUSED] == found.total
    return Check("collecting", True, message, instead="" if whole else "In part")


def not_collected(found: Mapping[Health, int]) -> list[str]:
    """How many mailboxes are in each state but OK, in words: "1 fails", "2 are paused"."""
    return [
        f"{found[each]} {words[found[each] != 1]}" for each, words in NOT_COLLECTED.items() if found[each]
    ]


def accounts(install: Install) -> Iterator[Check]:
    """Each account that fails, and why; the first ones of many."""
    for account in without_server() if install.deep or install.mailboxes.without_server else ():
        message = (
            f"{account.address} has no mail server in the database any more, so nothing is collected for it."
        )
        link = Link(f"/accounts/{account.uuid}/remove", f"Remove {account.address}")
        yield Check("accounts", False, message, "Remove it, then add it again.", link)
    lines = overview.failing(install.key, FAILING_NAMED if not install.deep else install.mailboxes.total)
    for line in lines.lines:
        link = Link(f"/accounts/{line.uuid}", f"Open {line.address}")
        remedy = line.remedy or "See the account's page."
        yield Check(
            f"account {line.address}", False, line.problem or "", remedy, link, told=_plainly(install, line)
        )
    if lines.others:
        message = f"{lines.others} more mailboxes fail."
        yield Check("accounts", False, message, "See the list.", ACCOUNTS, message, count=lines.others)


def spool(install: Install) -> Iterator[Check]:
    """Whether mail is taken away: too much of it, or one message for too long, is named by its account."""
    yield from _way_in(install)
    found = counting.waiting(install.settings.mail_spool if install.deep else None, MANY_UNREAD, LONG_UNREAD)
    for address, count in found.left:
        yield _left(install, address, count)
    if not found.left and found.counted_at is None:
        yield Check("mail spool", True, "Nothing was counted yet.", instead="Not known yet")
    elif not found.left:
        message = f"{found.unread} messages wait to be taken away, as counted {ago(found.counted_at)}."
        yield Check("mail spool", True, message)


def _way_in(install: Install) -> Iterator[Check]:
    """What keeps the group that takes mail away out of the spool."""
    group, spool = install.settings.mail_group, install.settings.mail_spool
    if group is None:
        return
    if spool.is_relative_to(install.settings.data_dir):
        message = f"The mail spool lies in the data directory, where the group {group} cannot get in."
        yield Check("mail spool", False, message, "Set PANEL_MAIL_SPOOL to a directory outside of it.")
        return
    try:
        gid = grp.getgrnam(group).gr_gid
    except KeyError:
        message = f"There is no Unix group {group} on this machine."
        yield Check("mail spool", False, message, "Make it (groupadd), or change PANEL_MAIL_GROUP.")
        return
    if spool.exists() and not _lets_in(spool, gid, 0o5):
        message = f"The group {group} cannot get into the mail spool {spool}."
        remedy = f"Type: chgrp {shlex.quote(group)} {typed(spool)} && chmod 2750 {typed(spool)}"
        yield Check("mail spool", False, message, remedy)
    shut = next(
        (parent for parent in spool.parents if parent.exists() and not _lets_in(parent, gid, 0o1)), None
    )
    if shut is not None:
        message = f"The group {group} cannot get to the mail spool: {shut} is closed to it."
        yield Check("mail spool", False, message, f"Type: chmod o+x {typed(shut)}, or move PANEL_MAIL_SPOOL.")


def _lets_in(directory: Path, gid: int, bits: int) -> bool:
    """Whether `bits` (read 4, pass 1) are the group's, or everybody's, by the plain modes."""
    found = directory.stat()
    by_group = found.st_gid == gid and (found.st_mode >> 3) & bits == bits
    return by_group or found.st_mode & bits == bits


def _left(install: Install, address: str, count: Count) -> Check:
    new = install.settings.mail_spool / count.account / "new"
    oldest = f", the oldest delivered {ago(count.oldest_at)}" if count.oldest_at else ""
    return Check(
        f"mail spool of {address}",
        False,
        f"{count.unread} messages for {address} lie in {new}{oldest}, and nobody takes them away.",
        "Have the helpdesk take mail out of that folder, or pause the account.",
        Link(f"/accounts/{count.account}", f"Open {address}"),
        told=f"Mail for {address} comes in, but the helpdesk does not take it over.",
    )


def _plainly(install: Install, line: Line) -> str:
    """The account's problem without paths of this server."""
    places = (install.settings.data_dir, install.settings.mail_spool, install.settings.key_file)
    problem = line.problem or ""
    if any(str(place) in problem for place in places):
        problem = "Its mail cannot be stored on this server."
    return f"{line.address}: {problem} Last collected {ago(line.last_success_at)}."


def _few(addresses: Sequence[str], total: int) -> str:
    more = f" and {total - len(addresses)} more" if total > len(addresses) else ""
    return ", ".join(addresses) + more
