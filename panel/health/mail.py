"""Checks of the mail: the worker, the last real rounds, each account, and whether mail is taken away."""

from __future__ import annotations

import grp
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from panel import db
from panel.accounts.overview import Health, Line
from panel.accounts.service import without_server
from panel.health import spool as counting
from panel.health.check import Check, Install, Link
from panel.health.spool import Count
from panel.models.moment import is_ahead
from panel.times import ago
from panel.vault.files import typed

SILENT_SECONDS = 90  # the worker's beat comes every five
LATE_SECONDS = 3600  # since the last round of an account that is not known to fail
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
    running = [line for line in install.lines if not line.paused]
    if not install.lines:
        yield Check("collecting", True, "There is no mailbox yet.", instead="No mailbox")
        return
    if not running:
        yield Check("collecting", True, "Every mailbox is paused.", instead="Paused")
        return
    if install.copy is not None:
        return  # that is said already
    if install.key.state.no_key:
        remedy = "Put the key right first; collecting goes on by itself then."
        yield Check("collecting", False, "No mail is collected while the key is not in order.", remedy)
        return
    newest = max(line.last_success_at or 0 for line in running) or None
    overdue = [line for line in running if _is_overdue(install, line)]
    late = [line.address for line in overdue if not line.problem]  # where there is one, that says it
    if late or len(overdue) == len(running):
        named = f" Overdue without a known reason: {_few(late)}." if late else ""
        message = f"The last successful collection of any mailbox was {ago(newest)}.{named}"
        told = f"Mail is overdue from {_few(late)}." if late else ""
        yield Check(
            "collecting", False, message, "Is script/server running? Its log tells more.", ACCOUNTS, told
        )
    else:
        yield _collected(install)


def _collected(install: Install) -> Check:
    """How many mailboxes are collected. OK stands there only where each of them is."""
    lines, found = install.lines, Counter(_health(install, line) for line in install.lines)
    good = [line.last_success_at or 0 for line in lines if _health(install, line) is Health.OK]
    others = not_collected(found)
    but = f" {', '.join(others)}." if others else ""
    if not good and not found[Health.NEW]:
        message = f"No mailbox is collected: {', '.join(others)}."
        if not found[Health.OVERDUE]:  # the others are findings of their own
            return Check("collecting", True, message, link=ACCOUNTS, instead="Failing")
        return Check(
            "collecting", False, message, "Is script/server running?", ACCOUNTS, "No mailbox is collected."
        )
    if not good:
        message = f"No mailbox has been collected yet: {', '.join(others)}."
        return Check("collecting", True, message, instead="Not known yet")
    count = f"{len(good)} of {len(lines)} mailboxes {'is' if len(good) == 1 else 'are'} collected"
    message = f"{count}, the longest ago {ago(min(good))}.{but}"
    whole = len(good) + found[Health.PAUSED] == len(lines)
    return Check("collecting", True, message, instead="" if whole else "In part")


def not_collected(found: Mapping[Health, int]) -> list[str]:
    """How many mailboxes are in each state but OK, in words: "1 fails", "2 are paused"."""
    return [
        f"{found[each]} {words[found[each] != 1]}" for each, words in NOT_COLLECTED.items() if found[each]
    ]


def _health(install: Install, line: Line) -> Health:
    """As the list has it; but who is being collected at this moment is not overdue."""
    busy = line.health is Health.OVERDUE and line.uuid in install.busy
    return Health.OK if busy else line.health


def accounts(install: Install) -> Iterator[Check]:
    """Each account that fails, and why."""
    for account in without_server():
        message = (
            f"{account.address} has no mail server in the database any more, so nothing is collected for it."
        )
        link = Link(f"/accounts/{account.uuid}/remove", f"Remove {account.address}")
        yield Check("accounts", False, message, "Remove it, then add it again.", link)
    for line in install.lines:
        if line.problem and not line.paused:
            link = Link(f"/accounts/{line.uuid}", f"Open {line.address}")
            remedy = line.remedy or "See the account's page."
            yield Check(
                f"account {line.address}", False, line.problem, remedy, link, told=_plainly(install, line)
            )


def spool(install: Install) -> Iterator[Check]:
    """Whether mail is taken away: too much of it, or one message for too long, is named by its account."""
    yield from _way_in(install)
    counts = counting.count(install.settings.mail_spool) if install.deep else counting.noted()
    address = {line.uuid: line.address for line in install.lines}
    left = [count for count in counts if count.account in address and _is_left(count)]
    for count in left:
        yield _left(install, address[count.account], count)
    if not left:
        waiting = sum(count.unread for count in counts)
        at = min((count.counted_at for count in counts), default=None)
        if at is None:
            yield Check("mail spool", True, "Nothing was counted yet.", instead="Not known yet")
        else:
            yield Check(
                "mail spool", True, f"{waiting} messages wait to be taken away, as counted {ago(at)}."
            )


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


def _is_left(count: Count) -> bool:
    old = count.oldest_at is not None and db.now() - count.oldest_at > LONG_UNREAD
    return count.unread > MANY_UNREAD or (count.unread > 0 and old)


def _is_overdue(install: Install, line: Line) -> bool:
    """Whether a round should have ended well by now; not while one is under way."""
    added = install.added_at.get(line.uuid, 0)
    since = line.last_success_at or (0 if is_ahead(added) else added)
    return line.uuid not in install.busy and db.now() > since + line.interval + LATE_SECONDS


def _plainly(install: Install, line: Line) -> str:
    """The account's problem without paths of this server."""
    places = (install.settings.data_dir, install.settings.mail_spool, install.settings.key_file)
    problem = line.problem or ""
    if any(str(place) in problem for place in places):
        problem = "Its mail cannot be stored on this server."
    return f"{line.address}: {problem} Last collected {ago(line.last_success_at)}."


def _few(addresses: list[str], most: int = 5) -> str:
    more = f" and {len(addresses) - most} more" if len(addresses) > most else ""
    return ", ".join(addresses[:most]) + more
