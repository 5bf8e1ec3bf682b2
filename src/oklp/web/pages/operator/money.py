"""The ledger by account, and the proof of the books: a job of its own, which no request waits for."""

from __future__ import annotations

import csv
import io

from starlette.responses import Response
from starlette.routing import Route

from oklp.errors import WrongState
from oklp.services import ledger, operators
from oklp.web import books_job
from oklp.web.caller import from_cursor, to_cursor
from oklp.web.pages.frame import go, show
from oklp.web.pages.operator.desk import A_PAGE, operator, operator_page
from oklp.web.pages.visit import Visit

EXPORTED_AT_ONCE = 500
EXPORTED = 20_000
FIRST_ACCOUNT = "house:fees"


def _account(visit: Visit) -> str:
    return (visit.argument("account") or FIRST_ACCOUNT).strip()[:200]


async def postings(visit: Visit) -> Response:
    """Of an account, by the page and with its balance; or with `?payment=` both of a deposit or a withdrawal."""
    payment = (visit.argument("payment") or "").strip().lower()[:64]
    if payment:
        found = await visit.here.db.read(ledger.payment_postings, payment)
        return await show(visit, "operator/ledger.html", postings=found, account="", payment=payment, more=None)
    name = _account(visit)
    before = from_cursor(visit.argument("cursor"), int, int)
    account = await visit.here.db.read(ledger.account, name, before, A_PAGE)
    shown = {"account": name, "payment": "", "more": to_cursor(*account.more) if account.more else None}
    balance = {"balance": account.balance, "whole": account.whole}
    return await show(visit, "operator/ledger.html", postings=account.postings, **balance, **shown)


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
    return await show(visit, "operator/books.html", run=await books_job.newest(visit.here))


async def verify(visit: Visit) -> Response:
    try:
        await books_job.begin(visit.here, operator(visit))
    except WrongState:
        return go(visit, "/operator/books", visit._("The books are being verified already."))
    return go(visit, "/operator/books")


routes: list[Route] = [
    operator_page("/operator/ledger", postings),
    operator_page("/operator/ledger.csv", export),
    operator_page("/operator/books", show_books),
    operator_page("/operator/books/verify", verify, "POST"),
]
