"""How large do the log and the counts of messages grow, and how long are they searched and looked after?

A database as it is after `--days` of `--messages` a day for `--mailboxes`: the log of 30 days, counts of 400
(hours for 60 days, then days), what was fetched of all of them. Sizes by table, and medians of the processor
time of what pages ask; bench/results/messages.json.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

from bench._programs import RESULTS, write
from panel import db
from panel.listing import ListQuery
from panel.messages import retention, search, service
from panel.messages.search import Scope
from panel.models import schema

DAY, HOUR = 86_400, 3_600
BERLIN = ZoneInfo("Europe/Berlin")
SEARCHES = {
    "first page": "", "a word of no message": "zzqx", "a word of many": "an", "a sender": "77@kunden.example",
    "a mailbox": "box17@", "yesterday": "yesterday", "three words": "re: delivery mailbox77",
}  # fmt: skip

TABLES = {
    "message": "what was fetched", "message_log": "log", "mail_count": "counts", "mail_total": "totals",
}  # fmt: skip
ACCOUNT = "account (uuid, address, folder, begin, interval, on_server, move_to, created_at)"
FETCHED = "message (id, account_id, uidvalidity, uid, name, digest, ready, pending)"
LOGGED = "message_log (account_id, at, size, sender, sender_name, subject, message_id, fetched_id, waiting)"


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="script/bench messages")
    parser.add_argument("--mailboxes", type=int, default=120)
    parser.add_argument("--messages", type=int, default=10_000, help="of one day")
    parser.add_argument("--days", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--results", type=Path, default=RESULTS / "messages.json")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as directory:
        database = db.connect(f"sqlite:///{directory}/panel.db")
        db.database.initialize(database)
        database.connect()
        schema.upgrade(database)
        boxes = _fill(options.mailboxes, options.messages, options.days)
        sizes = _sizes()
        times = _times(boxes, Path(directory), options.rounds)
        database.close()
    for name, size in sizes.items():
        print(f"{name:<20}{size / 1e6:10.1f} MB")
    for name, seconds in times.items():
        print(f"{name:<32}{1000 * seconds:10.2f} ms")
    asked = {name: getattr(options, name) for name in ("mailboxes", "messages", "days")}
    write(options.results, {**asked, "bytes": sizes, "seconds": times})


def _fill(mailboxes: int, a_day: int, days: int) -> list[str]:
    chance, now = random.Random(13), db.now()
    boxes = [str(uuid.UUID(int=chance.getrandbits(128))) for _ in range(mailboxes)]
    total, logged = a_day * days, a_day * min(days, 30)
    hours = [(now // HOUR * HOUR - hour * HOUR, a_day // 24) for hour in range(24 * min(days, 62))]
    rows: dict[str, Iterable[tuple[object, ...]]] = {
        ACCOUNT: _accounts(boxes),
        FETCHED: _fetched(boxes, total, chance),
        LOGGED: _logged(boxes, total - logged, logged, now - min(days, 30) * DAY, chance),
        "mail_total (at, delivered)": hours,
        "mail_count (account_id, at, delivered)": _counted(boxes, a_day, days, now, chance),
    }
    connection = db.database.connection()
    with db.transaction():
        for table, values in rows.items():
            marks = ", ".join("?" * (table.count(",") + 1))
            connection.executemany(f"INSERT INTO {table} VALUES ({marks})", values)  # noqa: S608
    db.database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    return boxes


def _accounts(boxes: list[str]) -> Iterator[tuple[object, ...]]:
    for number, box in enumerate(boxes):
        yield box, f"box{number}@domain{number % 97}.example", "INBOX", "now", 60, "keep", "", 1


def _fetched(boxes: list[str], count: int, chance: random.Random) -> Iterator[tuple[object, ...]]:
    for number in range(count):
        name = f"1764243000.M123456P1234Q{number}Rabcdef01.mail.example.org,S=12345"
        yield number + 1, boxes[number % len(boxes)], 1, number, name, chance.randbytes(32), 0, 0


def _logged(
    boxes: list[str], first: int, count: int, begin: int, chance: random.Random
) -> Iterator[tuple[object, ...]]:
    for number in range(count):
        who = chance.randrange(20_000)
        subject = f"Re: Delivery {number}, {chance.choice(('two boxes missing', 'invoice', 'an order'))}"
        yield (
            boxes[(first + number) % len(boxes)], begin + number * 30 * DAY // count, 12_345,
            f"{who}@kunden.example", f"Customer Number{who}", subject,
            f"<{number}.{who}@mailer.kunden.example>", first + number + 1, number > count - 100,
        )  # fmt: skip


def _counted(
    boxes: list[str], a_day: int, days: int, now: int, chance: random.Random
) -> Iterator[tuple[object, ...]]:
    """Hours of the last 62 days, two of which are to be folded, and days before these."""
    for day in range(days):
        found: dict[tuple[str, int], int] = {}
        for _ in range(a_day):
            at = now - day * DAY - (chance.randrange(24) * HOUR if day < 62 else 0)
            key = chance.choice(boxes), at - at % HOUR
            found[key] = found.get(key, 0) + 1
        yield from ((box, at, count) for (box, at), count in found.items() if day < 62 or at)


def _sizes() -> dict[str, int]:
    rows = db.database.execute_sql(
        "SELECT m.tbl_name, sum(s.pgsize) FROM dbstat s JOIN sqlite_master m ON m.name = s.name GROUP BY 1"
    ).fetchall()
    return {TABLES[name]: size for name, size in rows if name in TABLES}


def _times(boxes: list[str], spool: Path, rounds: int) -> dict[str, float]:
    def seek(text: str, state: str = "") -> Callable[[], object]:
        return lambda: search.find(ListQuery(text, state), BERLIN, spool, Scope())

    asked: dict[str, Callable[[], object]] = {
        f"search: {name}": seek(text) for name, text in SEARCHES.items()
    }
    asked["search: waiting"] = seek("", "waiting")
    asked["overview, 90 days"] = lambda: service.summary(BERLIN, spool, "90d")
    asked["one mailbox"] = lambda: service.mailbox_activity(boxes[0], BERLIN, spool, "14d")
    asked["fifty rows of a list"] = lambda: service.today_for(boxes[:50], BERLIN)
    found = {name: _median(work, rounds) for name, work in asked.items()}
    found["fold and prune one day"] = _median(lambda: retention.prune(30, BERLIN), 1)
    found["prune again"] = _median(lambda: retention.prune(30, BERLIN), 1)
    return found


def _median(work: Callable[[], object], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        begun = time.process_time()
        work()
        times.append(time.process_time() - begun)
    return statistics.median(times)
