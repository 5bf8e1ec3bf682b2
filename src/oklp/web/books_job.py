"""Verifying the books without anybody waiting: one job at a time on all servers, which anybody may ask about.

That it began and how it ended is in the audit log, so that every server knows. That it goes on, a lock tells, which
ends with the server that does it. How far it is, that server alone knows.
"""

from __future__ import annotations

import asyncio
import functools
import logging

from oklp import contract
from oklp.errors import Unavailable, WrongState
from oklp.services import books, console
from oklp.services.console import BooksRun
from oklp.services.staff import Operator
from oklp.storage.engine import Tx
from oklp.web.context import Context, new_uuid

log = logging.getLogger(__name__)

_running: set[asyncio.Task[None]] = set()
# How many of how many checks are made, by the id of a run of this process. Other processes do not know.
_made: dict[str, tuple[int, int]] = {}


async def begin(here: Context, who: Operator) -> None:
    """Have the books verified. Raises RoleMissing, and WrongState while they are being verified already."""
    who.need("books.verify")
    if not await asyncio.to_thread(here.db.verifying.take):
        raise WrongState("The books are being verified already.")
    run_id = new_uuid()
    try:
        await here.db.write(console.begin_books, who, run_id, here.clock())
    except BaseException:
        await asyncio.to_thread(here.db.verifying.leave)
        raise
    task = asyncio.get_running_loop().create_task(_verify(here, who, run_id))
    _running.add(task)  # the loop alone would not keep it
    task.add_done_callback(_running.discard)


async def _verify(here: Context, who: Operator, run_id: str) -> None:
    try:
        proved = await here.db.audit(books.verify_watched, functools.partial(_note_progress, run_id))
        await here.db.write(console.end_books, who, run_id, proved, here.clock())
    except Unavailable as error:
        log.warning("the books were not verified: %s", error)
    except Exception:
        log.exception("the books could not be verified")
    finally:
        _made.pop(run_id, None)
        await asyncio.to_thread(here.db.verifying.leave)


def _note_progress(run_id: str, made: int, of: int) -> None:
    _made[run_id] = (made, of)


async def newest(here: Context) -> contract.BooksVerification | None:
    """How the newest run stands; None before the first."""
    run, goes_on = await here.db.read(_newest, here)
    if run is not None and run.ended is None and not goes_on:
        # Its end may have been written, and its turn left, between the two looks. It is there on the second.
        run, goes_on = await here.db.read(_newest, here)
    return _view(run, goes_on) if run is not None else None


def _newest(tx: Tx, here: Context) -> tuple[BooksRun | None, bool]:
    return console.last_books(tx), here.db.verifying.is_taken(tx)


def _view(run: BooksRun, goes_on: bool) -> contract.BooksVerification:
    run_id = str(run.begun.detail["run_id"])
    made, of = _made.get(run_id, (None, None))
    return contract.BooksVerification(
        run_id=run_id,
        state="done" if run.ended is not None else "running" if goes_on else "lost",
        begun_by=run.begun.actor,
        begun_at=run.begun.at,
        ended_at=run.ended.at if run.ended is not None else None,
        checks_made=made,
        checks=of,
        books=run.books,
    )
