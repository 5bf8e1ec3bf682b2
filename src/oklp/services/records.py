"""What is kept about players: results, standings, the best of a game.

It is made from the event log, behind the work that it tells of: results are paid out at once, and counted a moment
later. One node at a time reads on, and moves the place up to which the log was read in the transaction that keeps what
was read, so that everything is counted once, whatever ends in between.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from oklp import contract
from oklp.domain import matches as rules
from oklp.domain.standings import verdicts
from oklp.errors import NotFound
from oklp.services import notices, views
from oklp.services.notices import Posting
from oklp.storage import events
from oklp.storage import matches as match_store
from oklp.storage import players as player_store
from oklp.storage import records as store
from oklp.storage.engine import Tx, horizon
from oklp.storage.tx import Row

PAGE = 50  # half a millisecond each, for which on SQLite results that games report wait in the same lane
# Who is this far behind reads more at once: what is late does not become later without end.
LATE_MS = 10_000
LATE_PAGE = 250
BEST = 10
RECENT = 40


class Behind(NamedTuple):
    """`due`: there is something to read in the log. `lag_ms`: for how long the oldest that was not read is there.

    What is `held` cannot be read yet, since a transaction that may write before it goes on: it is late all the same.
    """

    due: bool
    lag_ms: int
    held: bool


def behind(tx: Tx, now: int) -> Behind:
    """One look at the place that was read up to, one at what follows it."""
    place = store.place(tx)
    first = events.first_news(tx, place or store.START)
    if first is None:
        return Behind(place is None, 0, held=False)
    due = place is None or first.tx_number < horizon(tx)
    return Behind(due, max(now - first.at, 0), held=not due)


def keep(tx: Tx, posting: Posting) -> bool:
    """Read on in the log. Returns whether there may be more of it; False while another node is at it."""
    if store.place(tx) is None:
        store.begin(tx)
    place = store.place(tx, lock=True)
    if place is None:
        return False
    below, limit = horizon(tx), PAGE
    rows = events.news(tx, place, below, limit)
    if not rows:
        return False
    if len(rows) == limit and posting.now - rows[0].at > LATE_MS:
        limit = LATE_PAGE
        rows = events.news(tx, place, below, limit)
    shown = match_store.get(tx, {row.match_id for row in rows if row.match_id is not None})
    finished = [match for match in shown.values() if match.status == rules.FINISHED]
    kept = store.of_matches(tx, [match.id for match in finished])
    counted = {match_id for match_id, _ in kept}
    kept |= _count(tx, [match for match in finished if match.id not in counted])
    notices.tell(tx, posting, rows, shown, kept)
    store.move(tx, (rows[-1].tx_number, rows[-1].seq))
    return len(rows) == limit


def _count(tx: Tx, finished: Iterable[Row]) -> dict[tuple[str, str], store.Kept]:
    """Keep the results of matches that were never counted, and the sums of them; by (match_id, user_id)."""
    results = [result for match in finished for result in _results(match)]
    matches: Counter[tuple[str, str]] = Counter()
    verdicts_of: Counter[tuple[str, str, str]] = Counter()
    paid: Counter[tuple[str, str]] = Counter()
    won: Counter[tuple[str, str]] = Counter()
    for _, user_id, game_id, _, _, verdict, currency, fee, prize in results:
        matches[user_id, game_id] += 1
        verdicts_of[user_id, game_id, verdict] += 1
        paid[user_id, currency] += fee
        won[user_id, currency] += prize
    store.insert_results(tx, results)
    store.add_standings(
        tx,
        [
            (*pair, count, verdicts_of[*pair, "won"], verdicts_of[*pair, "drawn"])
            for pair, count in sorted(matches.items())
        ],
    )
    store.add_money(tx, [(*pair, fees, won[pair]) for pair, fees in sorted(paid.items()) if fees or won[pair]])
    return {(result[0], result[1]): store.Kept(result[5], result[7], result[8]) for result in results}


def _results(match: Row) -> list[tuple[str, str, str, int, int, str, str, int, int]]:
    """One of each player: (match, user, game, at, place, verdict, currency, paid, won)."""
    outcome = json.loads(match.outcome)
    teams = outcome["teams"]
    found = verdicts([(team["ranking"], team["forfeit"]) for team in teams])
    made = {team["id"]: (team["ranking"], verdict) for team, verdict in zip(teams, found, strict=True)}
    prizes = {each["user_id"]: each["amount"] for each in outcome["winnings"]}
    refunded = all(team["forfeit"] for team in teams)  # nobody played: every fee went back
    fee = 0 if refunded else match.entry_fee
    return [
        (
            *(match.id, user_id, match.game_id, match.finished_at, *made[team_id]),
            *(match.currency, fee, prizes.get(user_id, 0)),
        )
        for team_id, members in json.loads(match.roster)
        for user_id, _ in members
    ]


# --- looking ---------------------------------------------------------------------------------------------------------


def verdict(match: contract.Match, user_id: str) -> contract.MatchVerdict | None:
    """What a match that is finished was to this player; None for one who did not play it."""
    if match.status != rules.FINISHED:
        return None
    found = verdicts([(team.ranking or 0, bool(team.forfeit)) for team in match.teams])
    for team, made in zip(match.teams, found, strict=True):
        if any(member.user_id == user_id and member.state == rules.CONFIRMED for member in team.members):
            return made
    return None


def best(tx: Tx, game_id: str) -> contract.BestPlayers:
    """Who won most matches of a game."""
    return contract.BestPlayers(
        players=[
            contract.BestPlayer(
                user_id=row.user_id,
                username=row.username,
                matches=row.matches,
                wins=row.wins,
                draws=row.draws,
                losses=row.matches - row.wins - row.draws,
            )
            for row in store.best(tx, game_id, BEST)
        ]
    )


def record(tx: Tx, viewer_id: str, username: str) -> contract.PlayerRecord:
    """A player as others may see him, and with his money as he himself does. Raises NotFound.

    Of one whose results are private, others see that there is such a player.
    """
    player = player_store.person_by_name(tx, "player", username.lower())
    if player is None:
        raise NotFound("There is no such player.")
    own = player.id == viewer_id
    seen = own or not player.private_results
    games = store.standings_of(tx, player.id) if seen else []
    return contract.PlayerRecord(
        user_id=player.id,
        username=player.username,
        since=views.when(player.created_at).date(),
        private=player.private_results,
        matches=sum(row.matches for row in games),
        wins=sum(row.wins for row in games),
        draws=sum(row.draws for row in games),
        losses=sum(row.matches - row.wins - row.draws for row in games),
        games=[
            contract.GameRecord(
                game_id=row.game_id,
                name=row.name,
                matches=row.matches,
                wins=row.wins,
                draws=row.draws,
                losses=row.matches - row.wins - row.draws,
            )
            for row in games
        ],
        recent=[_recent(row, own) for row in (store.results_of(tx, player.id, RECENT) if seen else ())],
        money=_money(tx, player.id) if own else None,
    )


def _money(tx: Tx, user_id: str) -> list[contract.MoneyRecord]:
    rows = store.money_of(tx, user_id)
    return [contract.MoneyRecord(currency=row.currency, paid=row.paid, won=row.won - int(row.unpaid)) for row in rows]


def _recent(row: Row, own: bool) -> contract.RecentResult:
    """Which match it was, and what it brought, is the player's own to know."""
    return contract.RecentResult(
        match_id=row.match_id if own else None,
        game_id=row.game_id,
        game_name=row.name,
        finished_at=views.when(row.at),
        place=row.place,
        verdict=row.verdict,
        paid=contract.Money(amount=row.paid, currency=row.currency) if own else None,
        won=contract.Money(amount=row.won, currency=row.currency) if own else None,
        held=row.held if own else None,
    )


def set_privacy(tx: Tx, user_id: str, request: contract.Privacy) -> contract.Privacy:
    """Whether others see a player's results, and find him among the best."""
    player_store.update_player(tx, user_id, private_results=request.private)
    return request
