"""Reversi without a server: the rules, the bot's choices, and matches with their clocks."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from games.reversi.reversi.matches import RETURN_MS, Match, NotPlayableError, Pace
from games.reversi.reversi.rules import (
    BLACK,
    SEATS,
    SQUARES,
    START,
    WHITE,
    IllegalMoveError,
    Position,
    Seat,
    moves,
    other,
    perft,
    square_of,
    squares,
    turned,
)
from games.reversi.reversi.search import LEVELS, Level, choose
from oklp.contract import FinishRequest
from oklp.sdk import MatchInfo, Participant, TeamRef
from tests.examples import examples

MATCH_ID = "600f369851f450dd3ecb0035"
OTHER_MATCH_ID = "600f369851f450dd3ecb0039"
PACE = Pace(base_seconds=180, increment_seconds=2, arrival_seconds=300)
INFO = MatchInfo(
    match_id=MATCH_ID,
    participants=[Participant(id="u2", team_id="t2"), Participant(id="u1", team_id="t1")],
    teams=[TeamRef(id="t1"), TeamRef(id="t2")],
)

chances = st.randoms(use_true_random=False)


def playout(chance: random.Random, most: int = 100) -> Iterator[Position]:
    """The positions of a game of legal moves, from the start on."""
    position = START
    yield position
    while position.turn is not None and most:
        position = position.play(chance.choice(list(squares(position.legal))))
        most -= 1
        yield position


# --- rules -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("depth", "ways"), list(enumerate([1, 4, 12, 56, 244, 1_396, 8_200, 55_092, 390_216])))
def test_the_start_has_as_many_continuations_as_is_known(depth: int, ways: int) -> None:
    assert perft(START, depth) == ways


def test_the_start_is_the_usual_one() -> None:
    assert {SQUARES[at] for at in squares(START.legal)} == {"d3", "c4", "f5", "e6"}
    assert START.turn == BLACK
    assert {SQUARES[at] for at in squares(START.discs[WHITE])} == {"d4", "e5"}


def walk(position: Position, square: int) -> set[int]:
    """What a move turns, by walking from square to square: slow and plain."""
    mover = position.turn
    assert mover is not None
    mine, theirs = ({*squares(position.discs[seat])} for seat in (mover, other(mover)))
    found: set[int] = set()
    for down, right in ((a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b):
        row, column, run = square // 8 + down, square % 8 + right, set[int]()
        while 0 <= row < 8 and 0 <= column < 8 and row * 8 + column in theirs:
            run.add(row * 8 + column)
            row, column = row + down, column + right
        if 0 <= row < 8 and 0 <= column < 8 and row * 8 + column in mine:
            found |= run
    return found


@settings(max_examples=examples(25))
@given(chances)
def test_moves_are_those_that_enclose_a_line(chance: random.Random) -> None:
    for position in playout(chance):
        if position.turn is None:
            continue
        free = set(range(64)) - {*squares(position.discs[BLACK] | position.discs[WHITE])}
        expected = {square: turns for square in free if (turns := walk(position, square))}
        assert {*squares(position.legal)} == set(expected)
        for square, turns in expected.items():
            assert {*squares(position.turned(square))} == turns


@given(chances)
def test_each_move_adds_one_disc_and_no_square_has_two(chance: random.Random) -> None:
    for number, position in enumerate(playout(chance)):
        assert position.discs[BLACK] & position.discs[WHITE] == 0
        assert sum(position.counts) == 4 + number


@given(chances)
def test_the_turn_goes_to_who_can_move_and_the_game_ends_when_nobody_can(chance: random.Random) -> None:
    before: Position | None = None
    for position in playout(chance):
        can = [moves(position.discs[seat], position.discs[other(seat)]) != 0 for seat in SEATS]
        if position.turn is None:
            assert can == [False, False]
        else:
            assert can[position.turn]
        if before is not None and before.turn is not None and position.turn == before.turn:
            assert not can[other(before.turn)], "a pass is for who cannot move"
        before = position


@given(chances)
def test_the_board_has_no_favourite_side(chance: random.Random) -> None:
    """A board turned upside down has the same moves, turned upside down."""

    def rotated(squares_: int) -> int:
        return int(f"{squares_:064b}"[::-1], 2)

    for position in playout(chance):
        again = Position((rotated(position.discs[0]), rotated(position.discs[1])), position.turn)
        assert again.legal == rotated(position.legal)


@given(chances, st.integers(-5, 70))
def test_what_is_not_legal_is_refused(chance: random.Random, square: int) -> None:
    for position in playout(chance):
        if not (0 <= square < 64 and position.legal >> square & 1):
            with pytest.raises(IllegalMoveError):
                position.play(square)


def test_a_colour_can_be_wiped_out_in_nine_moves() -> None:
    position = START
    for name in ["e6", "f4", "e3", "f6", "g5", "d6", "e7", "f5", "c5"]:
        position = position.play(square_of(name))
    assert position.turn is None
    assert position.counts == (13, 0)
    assert position.leader == BLACK


@pytest.mark.parametrize("name", ["", "a0", "a9", "i1", "A1", "a1 ", "11", "é1"])
def test_only_squares_have_names(name: str) -> None:
    with pytest.raises(IllegalMoveError):
        square_of(name)


# --- the bot's choices -----------------------------------------------------------------------------------------------


@settings(max_examples=examples(8))
@given(chances, st.sampled_from(LEVELS), st.integers(0, 60))
def test_a_bot_plays_legal_moves(chance: random.Random, level: Level, after: int) -> None:
    *_, position = playout(chance, after)
    if position.turn is None:
        with pytest.raises(ValueError, match="over"):
            choose(position, level, chance)
    else:
        assert position.legal >> choose(position, level, chance) & 1


def best_margin(position: Position, seat: Seat) -> int:
    """By how many discs a seat wins when both play perfectly, by trying everything."""
    if position.turn is None:
        return position.counts[seat] - position.counts[other(seat)]
    margins = [best_margin(position.play(square), seat) for square in squares(position.legal)]
    return max(margins) if position.turn == seat else min(margins)


@settings(max_examples=examples(8))
@given(chances)
def test_near_the_end_the_bot_plays_perfectly(chance: random.Random) -> None:
    late = [position for position in playout(chance) if sum(position.counts) >= 58 and position.turn is not None]
    for position in late[:1]:
        seat = position.turn
        assert seat is not None
        after = position.play(choose(position, "hard", chance))
        assert best_margin(after, seat) == best_margin(position, seat)


@pytest.mark.parametrize(("better", "worse"), [("medium", "easy"), ("hard", "medium")])
def test_each_level_is_stronger_than_the_one_before(better: Level, worse: Level) -> None:
    """With either colour."""
    chance, won = random.Random(8), 0
    for seat in SEATS:
        position = START
        while position.turn is not None:
            position = position.play(choose(position, better if position.turn == seat else worse, chance))
        won += position.leader == seat
    assert won == 2


# --- matches ---------------------------------------------------------------------------------------------------------


def begun(now: int = 0) -> Match:
    match = Match.of(INFO, now, PACE)
    for seat in SEATS:
        assert match.arrive(seat, now)
    return match


def play_on(match: Match, count: int, now: int = 0) -> None:
    """The first legal moves, all at the same time."""
    for _ in range(count):
        turn = match.position.turn
        if turn is None:
            return
        match.move(turn, len(match.moves) + 1, SQUARES[next(squares(match.position.legal))], now)


def verdict(match: Match) -> dict[str, tuple[int, int, bool]]:
    """Score, ranking and forfeit by team, from a result that the wire takes."""
    participants, teams = match.result()
    body = FinishRequest.model_validate({"match_id": MATCH_ID, "participants": participants, "teams": teams})
    assert body.teams is not None
    assert [(each.id, each.score) for each in body.participants] == [
        (f"u{team.id[1]}", team.score) for team in body.teams
    ]
    return {team.id: (team.score, team.ranking, team.forfeit) for team in body.teams}


def test_who_begins_follows_from_the_match_alone() -> None:
    """Anybody can compute it, so it must never change; and it is not always the same team."""

    def begins(match_id: str) -> str:
        return Match.of(INFO.model_copy(update={"match_id": match_id}), 0, PACE).teams[BLACK]

    assert (begins(MATCH_ID), begins(OTHER_MATCH_ID)) == ("t2", "t1")
    assert {begins(f"{number:024x}") for number in range(20)} == {"t1", "t2"}


def test_teams_and_users_stay_together() -> None:
    match = Match.of(INFO, 0, PACE)
    assert [user[1] for user in match.users] == [team[1] for team in match.teams]


@pytest.mark.parametrize("team_ids", [["t1", "t1"], ["t1"], ["t1", "t2", "t3"], ["t1", "t1", "t2"]])
def test_only_one_against_one_is_taken(team_ids: list[str]) -> None:
    participants = [Participant(id=f"u{number}", team_id=team) for number, team in enumerate(team_ids)]
    info = MatchInfo(match_id=MATCH_ID, participants=participants, teams=[TeamRef(id=team) for team in set(team_ids)])
    with pytest.raises(ValueError, match="one against one"):
        Match.of(info, 0, PACE)


def test_clocks_wait_for_both_players() -> None:
    match = Match.of(INFO, 0, PACE)
    assert match.arrive(WHITE, 100_000)
    with pytest.raises(NotPlayableError, match="not being played"):
        match.move(BLACK, 1, "d3", 100_001)
    assert match.arrive(BLACK, 200_000)
    assert match.left_ms(BLACK, 203_000) == 177_000
    assert match.left_ms(WHITE, 203_000) == 180_000


def test_a_move_stops_ones_clock_and_adds_the_increment() -> None:
    match = begun()
    match.move(BLACK, 1, "d3", 10_000)
    assert match.left_ms(BLACK, 50_000) == 172_000
    assert match.left_ms(WHITE, 50_000) == 140_000


def test_a_repeated_move_counts_once() -> None:
    match = begun()
    assert match.move(BLACK, 1, "d3", 1_000)
    assert not match.move(BLACK, 1, "d3", 9_000)
    assert match.moves == ["d3"]
    assert match.left_ms(WHITE, 9_000) == 172_000


@pytest.mark.parametrize(
    ("seat", "number", "square", "why"),
    [
        (BLACK, 2, "c3", "not your turn"),
        (WHITE, 1, "c3", "has changed"),
        (WHITE, 3, "c3", "has changed"),
        (WHITE, 2, "a1", "turns no disc"),
        (WHITE, 2, "d3", "not free"),
        (WHITE, 2, "z9", "no such square"),
    ],
)
def test_what_is_no_move_changes_nothing(seat: Seat, number: int, square: str, why: str) -> None:
    match = begun()
    match.move(BLACK, 1, "d3", 0)
    before = match.to_dict()
    with pytest.raises(NotPlayableError, match=why):
        match.move(seat, number, square, 5_000)
    assert match.to_dict() == before


def test_a_flag_falls_when_the_time_is_up_and_not_before() -> None:
    match = begun()
    match.move(BLACK, 1, "d3", 1_000)
    assert not match.tick(180_999)
    assert match.tick(181_000)
    assert (match.ending, match.winner) == ("flag", BLACK)
    assert verdict(match)[match.teams[WHITE]] == (1, 2, True)
    with pytest.raises(NotPlayableError):
        match.move(WHITE, 2, "c3", 181_000)


def test_who_resigns_loses_whatever_the_discs_say() -> None:
    match = begun()
    match.move(BLACK, 1, "d3", 0)
    match.resign(BLACK, 0)
    assert verdict(match) == {match.teams[BLACK]: (4, 2, True), match.teams[WHITE]: (1, 1, False)}


@pytest.mark.parametrize("came", [(), (BLACK,), (WHITE,)])
def test_who_does_not_come_forfeits(came: tuple[Seat, ...]) -> None:
    match = Match.of(INFO, 0, PACE)
    for seat in came:
        match.arrive(seat, 1_000)
    assert not match.tick(299_999)
    assert match.tick(300_000)
    ranks = {match.teams[seat]: (2, 1 if seat in came or not came else 2, seat not in came) for seat in SEATS}
    assert verdict(match) == ranks
    assert match.view(BLACK, 0, (False, False))["outcome"] == (
        "off" if not came else "won" if BLACK in came else "lost"
    )


def test_a_draw_is_a_shared_rank() -> None:
    match = begun()
    black = (1 << 32) - 1
    match.position = Position((black, 2**64 - 1 - black), None)
    match.phase, match.ending = "over", "counted"
    assert verdict(match) == {"t1": (32, 1, False), "t2": (32, 1, False)}


@given(chances)
def test_a_match_played_out_ranks_by_discs(chance: random.Random) -> None:
    match = begun()
    while match.phase == "playing" and match.position.turn is not None:
        square = SQUARES[chance.choice(list(squares(match.position.legal)))]
        match.move(match.position.turn, len(match.moves) + 1, square, 0)
    assert match.ending == "counted"
    discs = {match.teams[seat]: match.position.counts[seat] for seat in SEATS}
    best = max(discs.values())
    assert verdict(match) == {team: (count, 1 if count == best else 2, False) for team, count in discs.items()}


@given(st.integers(0, 60), st.integers(0, 170_000), st.integers(0, 10**9))
def test_no_clock_runs_while_the_server_is_down(count: int, thinking_ms: int, down_ms: int) -> None:
    match = begun()
    play_on(match, count)
    if match.position.turn is None:
        return
    turn = match.position.turn
    before = [match.left_ms(seat, thinking_ms) for seat in SEATS]
    again = Match(**json.loads(json.dumps(match.to_dict())))
    assert again == match
    assert again.position == match.position
    up_at = thinking_ms + down_ms
    assert again.resume(thinking_ms, up_at)
    assert [again.left_ms(seat, up_at + RETURN_MS) for seat in SEATS] == before
    assert again.left_ms(turn, up_at + RETURN_MS + 1) == before[turn] - 1
    # Who is back moves on, and gains nothing by it.
    assert again.arrive(turn, up_at + 5)
    assert not again.arrive(turn, up_at + 6)
    assert again.left_ms(turn, up_at + 6) == before[turn] - 1


def test_the_wait_for_players_stands_still_too() -> None:
    match = Match.of(INFO, 0, PACE)
    match.resume(100_000, 900_000)
    assert not match.tick(1_099_999)
    assert match.tick(1_100_000)


def test_a_clock_that_was_set_back_takes_no_time_from_anybody() -> None:
    match = begun(now=1_000_000)
    match.resume(2_000_000, 500_000)
    assert match.left_ms(BLACK, 500_000) == 180_000


def test_a_match_that_is_called_off_is_not_played_on() -> None:
    match = begun()
    assert match.abort(5)
    assert not match.abort(6)
    for act in (lambda: match.move(BLACK, 1, "d3", 7), lambda: match.resign(BLACK, 7)):
        with pytest.raises(NotPlayableError):
            act()
    assert not match.tick(10**9)


def test_a_view_has_hints_for_who_is_to_move_alone() -> None:
    match = begun()
    black, white = (match.view(seat, 0, (True, True)) for seat in SEATS)
    assert black["legal"] == ["d3", "c4", "f5", "e6"]
    assert (black["turn"], white["turn"], white["legal"]) == ("you", "them", [])
    assert black["board"] == white["board"]


@given(chances)
def test_a_view_says_who_passed(chance: random.Random) -> None:
    match = begun()
    while match.phase == "playing" and match.position.turn is not None:
        mover = match.position.turn
        square = SQUARES[chance.choice(list(squares(match.position.legal)))]
        match.move(mover, len(match.moves) + 1, square, 0)
        passed = {match.view(seat, 0, (True, True))["passed"] for seat in SEATS}
        assert passed == ({"you", "them"} if match.position.turn == mover else {None})


def test_turned_is_nothing_where_a_move_is_not_legal() -> None:
    assert turned(START.discs[BLACK], START.discs[WHITE], 0) == 0
