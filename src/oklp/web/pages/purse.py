"""The wallet: balances, deposits, withdrawals, and the statement, of which one can ask for a part."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from urllib.parse import urlencode

from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from oklp import contract
from oklp.errors import Conflict, InsufficientFunds, OklpError
from oklp.services import ledger, statement
from oklp.services.statement import Place, Wanted
from oklp.web.caller import from_cursor, to_cursor
from oklp.web.context import new_uuid
from oklp.web.pages import doors, forms, words
from oklp.web.pages.forms import Form
from oklp.web.pages.frame import go, page, show
from oklp.web.pages.visit import Visit

ENTRIES_A_PAGE = 25
EXPORTED_AT_ONCE = 1_000
MATCH_ID = re.compile(r"[0-9a-f]{24}")
FILTERS = ("kind", "from", "to", "match")
# What people ask for, and the kinds of postings that are meant.
KINDS = {
    "deposit": ("deposit",),
    "withdrawal": ("withdrawal",),
    "fees": ("hold",),
    "refunds": ("refund",),
    "winnings": ("settle", "held"),
    "grant": ("grant",),
}
COLUMNS = ("entry", "time_utc", "kind", "match", "amount_minor_units", "amount", "balance_minor_units", "currency")


class Filter(NamedTuple):
    """What the address asks for: as it was typed, as it is meant, and as a part of an address (`kind=fees&`)."""

    form: Form
    wanted: Wanted
    kept: str


def _filter(visit: Visit) -> Filter:
    """What makes no sense is said beside its field, and not used."""
    given = {name: text for name in FILTERS if (text := (visit.argument(name) or "").strip()[:300])}
    form = Form(given)
    kind = form["kind"] if form["kind"] in KINDS else ""
    days = {name: _day(form[name]) for name in ("from", "to")}
    for name, day in days.items():
        if form[name] and day is None:
            form.errors[name] = visit._("This is not a date.")
    match_id = form["match"].partition("?")[0].rstrip("/").rpartition("/")[2].lower()
    if match_id and not _match(match_id):
        form.errors["match"] = visit._("The link to a match, or its number of 24 digits.")
        match_id = ""
    since, last = (_milliseconds(day) if day is not None else None for day in days.values())
    until = last + 86_400_000 if last is not None else None
    kept = {name: text for name, text in given.items() if name not in form.errors}
    return Filter(
        form,
        Wanted(frozenset(KINDS.get(kind, ())), since, until, match_id or None),
        f"{urlencode(kept)}&" if kept else "",
    )


def _day(text: str) -> datetime | None:
    """The beginning of a day in UTC, as browsers write days."""
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None


def _milliseconds(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


async def wallet(visit: Visit) -> Response:
    """`?deposit=…&for=…` is from a match that somebody cannot pay yet: filled in, and back there afterwards."""
    missing = forms.amount_in_address(visit, "deposit") or ""
    wanted = {"kind": "deposit", "amount": missing, "for": _match(visit.argument("for"))}
    return await show_wallet(visit, Form(wanted) if wanted["amount"] else Form())


def _match(text: str | None) -> str:
    """The id of a match, empty for anything else."""
    return text if text is not None and MATCH_ID.fullmatch(text) else ""


async def show_wallet(visit: Visit, form: Form, status: int = 200) -> Response:
    """`form` is the one that was sent, told apart by its field `kind`."""
    here, user_id = visit.here, visit.player.user_id
    form.values = {**form.values, "for": _match(form["for"])}
    balances = await here.db.read(ledger.wallet, user_id, here.settings.currency)
    return await show(
        visit,
        "wallet.html",
        status,
        balances=balances.balances,
        form=form,
        currency=here.settings.currency,
        can_pay=bool(here.settings.payment_provider),
        **(await _payments(visit) if visit.argument("show") == "payments" else await _entries(visit)),
    )


async def _entries(visit: Visit) -> dict[str, object]:
    before = from_cursor(visit.argument("cursor"), int, int)
    chosen = _filter(visit)
    place = Place(*before) if before is not None else None
    found, more = await visit.here.db.read(
        statement.entries, visit.player.user_id, chosen.wanted, place, ENTRIES_A_PAGE
    )
    return {
        "shown": "statement",
        "entries": found.entries,
        "filter": chosen.form,
        "kept": chosen.kept,
        "more": to_cursor(*more) if more is not None else None,
    }


async def _payments(visit: Visit) -> dict[str, object]:
    before = from_cursor(visit.argument("cursor"), int, str)
    found, more = await visit.here.db.read(ledger.payments, visit.player.user_id, before, ENTRIES_A_PAGE)
    return {
        "shown": "payments",
        "payments": found.payments,
        "kept": "show=payments&",
        "more": to_cursor(*more) if more is not None else None,
    }


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
        if isinstance(refusal, InsufficientFunds):
            form.error = ""
            form.errors["amount"] = visit._("That is more than your balance.")
        elif type(refusal) is Conflict:
            form.error = visit._("Payments are not set up on this server yet.")
        return await show_wallet(visit, form, refusal.status)
    match_id = _match(visit.fields.get("for"))
    done = (
        visit._("The withdrawal is on its way.") if kind == "withdrawal" else visit._("The deposit is in your wallet.")
    )
    return go(visit, f"/matches/{match_id}" if match_id else "/wallet", done)


async def export(visit: Visit) -> Response:
    """The statement for a spreadsheet, filtered as the page was: times in UTC, amounts as in English."""
    headers = {"Content-Disposition": 'attachment; filename="statement.csv"', "Cache-Control": "private, no-store"}
    return StreamingResponse(_rows(visit, _filter(visit).wanted), 200, headers, "text/csv")


async def _rows(visit: Visit, wanted: Wanted) -> AsyncIterator[str]:
    """In parts, so that no statement is too long. There is nothing in it that a spreadsheet takes for a formula:
    kinds, ids and numbers are all ours.
    """
    user_id, place, more = visit.player.user_id, None, True
    head: list[tuple[object, ...]] = [COLUMNS]
    while more:
        found, place = await visit.here.db.read(statement.entries, user_id, wanted, place, EXPORTED_AT_ONCE)
        rows = io.StringIO()
        csv.writer(rows).writerows([*head, *map(_row, found.entries)])
        yield rows.getvalue()
        head, more = [], place is not None


def _row(entry: contract.WalletEntry) -> tuple[object, ...]:
    plain = words.money_in_address(entry.amount, entry.currency)
    at = entry.created_at.isoformat(timespec="seconds")
    match_id = entry.match_id or ""
    return (entry.entry_id, at, entry.kind, match_id, entry.amount, plain, entry.balance, entry.currency)


doors.RESUMED["/wallet"] = doors.Resumed(show_wallet)

routes: list[Route] = [
    page("/wallet", wallet),
    page("/wallet", pay, "POST"),
    page("/wallet/statement.csv", export),
]
