"""Rows → what goes over the wire."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from oklp import contract
from oklp.domain import matches as rules
from oklp.domain.matches import Lobby, Seat
from oklp.storage.tx import Row

_OF_RESULTS = {"participants": ("id", "score"), "teams": ("id", "score", "ranking", "forfeit")}


def when(at: int) -> datetime:
    """Milliseconds since the epoch → UTC."""
    return datetime.fromtimestamp(at / 1000, UTC)


def maybe_when(at: int | None) -> datetime | None:
    return None if at is None else when(at)


def seat(row: Row) -> Seat:
    return Seat(row.id, row.user_id, row.username, row.team_id, row.slot, row.state, row.position)


def lobby(match: Row, seats: Iterable[Row]) -> Lobby:
    return Lobby(json.loads(match.team_ids), match.team_size, [seat(row) for row in seats])


def prize_pool(match: Any) -> int:
    """What the winners will share once every seat is paid."""
    pot = match.entry_fee * len(json.loads(match.team_ids)) * match.team_size
    return int(pot - pot * match.fee_bps // 10_000)


def match(
    row: Any, seats: Sequence[Seat], *, join_code: bool = False, changed: dict[str, Any] | None = None
) -> contract.Match:
    """A match for players, studios and operators. `changed` overrides columns that this transaction has written."""
    new = changed or {}
    status = new.get("status", row.status)
    outcome = json.loads(new.get("outcome", row.outcome) or "{}")
    teams = {team["id"]: team for team in outcome.get("teams", ())}
    scores = outcome.get("scores", {})
    # A player who came back is shown once, in the last seat; members stand in the order of their coming, as in payouts.
    latest = {each.user_id: each for each in sorted(seats, key=lambda each: each.position)}
    members = sorted(latest.values(), key=lambda each: each.position)
    shares = row.prize_shares_bps
    return contract.Match(
        match_id=row.id,
        game_id=row.game_id,
        status=status,
        visibility=row.visibility,
        entry_fee=contract.Money(amount=row.entry_fee, currency=row.currency),
        prize_pool=contract.Money(amount=prize_pool(row), currency=row.currency),
        fee_bps=row.fee_bps,
        prize_shares_bps=json.loads(shares) if shares else None,
        team_size=row.team_size,
        teams=[
            contract.Team(
                id=team_id,
                members=[
                    contract.Member(
                        user_id=each.user_id,
                        username=each.username,
                        state=each.state,
                        score=scores.get(each.user_id),
                    )
                    for each in members
                    if each.team_id == team_id
                ],
                score=teams.get(team_id, {}).get("score"),
                ranking=teams.get(team_id, {}).get("ranking"),
                forfeit=teams.get(team_id, {}).get("forfeit"),
            )
            for team_id in json.loads(row.team_ids)
        ],
        created_by=row.created_by,
        created_at=when(row.created_at),
        starts_by=when(row.starts_by),
        started_at=maybe_when(new.get("started_at", row.started_at)),
        results_due_at=maybe_when(new.get("results_due_at", row.results_due_at)),
        finished_at=maybe_when(new.get("finished_at", row.finished_at)),
        winnings=[contract.Winning(**winning) for winning in outcome.get("winnings", ())],
        abort_reason=new.get("abort_reason", row.abort_reason),
        abort_detail=new.get("abort_detail", row.abort_detail),
        join_code=row.join_code if join_code else None,
    )


def match_for_player(
    row: Any, seats: Sequence[Seat], user_id: str, changed: dict[str, Any] | None = None
) -> contract.Match:
    """As `match`; only those with an active seat see the join code of a private match."""
    member = any(each.user_id == user_id and each.state in rules.ACTIVE for each in seats)
    return match(row, seats, join_code=member, changed=changed)


def game_match(row: Any, seats: Sequence[Seat]) -> contract.GameMatch:
    """A match as its game reads it (A4): who holds a seat, in team order."""
    team_ids = json.loads(row.team_ids)
    taken = sorted(
        (each for each in seats if each.state in rules.TAKEN),
        key=lambda each: (team_ids.index(each.team_id), each.position),
    )
    return contract.GameMatch(
        match_id=row.id,
        participants=[contract.Participant(id=each.user_id, team_id=each.team_id) for each in taken],
        teams=[contract.TeamRef(id=team_id) for team_id in team_ids],
        match_status=rules.as_game_sees(row.status),
    )


def match_info(match_id: str, roster: list[list[Any]]) -> str:
    """Body of the match info webhook (A3), from the frozen roster."""
    return json.dumps(
        {
            "match_id": match_id,
            "participants": [
                {"id": user_id, "team_id": team_id} for team_id, members in roster for user_id, _ in members
            ],
            "teams": [{"id": team_id} for team_id, _ in roster],
        }
    )


def delivery(row: Row) -> contract.Delivery:
    return contract.Delivery(
        delivery_id=row.id,
        game_id=row.game_id,
        match_id=row.match_id,
        event=row.event,
        method=row.method,
        state=row.state,
        attempts=row.attempts,
        next_attempt_at=maybe_when(row.next_attempt_at),
        created_at=when(row.created_at),
        last_status=row.last_status,
        last_error=row.last_error,
    )


def attempt(row: Row) -> contract.DeliveryAttempt:
    """One request of a delivery. Whoever recorded it has left the credentials out; here they are left out again."""
    sent = json.loads(row.request_headers) if row.request_headers else {}
    return contract.DeliveryAttempt(
        attempt=row.attempt,
        started_at=when(row.started_at),
        duration_ms=row.duration_ms,
        url=row.url,
        request_headers={name: value for name, value in sent.items() if name.lower() != "authorization"},
        status=row.status,
        response_headers=json.loads(row.response_headers) if row.response_headers else None,
        response_body=row.response_body,
        error=row.error,
        fault=row.fault,
    )


def delivery_detail(row: Row, attempts: Sequence[Row]) -> contract.DeliveryDetail:
    return contract.DeliveryDetail(
        **delivery(row).model_dump(),
        request_body=json.loads(row.body),
        log=[attempt(each) for each in attempts],
    )


def refused_result(row: Row) -> contract.RefusedResult:
    """With the body as games write it (A7), whatever is kept of it."""
    kept = json.loads(row.body)
    body: dict[str, Any] = {"match_id": row.match_id} | {
        listed: [dict(zip(names, each, strict=True)) for each in kept[listed]]
        for listed, names in _OF_RESULTS.items()
        if listed in kept
    }
    return contract.RefusedResult(received_at=when(row.received_at), reason=row.reason, body=body)


def launch(row: Row) -> contract.MatchLaunch:
    return contract.MatchLaunch(
        user_id=row.user_id,
        launched_at=when(row.created_at),
        token_expires_at=when(row.expires_at),
        asked_at=maybe_when(row.asked_at),
    )


def posting(row: Row) -> contract.LedgerPosting:
    return contract.LedgerPosting(
        set_id=row.set_id, account=row.account, amount=row.amount, currency=row.currency, created_at=when(row.at)
    )


def audit(row: Row) -> contract.AuditEntry:
    return contract.AuditEntry(
        entry_id=str(row.id),
        at=when(row.at),
        actor=row.actor,
        action=row.action,
        subject=row.subject,
        reason=row.reason,
        detail=json.loads(row.detail),
    )


def studio_game(row: Row) -> contract.StudioGame:
    return contract.StudioGame(
        game_id=row.id,
        studio_id=row.studio_id,
        name=row.name,
        webhook_url=row.webhook_url,
        launch_urls=contract.LaunchTemplates.model_validate_json(row.launch_urls),
        settings=contract.GameSettings.model_validate_json(row.settings),
        vetting=row.vetting,
        vetting_reason=row.vetting_reason,
        vetting_by=row.vetting_by,
        vetting_at=maybe_when(row.vetting_at),
        conformance=contract.ConformanceSummary.model_validate_json(row.conformance) if row.conformance else None,
        created_at=when(row.created_at),
    )


def game(row: Row, currency: str) -> contract.Game:
    settings = contract.GameSettings.model_validate_json(row.settings)
    urls: dict[str, str] = json.loads(row.launch_urls)
    return contract.Game(
        game_id=row.id,
        name=row.name,
        studio=row.studio_name,
        mode=settings.mode,
        score_order=settings.score_order,
        platforms=sorted(urls),
        entry_fee=contract.FeeRange(minimum=settings.entry_fee_min, maximum=settings.entry_fee_max, currency=currency),
        fee_bps=settings.fee_bps,
        teams=contract.IntRange(minimum=settings.teams_min, maximum=settings.teams_max),
        team_size=contract.IntRange(minimum=settings.team_size_min, maximum=settings.team_size_max),
        results_due_seconds=settings.results_due_seconds,
    )
