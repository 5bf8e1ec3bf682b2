"""Verifying the books without anybody waiting: one job at a time on all servers, which anybody may ask about.

That it began and how it ended is in the audit log, so that every server knows. How far it is, the one knows that does
it.
"""

from __future__ import annotations

import asyncio
import functools
import logging

from oklp import contract
from oklp.services import books, console
from oklp.services.console import BooksRun
from oklp.services.staff import Operator
from oklp.web.context import Context, new_uuid

log = logging.getLogger(__name__)

STILL_MS = 30 * 60_000  # a verification that was begun longer ago than this does not keep another from beginning
_running: set[asyncio.Task[None]] = set()
# How many of how many checks are made, by the id of a run of this process. Other processes do not know.
_made: dict[str, tuple[int, int]] = {}


async def begin(here: Context, who: Operator) -> None:
    """Have the books verified. Raises RoleMissing, and WrongState while they are being verified already."""
    run_id = new_uuid()
    await here.db.write(console.begin_books, who, run_id, here.clock(), STILL_MS)
    task = asyncio.get_running_loop().create_task(_verify(here, who, run_id))
    _running.add(task)  # the loop alone would not keep it
    task.add_done_callback(_running.discard)


async def _verify(here: Context, who: Operator, run_id: str) -> None:
    try:
        proved = await here.db.report(books.verify, functools.partial(_note_progress, run_id))
        await here.db.write(console.end_books, who, run_id, proved, here.clock())
    except Exception:
        log.exception("the books could not be verified")
    finally:
        _made.pop(run_id, None)


def _note_progress(run_id: str, made: int, of: int) -> None:
    _made[run_id] = (made, of)


async def newest(here: Context) -> contract.BooksVerification | None:
    """How the newest run stands; None before the first."""
    run = await here.db.read(console.last_books)
    return _view(run, here.clock()) if run is not None else None


def _view(run: BooksRun, now: int) -> contract.BooksVerification:
    run_id = str(run.begun.detail["run_id"])
    late = run.begun.at.timestamp() * 1000 < now - STILL_MS
    made, of = _made.get(run_id, (None, None))
    return contract.BooksVerification(
        run_id=run_id,
        state="done" if run.ended is not None else "lost" if late else "running",
        begun_by=run.begun.actor,
        begun_at=run.begun.at,
        ended_at=run.ended.at if run.ended is not None else None,
        checks_made=made,
        checks=of,
        books=run.books,
    )
