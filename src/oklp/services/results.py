"""Results: reported by games, settled by operators, or missing at the deadline; and the payout (A7; design, 4)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, NamedTuple

from pydantic_core import from_json, to_json

from oklp import contract
from oklp.domain import ledger as books
from oklp.domain import matches as rules
from oklp.domain.ledger import PostingSet
from oklp.domain.payouts import Payout, entry_pot, pay_out
from oklp.domain.results import Ranking, Roster, RosterTeam, check_player, rank_reported, rank_scored
from oklp.errors import Forbidden, InvariantBroken, NotFound, OklpError, invalid
from oklp.services import ledger, matches, views
from oklp.settings import Settings
from oklp.storage import events
from oklp.storage import ledger as ledger_store
from oklp.storage import matches as store
from oklp.storage.engine import Tx
from oklp.storage.tx import Row

MAX_REFUSED = 100
WHOLE_MATCH = ""
_ID = itemgetter(0)


@dataclass(slots=True)
class Report:
    """A game's report, as it came, and what can be told of it without its match.

    That is worked out when a report is made: outside of the lane, where everybody waits for everything.
    """

    game_id: str
    request: contract.FinishRequest
    now: int
    participants: list[tuple[str, int]] = field(init=False)  # (id, score)
    teams: list[tuple[str, int, int, bool]] = field(init=False)  # (id, score, ranking, forfeit)
    text: str = field(init=False)
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        request = self.request
        self.participants = [(each.id, each.score) for each in request.participants]
        self.teams = [(each.id, each.score, each.ranking, bool(each.forfeit)) for each in request.teams or ()]
        self.text, self.digest = canonical(self.participants, self.teams)


class _Ended(NamedTuple):
    """A match that a batch ends: its row, ranking and payout, and what it was ended by."""

    row: Row
    seats: dict[str, str]
    ranking: Ranking
    payout: Payout
    result_hash: str | None


@dataclass(slots=True)
class _Open:
    """A match while a batch of reports is decided."""

    row: Row
    roster: Roster
    seats: dict[str, str]  # user → seat
    status: str
    result_hash: str | None
    scores: dict[str, int] | None = None  # asynchronous: user → accepted score
    hashes: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Batch:
    matches: dict[str, _Open]
    ended: list[_Ended] = field(default_factory=list)
    results: list[tuple[Any, ...]] = field(default_factory=list)
    refused: list[tuple[Any, ...]] = field(default_factory=list)
    shut: frozenset[str] = frozenset()  # games that may report nothing
    progressed: list[str] = field(default_factory=list)


def canonical(participants: Sequence[tuple[str, int]], teams: Sequence[tuple[str, int, int, bool]]) -> tuple[str, str]:
    """A result as text that is the same for the same result, however its lists are ordered; and its SHA-256."""
    body: dict[str, Any] = {"participants": sorted(participants, key=_ID)}
    if teams:
        body["teams"] = sorted(teams, key=_ID)
    text = to_json(body)
    return text.decode(), hashlib.sha256(text).hexdigest()


def finish(tx: Tx, reports: Sequence[Report]) -> list[contract.FinishAnswer | OklpError]:
    """Take reports, pay out the matches they end. Set-based: two reports on one match are decided in order.

    Refusals are outcomes: NotFound (unknown, or another game's), WrongState (pending, aborted), MatchStarting,
    InvalidRequest (roster, ranks, mode), Forbidden (a suspended game that has nothing left to play).
    """
    batch = _load(tx, [report.request.match_id for report in reports])
    # Whoever has a match in play is not shut, and what is finished is answered to those who are. Of the other games it
    # is looked up.
    playing = {match.row.game_id for match in batch.matches.values() if match.status in rules.IN_PLAY}
    asking = {each.game_id for each in reports if each.game_id not in playing and not _is_repeat(batch, each)}
    batch.shut = matches.shut_games(tx, asking)
    outcomes: list[contract.FinishAnswer | OklpError] = []
    for report in reports:
        try:
            outcomes.append(_decide(batch, report))
        except InvariantBroken:
            raise
        except OklpError as refusal:
            outcomes.append(refusal)
    _write(tx, batch, reports[0].now)
    return outcomes


def _load(tx: Tx, match_ids: Sequence[str]) -> _Batch:
    return _batch_of(tx, store.lock_rules(tx, match_ids))


def _batch_of(tx: Tx, rows: Mapping[str, Row]) -> _Batch:
    scored = [key for key, row in rows.items() if row.mode == "async" and row.roster is not None]
    results = store.results_of(tx, scored)
    opened = {}
    for key, row in rows.items():
        frozen = from_json(row.roster) if row.roster is not None else []
        match = opened[key] = _Open(
            row=row,
            roster=tuple([RosterTeam(team, tuple([member[0] for member in members])) for team, members in frozen]),
            seats={user: seat for _, members in frozen for user, seat in members},
            status=row.status,
            result_hash=row.result_hash,
        )
        if row.mode == "async":
            known = results.get(key, {})
            match.scores = {user: int(each.score) for user, each in known.items() if user != WHOLE_MATCH}
            match.hashes = {user: each.body_hash for user, each in known.items()}
    return _Batch(opened)


def _is_repeat(batch: _Batch, report: Report) -> bool:
    """Whether it is about a finished match of that game: nothing begins or ends by it.

    Such a report may be the retry of one whose answer was lost. A game that was suspended in between is told that it
    was accepted, or would take it for refused.
    """
    match = batch.matches.get(report.request.match_id)
    return match is not None and match.row.game_id == report.game_id and match.status == rules.FINISHED


def _decide(batch: _Batch, report: Report) -> contract.FinishAnswer:
    if report.game_id in batch.shut and not _is_repeat(batch, report):
        raise Forbidden(matches.GAME_SHUT)
    match = batch.matches.get(report.request.match_id)
    if match is None or match.row.game_id != report.game_id:
        raise NotFound("There is no such match of this game.")
    rules.permit(match.status, "report")
    decide = _decide_sync if match.row.mode == "sync" else _decide_async
    accepted = decide(batch, match, report)
    return contract.FinishAnswer.model_construct(
        match_id=match.row.id, accepted=accepted, match_status=rules.as_game_sees(match.status)
    )


def _decide_sync(batch: _Batch, match: _Open, report: Report) -> bool:
    if not report.teams:
        raise invalid("teams", "this game is in sync mode: one result for the whole match, with its teams, is expected")
    ranking = rank_reported(match.roster, report.participants, report.teams)
    text, digest = report.text, report.digest
    if match.status == rules.FINISHED:
        if match.result_hash == digest:
            return True
        batch.refused.append((match.row.id, digest, text, "A result was accepted before this one.", report.now))
        return False
    batch.results.append((match.row.id, WHOLE_MATCH, 1, None, text, digest, report.now))
    _end(batch, match, ranking, digest)
    return True


def _decide_async(batch: _Batch, match: _Open, report: Report) -> bool:
    request = report.request
    if request.teams:
        raise invalid("teams", "this game is in async mode: one result per player, without teams, is expected")
    if len(request.participants) != 1:
        raise invalid("participants", "this game is in async mode: one result per player is expected")
    if match.scores is None:
        raise InvariantBroken(f"match {match.row.id} is asynchronous and has no scores")
    each = request.participants[0]
    check_player(match.roster, each.id, "participants.0.id")
    text, digest = report.text, report.digest
    if each.id in match.scores or match.status == rules.FINISHED:
        if match.hashes.get(each.id) == digest:
            return True
        batch.refused.append((match.row.id, digest, text, "This player's result was in already.", report.now))
        return False
    match.scores[each.id] = each.score
    match.hashes[each.id] = digest
    batch.results.append((match.row.id, each.id, 1, each.score, text, digest, report.now))
    if len(match.scores) == len(match.seats):
        _end(batch, match, rank_scored(match.roster, match.scores, match.row.score_order), None)
    else:
        batch.progressed.append(match.row.id)
    return True


def _end(batch: _Batch, match: _Open, ranking: Ranking, result_hash: str | None) -> None:
    row = match.row
    payout = _payout(match, ranking)
    if row.escrow != payout.pot:
        raise InvariantBroken(f"match {row.id} holds {row.escrow} and its players paid {payout.pot}")
    match.status = rules.FINISHED
    match.result_hash = result_hash
    batch.ended.append(_Ended(row, match.seats, ranking, payout, result_hash))


def _payout(match: _Open, ranking: Ranking) -> Payout:
    row = match.row
    shares = json.loads(row.prize_shares_bps) if row.prize_shares_bps else None
    pot = entry_pot(row.entry_fee, len(match.seats))
    return pay_out(pot, row.fee_bps, row.studio_share_bps, shares, ranking)


# --- writing ---------------------------------------------------------------------------------------------------------


def _write(tx: Tx, batch: _Batch, now: int) -> None:
    # What reads, before what writes: writes wait for one another and go as one, unless something is asked in between.
    if batch.refused:
        _keep_refused(tx, batch.refused)
    _pay(tx, batch.ended, now)
    store.insert_results(tx, batch.results)
    told = dict.fromkeys(batch.progressed, "match") | {each.row.id: matches.ending(each.row) for each in batch.ended}
    events.insert(tx, [(kind, match_id, None, now) for match_id, kind in told.items()])


def _keep_refused(tx: Tx, refused: list[tuple[Any, ...]]) -> None:
    """Keep conflicting results for the operator, each once, up to a bound a match.

    One more than are shown: by it, it is known that there were more.
    """
    unique = {(row[0], row[1]): row for row in refused}
    known = store.refused_hashes(tx, [row[0] for row in refused])
    kept = []
    for match_id, digest in sorted(unique):
        of_match = known.setdefault(match_id, set())
        if digest not in of_match and len(of_match) <= MAX_REFUSED:
            of_match.add(digest)
            kept.append(unique[match_id, digest])
    store.insert_refused(tx, kept)


def refused_of(tx: Tx, match_id: str) -> contract.RefusedResults:
    """What was kept aside of a match, in the order in which it was stored."""
    rows = store.refused_of(tx, match_id)
    shown = [views.refused_result(row) for row in rows[:MAX_REFUSED]]
    return contract.RefusedResults(results=shown, more=len(rows) > MAX_REFUSED)


def _pay(tx: Tx, ended: Sequence[_Ended], now: int) -> None:
    """Settle: escrow → fees, studio, prizes (or back to everyone), and the matches are over."""
    if not ended:
        return
    winners = {user for each in ended for user in (each.seats if each.payout.refunds else dict(each.payout.prizes))}
    balances = ledger.lock(tx, winners) if any(each.payout.pot for each in ended) else {}
    sets: list[PostingSet] = []
    held: list[tuple[str, str, int, str]] = []
    rows = []
    for each in ended:
        row, payout = each.row, each.payout
        if payout.pot and payout.refunds:
            sets.extend(
                books.refund(row.id, seat, user, row.entry_fee, row.currency) for user, seat in each.seats.items()
            )
        elif payout.pot:
            suspended = {
                user for user, _ in payout.prizes if (b := balances.get((user, row.currency))) is not None and b.held
            }
            held.extend((row.id, user, prize, row.currency) for user, prize in payout.prizes if user in suspended)
            sets.append(
                books.settle(
                    row.id,
                    row.currency,
                    payout.pot,
                    payout.platform_fee,
                    row.studio_id,
                    payout.studio_fee,
                    payout.prizes,
                    suspended,
                )
            )
        rows.append((rules.FINISHED, now, each.result_hash, _outcome(each), None, None, row.id))
    escrows = ledger.post(tx, sets, now)
    for each in ended:
        if each.row.escrow + escrows.get(each.row.id, 0) != 0:
            raise InvariantBroken(f"match {each.row.id} ends with {each.row.escrow} in escrow, {escrows} posted")
    store.set_over(tx, rows)
    ledger_store.insert_held(tx, held)


def _outcome(each: _Ended) -> str:
    ranking = each.ranking
    outcome = to_json(
        {
            "teams": [
                {"id": team_id, "score": score, "ranking": rank, "forfeit": forfeit}
                for team_id, _, score, rank, forfeit in ranking.teams
            ],
            "scores": dict(ranking.scores),
            "winnings": [{"user_id": user, "amount": amount} for user, amount in each.payout.prizes],
        }
    )
    return outcome.decode()


# --- deadlines and operators -----------------------------------------------------------------------------------------


def close_overdue(tx: Tx, settings: Settings, now: int, limit: int) -> int:
    """Matches whose results are due: asynchronous ones rank the missing last; without any result, all is refunded."""
    match_ids = store.ids_overdue(tx, rules.LIVE, now, limit)
    if not match_ids:
        return 0
    batch = _load(tx, match_ids)
    # Some are paid out and others refunded: their balances are locked together, before either.
    ledger.lock(tx, {user for match in batch.matches.values() if match.row.entry_fee for user in match.seats})
    nothing = []
    for match_id in match_ids:
        match = batch.matches[match_id]
        if match.scores:
            _end(batch, match, rank_scored(match.roster, match.scores, match.row.score_order), None)
        else:
            nothing.append(match_id)
    _write(tx, batch, now)
    matches.abort(tx, settings, nothing, "no-results", "No result came in time.", now)
    return len(match_ids)


def settle(tx: Tx, match_id: str, request: contract.SettleRequest, now: int) -> Mapping[str, Any]:
    """An operator ends a live match with a result of his own. Returns what is worth auditing."""
    batch = _load(tx, [match_id])
    match = batch.matches.get(match_id)
    if match is None:
        raise NotFound("There is no such match.")
    rules.permit(match.status, "settle")
    ranking = _set_by_operator(match, request)
    teams = [[each.id, each.score, each.ranking, bool(each.forfeit)] for each in request.teams]
    text = json.dumps({"settled": teams, "scores": ranking.scores})
    digest = hashlib.sha256(text.encode()).hexdigest()
    batch.results.append((match_id, WHOLE_MATCH, 1, None, text, digest, now))
    _end(batch, match, ranking, digest)
    _write(tx, batch, now)
    return {
        "ranking": [[team.team_id, team.ranking] for team in ranking.teams],
        "prizes": batch.ended[0].payout.prizes,
        "currency": batch.ended[0].row.currency,
    }


def _set_by_operator(match: _Open, request: contract.SettleRequest) -> Ranking:
    """Raises InvalidRequest (roster, ranks)."""
    given = [(each.id, each.score) for each in request.participants]
    known = {**(match.scores or {}), **dict(given)}
    named = {user for user, _ in given}
    everybody = given + [(user, known.get(user, 0)) for user in match.seats if user not in named]
    teams = [(each.id, each.score, each.ranking, bool(each.forfeit)) for each in request.teams]
    # Whose score nobody has given has none, and not the worst that there is.
    return rank_reported(match.roster, everybody, teams)._replace(scores=known)


def payouts(tx: Tx, asked: Mapping[str, tuple[str, contract.SettleRequest]]) -> dict[str, Payout]:
    """What settlements of matches that have started pay out, whether or not they are over by now; nothing is locked.

    Of each a match's id and a request that its roster fits; the answer has the keys that were given.
    """
    if not asked:
        return {}
    batch = _batch_of(tx, store.get(tx, {match_id for match_id, _ in asked.values()}))
    opened = {key: (batch.matches[match_id], request) for key, (match_id, request) in asked.items()}
    return {key: _payout(match, _set_by_operator(match, request)) for key, (match, request) in opened.items()}
