"""What the console shows of the whole platform, for programs: the overview, the search, accounts, the books' job."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from oklp import contract
from oklp.errors import NotFound
from oklp.services import console, ledger, operators, views
from oklp.web import books_job
from oklp.web.caller import AsOperator, Cursor, Here, Limit, from_cursor, once, to_cursor

router = APIRouter(prefix="/api/operator/v1", tags=["operator"])

Account = Annotated[str, Query(pattern=r"^[a-z]{1,20}:[A-Za-z0-9:_-]{1,120}$", examples=["house:fees"])]


@router.get("/overview", response_model=contract.OperatorOverview)
async def overview(here: Here, operator: AsOperator) -> contract.OperatorOverview:
    """Open matches and the money they hold, the last day by the hour, what fails, waits or is late."""
    found = await here.db.read(console.overview, here.settings.currency, here.clock())
    return contract.OperatorOverview(
        **found.open_matches,
        escrow=[contract.EscrowTotal(**each._asdict()) for each in found.escrow],
        **found.backlog._asdict(),
        hours=[contract.HourOfMatches(at=views.when(at), made=made, aborted=gone) for at, made, gone in found.hours],
        oldest_live=found.oldest_live,
        failed_deliveries=found.failed,
        refused_results=[
            contract.RefusedOfMatch(match_id=match_id, **result.model_dump()) for match_id, result in found.refused
        ],
        games_in_review=found.in_review,
    )


@router.get("/search", response_model=contract.FoundThings)
async def search(
    here: Here, operator: AsOperator, query: Annotated[str, Query(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
) -> contract.FoundThings:
    """What has this id, name or e-mail address, or players whose name begins so, and games; at the most 20."""
    found, more = await here.db.read(console.find, query)
    things = [contract.FoundThing.model_validate(each._asdict()) for each in found]
    return contract.FoundThings(found=things, more=more)


@router.get("/ledger/postings", response_model=contract.PostingPage)
async def postings(
    here: Here, operator: AsOperator, account: Account, cursor: Cursor = None, limit: Limit = 50
) -> contract.PostingPage:
    """The postings of one account, newest first: `house:fees`, `player:…`, `escrow:…`, `studio:…`."""
    found, more = await here.db.read(ledger.account_page, account, from_cursor(cursor, int, int), limit)
    return contract.PostingPage(postings=found, next_cursor=to_cursor(*more) if more is not None else None)


@router.post("/books/verification", status_code=202, response_model=contract.BooksVerification)
async def begin_verification(here: Here, operator: AsOperator) -> contract.BooksVerification:
    """Have the books verified by a job, one at a time on all servers; `GET` says how it goes."""
    await books_job.begin(here, operator)
    return await read_verification(here, operator)


@router.get("/books/verification", response_model=contract.BooksVerification)
async def read_verification(here: Here, operator: AsOperator) -> contract.BooksVerification:
    """How the newest verification goes, or what came of it."""
    run = await books_job.newest(here)
    if run is None:
        raise NotFound("The books were not verified by a job yet.")
    return run


@router.post("/deliveries/{delivery_id}/resend", response_model=contract.Delivery)
async def resend(
    here: Here,
    request: Request,
    operator: AsOperator,
    delivery_id: Annotated[contract.DeliveryId, Path()],
    body: contract.OperatorReason,
) -> Response:
    """Send a delivery that is over once more."""
    return await once(here, request, operator.id, 200, operators.resend, operator, delivery_id, body, here.clock())
