"""The ledger by account, and the proof of the books: a job of its own, which no request waits for."""

from __future__ import annotations

import asyncio
import csv
import functools
import io
import logging

from starlette.responses import Response
from starlette.routing import Route

from oklp.errors import WrongState
from oklp.services import books, console, ledger, operators
from oklp.services.staff import Operator
from oklp.web.caller import from_cursor, to_cursor
from oklp.web.context import Context, new_uuid
from oklp.web.pages.frame import go, show
from oklp.web.pages.operator.desk import A_PAGE, operator, operator_page
from oklp.web.pages.visit import Visit

log = logging.getLogger(__name__)

EXPORTED_AT_ONCE = 500
EXPORTED = 20_000
FIRST_ACCOUNT = "house:fees"
STILL_MS = 30 * 60_000  # a verification that was begun longer ago than this does not keep another from beginning
_running: set[asyncio.Task[None]] = set()
# How many of how many checks are made, by the id of a run of this process. Other processes do not know.
_made: dict[str, tuple[int, int]] = {}


def _account(visit: Visit) -> str:
    return (visit.argument("account") or FIRST_ACCOUNT).strip()[:200]


async def postings(visit: Visit) -> Response:
    account = _account(visit)
    before = from_cursor(visit.argument("cursor"), int, int)
    found, more = await visit.here.db.read(ledger.account_page, account, before, A_PAGE)
    return await show(
        visit, "operator/ledger.html", postings=found, account=account, more=to_cursor(*more) if more else None
    )


async def export(visit: Visit) -> Response:
    """An account for a spreadsheet: amounts in minor units, times in UTC, newest first."""
    account, rows, cursor = _account(visit), io.StringIO(), None
    writer = csv.writer(rows)
    writer.writerow(["purpose", "time_utc", "account", "amount_minor_units", "currency"])
    for _ in range(EXPORTED // EXPORTED_AT_ONCE):
        page = (operator(visit), account, cursor, EXPORTED_AT_ONCE)
        found, cursor = await visit.here.db.read(operators.export_postings, *page)
        for each in found:
            at = each.created_at.isoformat(timespec="milliseconds")
            writer.writerow([each.set_id, at, _cell(each.account), each.amount, each.currency])
        if cursor is None:
            break
    headers = {"Content-Disposition": 'attachment; filename="ledger.csv"', "Cache-Control": "private, no-store"}
    return Response(rows.getvalue(), 200, headers, "text/csv")


def _cell(text: str) -> str:
    """No spreadsheet takes it for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


async def show_books(visit: Visit) -> Response:
    run = await visit.here.db.read(console.last_books)
    running = run is not None and run.ended is None
    lost = running and run is not None and run.begun.at.timestamp() * 1000 < visit.here.clock() - STILL_MS
    made = _made.get(run.begun.detail["run_id"]) if run is not None else None
    return await show(visit, "operator/books.html", run=run, running=running and not lost, lost=lost, made=made)


async def verify(visit: Visit) -> Response:
    here, run_id, who = visit.here, new_uuid(), operator(visit)
    try:
        await here.db.write(console.begin_books, who, run_id, here.clock(), STILL_MS)
    except WrongState:
        return go(visit, "/operator/books", visit._("The books are being verified already."))
    task = asyncio.get_running_loop().create_task(_verify(here, who, run_id))
    _running.add(task)  # the loop alone would not keep it
    task.add_done_callback(_running.discard)
    return go(visit, "/operator/books")


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


routes: list[Route] = [
    operator_page("/operator/ledger", postings),
    operator_page("/operator/ledger.csv", export),
    operator_page("/operator/books", show_books),
    operator_page("/operator/books/verify", verify, "POST"),
]
