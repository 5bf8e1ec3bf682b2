"""The wallet: balances, deposits, withdrawals, the statement."""

from __future__ import annotations

import csv
import io

from starlette.responses import Response
from starlette.routing import Route

from oklp import contract
from oklp.errors import Conflict, OklpError
from oklp.services import ledger
from oklp.web.caller import from_cursor, to_cursor
from oklp.web.context import new_uuid
from oklp.web.pages import doors, forms, words
from oklp.web.pages.forms import Form
from oklp.web.pages.frame import go, page, show
from oklp.web.pages.visit import Visit

ENTRIES_A_PAGE = 25
EXPORTED_AT_ONCE = 200
EXPORTED = 10_000


async def wallet(visit: Visit) -> Response:
    return await show_wallet(visit, Form())


async def show_wallet(visit: Visit, form: Form, status: int = 200) -> Response:
    """`form` is the one that was sent, told apart by its field `kind`."""
    here, user_id = visit.here, visit.player.user_id
    before = from_cursor(visit.argument("cursor"), int, int)
    balances = await here.db.read(ledger.wallet, user_id, here.settings.currency)
    found, more = await here.db.read(ledger.entries, user_id, before, ENTRIES_A_PAGE)
    return await show(
        visit,
        "wallet.html",
        status,
        balances=balances.balances,
        entries=found.entries,
        more=to_cursor(*more) if more is not None else None,
        form=form,
        done=visit.argument("done") or "",
        first_page=before is None,
        currency=here.settings.currency,
        can_pay=bool(here.settings.payment_provider),
    )


async def pay(visit: Visit) -> Response:
    """A deposit or a withdrawal."""
    here, kind = visit.here, visit.fields.get("kind", "deposit")
    work = ledger.withdraw if kind == "withdrawal" else ledger.deposit
    try:
        amount = forms.amount(visit, "amount")
        body = forms.model(contract.Payment, {"amount": amount, "currency": here.settings.currency})
        args = (here.settings, visit.player.user_id, new_uuid(), body, here.clock())
        await forms.once(visit, contract.PaymentAnswer, work, *args)
    except OklpError as refusal:
        if refusal.status >= 500:
            raise
        form = forms.refused(visit, refusal)
        if type(refusal) is Conflict:
            form.error = visit._("Payments are not set up on this server yet.")
        return await show_wallet(visit, form, refusal.status)
    return go(visit, f"/wallet?done={'withdrawn' if kind == 'withdrawal' else 'deposited'}")


async def export(visit: Visit) -> Response:
    """The statement for a spreadsheet: amounts in minor units and as people write them in English, times in UTC."""
    rows = io.StringIO()
    writer = csv.writer(rows)
    writer.writerow(["entry", "time_utc", "kind", "match", "amount_minor_units", "amount", "currency"])
    cursor = None
    for _ in range(EXPORTED // EXPORTED_AT_ONCE):
        found, cursor = await visit.here.db.read(ledger.entries, visit.player.user_id, cursor, EXPORTED_AT_ONCE)
        for each in found.entries:
            plain = words.plain_money(each.amount, each.currency, "en").replace(",", "")
            at = each.created_at.isoformat(timespec="seconds")
            writer.writerow([each.entry_id, at, each.kind, each.match_id or "", each.amount, plain, each.currency])
        if cursor is None:
            break
    headers = {"Content-Disposition": 'attachment; filename="statement.csv"', "Cache-Control": "private, no-store"}
    return Response(rows.getvalue(), 200, headers, "text/csv")


doors.RESUMED["/wallet"] = show_wallet

routes: list[Route] = [
    page("/wallet", wallet),
    page("/wallet", pay, "POST"),
    page("/wallet/statement.csv", export),
]
