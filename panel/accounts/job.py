"""Work that takes longer than a request should: a thread of a web process, and a row that shows its progress.

Whoever asked may leave the page and come back. What the work needs, passwords to import for example, stays
in the memory of this process; if that ends, the rest is not done, and the page says so.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator

from panel import db
from panel.accounts.bulk import Done
from panel.audit import Actor
from panel.errors import NotFound, PanelError
from panel.models import Job

DAY = 24 * 3600
SILENT_SECONDS = 60  # without progress, of a job whose process has ended
PROBLEMS = 1_000  # that are kept for the page

log = logging.getLogger(__name__)


def start(
    kind: str, total: int, actor: Actor, work: Callable[[], Iterator[Done]], at: int | None = None
) -> int:
    """Begin `work` and return the number of its row. `at`: the time that undoing finds its mailboxes by."""
    now = db.now() if at is None else at
    Job.delete().where((Job.started_at < now - DAY) | (Job.started_at > now + DAY)).execute()
    row = Job.create(kind=kind, who=actor.name, total=total, started_at=now, beat_at=now)
    threading.Thread(target=_run, args=(int(row.id), work), daemon=True).start()
    return int(row.id)


def find(number: int) -> Job:
    """The row of that number. Raises NotFound."""
    found: Job | None = Job.get_or_none(Job.id == number)
    if found is None:
        raise NotFound("This job does not exist.", "Jobs are listed for a day. See Activity.")
    return found


def has_stopped(row: Job) -> bool:
    """Whether the process that did it is gone before it was finished."""
    return row.finished_at is None and not 0 <= db.now() - row.beat_at <= SILENT_SECONDS


def is_live(row: Job) -> bool:
    return row.finished_at is None and not has_stopped(row)


def problems(row: Job) -> list[str]:
    """What kept single mailboxes from it, for people."""
    try:
        found = json.loads(row.problems)
    except ValueError:  # SQL may have put anything there
        return []
    return [str(each) for each in found] if isinstance(found, list) else []


def _run(number: int, work: Callable[[], Iterator[Done]]) -> None:
    done = Done()
    with db.database.connection_context():
        try:
            with db.explained():
                for done in work():
                    _store(number, done)
        except PanelError as error:
            done = Done(done.done, done.changed, (*done.problems, str(error)))
        except Exception:
            log.exception("A job failed with an unknown error.")
            done = Done(
                done.done, done.changed, (*done.problems, "An unknown error ended it. See the server's log.")
            )
        _store(number, done, finished_at=db.now())


def _store(number: int, done: Done, **values: object) -> None:
    values |= {"done": done.done, "changed": done.changed, "beat_at": db.now()}
    values["problems"] = json.dumps(done.problems[:PROBLEMS])
    Job.update(**values).where(Job.id == number).execute()
