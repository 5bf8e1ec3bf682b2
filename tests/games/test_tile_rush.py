"""Tile Rush: the rules, in both languages, and runs, with the logs that are refused."""

from __future__ import annotations

import copy
import random
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count, islice
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from games.tile_rush.tile_rush import rules
from games.tile_rush.tile_rush.bot import Bot
from games.tile_rush.tile_rush.rules import BURST, COLUMNS, GAP_MS, KINDS, ROWS, Board, Cell, ImpossibleMoveError
from games.tile_rush.tile_rush.runs import (
    GRACE_MS,
    LogRefusedError,
    OutOfStepError,
    Run,
    Tap,
    TooLateError,
    taps_of,
)
from games.tile_rush.tile_rush.server import PAGES
from oklp.sdk import MatchRandom
from oklp.sdk.randomness import JAVASCRIPT
from tests.examples import examples
from tests.games.tile_rush_logs import DURATION_MS, TILES, board_of, some_taps
from tests.sdk.browser import open_page
from tests.sdk.stand_in import MATCH_ID, USER

seeds = st.integers(0, 2**32)


def cells() -> list[tuple[int, int]]:
    return [(x, y) for x in range(COLUMNS) for y in range(ROWS)]


# --- rules -----------------------------------------------------------------------------------------------------------


def painted(*rows: str) -> Board:
    """A board with these rows on top of each other, the last one at the bottom; `*` is a burst."""
    board = board_of("painted")
    for x in range(COLUMNS):
        board.columns[x] = [BURST if row[x] == "*" else int(row[x]) for row in reversed(rows)]
    return board


QUIET = ("0123401", "2340123", "4012340")  # rows without equal neighbours, whichever follows which


def quiet_board(*bottom: str) -> Board:
    return painted(*(QUIET * 3)[: ROWS - len(bottom)], *bottom)


@pytest.mark.parametrize(
    ("bottom", "size", "points", "multiplier", "leaves"),
    [
        ("1133333", 2, 10, 1, False),
        ("1113333", 3, 30, 2, False),
        ("1111333", 4, 60, 3, False),
        ("1111133", 5, 100, 3, False),
        ("1111113", 6, 150, 3, True),
        ("1111111", 7, 210, 3, True),
    ],
)
def test_what_a_tap_is_worth(bottom: str, size: int, points: int, multiplier: int, leaves: bool) -> None:
    board = quiet_board("0040404", bottom)
    board.multiplier = 2
    turn = board.tap(0, 0)
    assert (turn.size, turn.points, board.score) == (size, 2 * points, 2 * points)
    assert board.multiplier == multiplier
    assert (turn.burst == (0, 0)) == leaves
    assert (board.tile((0, 0)) == BURST) == leaves


def test_a_burst_clears_its_row_and_column_and_sets_off_others() -> None:
    board = quiet_board("012340*", "*123401")
    turn = board.tap(0, 0)
    assert turn.size == COLUMNS + ROWS - 1
    assert turn.points == 15 * turn.size
    board = quiet_board("0123401", "*1234*1")
    turn = board.tap(0, 0)
    assert turn.size == COLUMNS + 2 * (ROWS - 1)
    assert board.multiplier == 2


def test_the_multiplier_ends_at_five() -> None:
    board = board_of("high")
    board.multiplier = rules.MOST
    board.columns[0][:4] = [0, 0, 0, 0]
    board.tap(0, 0)
    assert board.multiplier == rules.MOST == 5


def test_a_tile_that_stands_alone_and_what_is_not_on_the_board_cannot_be_tapped() -> None:
    board = quiet_board("0123401", "2212340")
    before = [list(column) for column in board.columns]
    for x, y in ((2, 0), (-1, 0), (0, -1), (COLUMNS, 0), (0, ROWS)):
        with pytest.raises(ImpossibleMoveError):
            board.tap(x, y)
    assert (board.columns, board.score, board.turns) == (before, 0, 0)


def quiet_but_for_a_pair() -> list[list[int]]:
    """The columns of a board with one pair, on top."""
    board = quiet_board()
    board.columns[0][-1] = board.columns[1][-1] = 4
    board.columns[0][-2], board.columns[1][-2] = 2, 3
    assert board.groups() == [frozenset({(0, ROWS - 1), (1, ROWS - 1)})]
    return board.columns


def seeds_that_need_a_sweep() -> Iterator[str]:
    """Seeds with which a tap on the pair leaves no move at first."""
    for number in count():
        board = board_of(number)
        board.columns = quiet_but_for_a_pair()
        bottom, above = ([column[y] for column in board.columns] for y in (0, 1))
        board.tap(0, ROWS - 1)
        if [column[0] for column in board.columns] != bottom:
            assert [column[0] for column in board.columns] == above
            assert board.groups()
            yield str(number)


def test_a_board_without_a_move_is_swept_until_there_is_one() -> None:
    assert len(set(islice(seeds_that_need_a_sweep(), 3))) == 3


@given(seeds, st.integers(0, 60))
def test_a_board_is_always_full_and_playable(seed: int, length: int) -> None:
    board = board_of(seed)
    some_taps(board, random.Random(seed), length)
    assert all(len(column) == ROWS and set(column) <= {*range(KINDS), BURST} for column in board.columns)
    assert board.groups()
    assert board.turns == length


@given(seeds)
def test_a_column_gives_the_same_tiles_however_one_plays(seed: int) -> None:
    """What has been cleared of a column, and what is in it, is a beginning of its stack: nobody is luckier."""
    stacks = [MatchRandom(MATCH_ID).stream(str(seed)).stream(f"column {x}") for x in range(COLUMNS)]
    board = board_of(seed)
    gone: list[Counter[int]] = [Counter() for _ in range(COLUMNS)]
    chance = random.Random(seed)
    for _ in range(20):
        # Without bursts, which take the place of a tile of the stack.
        small = [group for group in board.groups() if len(group) < rules.LEAVES_BURST]
        if not small:
            break
        group = chance.choice(small)
        for x, y in group:
            gone[x][board.tile((x, y))] += 1
        board.tap(*min(group))
    for x, stack in enumerate(stacks):
        seen = gone[x] + Counter(board.columns[x])
        assert seen == Counter(stack.below(KINDS) for _ in range(seen.total()))


def _size_and_place(group: frozenset[Cell]) -> tuple[int, list[Cell]]:
    return len(group), sorted(group)


def test_the_board_is_the_published_one() -> None:
    """A change of the rules or of the drawing would change matches that are under way."""
    board = board_of(TILES)
    for _ in range(60):
        largest = max(board.groups(), key=_size_and_place)
        x, y = board.where(largest)[0]
        board.tap(x, y)
    assert (board.score, board.largest, board.multiplier) == (12_670, 14, 4)


# --- the twin in JavaScript ------------------------------------------------------------------------------------------

RULES_JS = PAGES / "static" / "rules.js"
REPLAY = """async ([matchId, logs]) => {
  const rules = await import("/rules.js");
  const results = logs.map(({ seed, taps, columns }) => {
    const board = new rules.Board(matchId, seed);
    if (columns) board.columns = columns;
    const worth = taps.map(([x, y]) => {
      const turn = board.tap(x, y);
      return turn === null ? null : [turn.size, turn.points, turn.multiplier, turn.burst];
    });
    return { worth, score: board.score, multiplier: board.multiplier, columns: board.columns, largest: board.largest };
  });
  const { COLUMNS, ROWS, KINDS, BURST, RAISES, LEAVES_BURST, MOST, GROUP_POINTS, BURST_POINTS, GAP_MS } = rules;
  const numbers = { COLUMNS, ROWS, KINDS, BURST, RAISES, LEAVES_BURST, MOST, GROUP_POINTS, BURST_POINTS, GAP_MS };
  return { results, numbers };
}"""


def replayed(seed: str, taps: list[list[int]], columns: list[list[int]] | None = None) -> dict[str, Any]:
    """What `REPLAY` gives, by rules.py. A tap that is impossible is null there, and changes nothing."""
    board = board_of(seed)
    board.columns = columns or board.columns
    worth: list[Any] = []
    for x, y in taps:
        try:
            turn = board.tap(x, y)
        except ImpossibleMoveError:
            worth.append(None)
        else:
            worth.append([turn.size, turn.points, turn.multiplier, turn.burst and list(turn.burst)])
    return {
        "worth": worth,
        "score": board.score,
        "multiplier": board.multiplier,
        "columns": board.columns,
        "largest": board.largest,
    }


def test_python_and_javascript_agree_on_any_log() -> None:
    """Hypothesis draws the logs, good players' and nonsense, and one page of Chromium replays them."""
    taps = st.lists(st.tuples(st.integers(-1, COLUMNS), st.integers(-1, ROWS)).map(list), max_size=40)

    swept = [
        {"seed": seed, "taps": [[0, ROWS - 1], *([x, 3] for x in range(COLUMNS))], "columns": quiet_but_for_a_pair()}
        for seed in islice(seeds_that_need_a_sweep(), 3)
    ]
    with open_page({"rules.js": RULES_JS, "oklp-random.js": JAVASCRIPT}) as page:

        @settings(max_examples=examples(20), deadline=None)
        @given(st.lists(st.tuples(seeds, taps, st.integers(0, 150), st.booleans()), min_size=1, max_size=6))
        def agree(drawn: list[tuple[int, list[list[int]], int, bool]]) -> None:
            logs: list[dict[str, Any]] = [*swept]
            for seed, wild, length, greedy in drawn:
                board = board_of(seed)
                possible = greedy_taps(board, length) if greedy else some_taps(board, random.Random(seed), length)
                logs.append({"seed": str(seed), "taps": [*possible, *wild]})
            answer = page.evaluate(REPLAY, [MATCH_ID, logs])
            assert answer["results"] == [replayed(**copy.deepcopy(log)) for log in logs]
            assert answer["numbers"] == {name: getattr(rules, name) for name in answer["numbers"]}

        agree()


def greedy_taps(board: Board, length: int) -> list[list[int]]:
    """As `some_taps`, of somebody good: bursts and high multipliers come up."""
    taps = []
    bot = Bot(skill=1, chance=random.Random(length))
    for _ in range(length):
        x, y = bot.choose(board)
        board.tap(x, y)
        taps.append([x, y])
    return taps


def test_skill_is_what_decides() -> None:
    """Who looks at all groups is ahead of who takes any, on the same tiles and with as many taps."""
    ahead = 0
    for seed in range(20):
        scores = []
        for skill in (0.0, 1.0):
            board = board_of(seed)
            bot = Bot(skill, chance=random.Random(seed))
            for _ in range(60):
                board.tap(*bot.choose(board))
            scores.append(board.score)
        ahead += scores[1] > scores[0]
    assert ahead >= 18


# --- runs ------------------------------------------------------------------------------------------------------------


def new_run(duration_ms: int = DURATION_MS) -> Run:
    return Run(MATCH_ID, USER, TILES, duration_ms, started_at=0)


def good_taps(length: int, *, first_at: int = 0, every: int = GAP_MS) -> list[Tap]:
    taps = some_taps(board_of(TILES), random.Random(1), length)
    return [(first_at + number * every, x, y) for number, (x, y) in enumerate(taps)]


def alone() -> tuple[int, int]:
    """A tile that stands alone at the beginning."""
    board = board_of(TILES)
    return next(cell for cell in cells() if len(board.group(cell)) == 1)


@given(st.lists(st.integers(0, 30), max_size=6), st.integers(0, 5))
def test_a_log_is_the_same_however_it_is_cut_and_repeated(cuts: list[int], back: int) -> None:
    log = good_taps(30)
    run = new_run()
    for cut in [*sorted(cuts), 30]:
        start = max(0, min(len(run.taps), cut) - back)
        run.take(TILES, start, log[start:cut], DURATION_MS)
    whole = new_run()
    whole.take(TILES, 0, log, DURATION_MS)
    assert run.taps == whole.taps == log
    assert run.score == whole.score > 0
    assert Run(MATCH_ID, USER, TILES, DURATION_MS, 0, taps=log).score == run.score


BAD_PIECES: dict[str, tuple[Callable[[], list[Tap]], str]] = {
    "a tile alone": (lambda: [(10_000, *alone())], "impossible"),
    "beside the board": (lambda: [(10_000, 99, 0)], "impossible"),
    "below the board": (lambda: [(10_000, 0, -1)], "impossible"),
    "before the run": (lambda: [(-1, 0, 0)], "before the run"),
    "after the time": (lambda: [(DURATION_MS + 1, 0, 0)], "after the time"),
    "from the future": (lambda: [(30_000, 0, 0)], "future"),
    "time goes back": (lambda: [(4_999, 0, 0)], "backwards"),
    "too fast": (lambda: [(5_000 + GAP_MS - 1, 0, 0)], "faster"),
    "a bad one after good ones": (lambda: [*good_taps(6)[5:], (10_000, 99, 0)], "impossible"),
}


@pytest.mark.parametrize("name", [*BAD_PIECES])
def test_a_log_that_cannot_have_been_played_is_refused_whole(name: str) -> None:
    make, reason = BAD_PIECES[name]
    run = new_run()
    before = [(5_000, *good_taps(1)[0][1:])]
    now = 20_000 if name == "from the future" else DURATION_MS + 1_000
    if name in ("before the run", "a bad one after good ones"):
        before = good_taps(5) if name.startswith("a bad") else []
    run.take(TILES, 0, before, now)
    score, columns = run.score, [list(column) for column in run.board.columns]
    with pytest.raises(LogRefusedError, match=reason):
        run.take(TILES, len(before), make(), now)
    assert (run.taps, run.score, run.board.columns) == (before, score, columns)


def test_a_log_of_another_board_is_refused() -> None:
    with pytest.raises(LogRefusedError, match="another board"):
        new_run().take("tiles of somebody else", 0, good_taps(1), DURATION_MS)


def test_another_past_or_a_gap_is_out_of_step_and_takes_nothing() -> None:
    run = new_run()
    log = good_taps(5)
    run.take(TILES, 0, log[:3], DURATION_MS)
    changed = [(log[0][0] + 1, *log[0][1:]), *log[1:]]
    for start, piece in ((0, changed), (4, log[4:])):
        with pytest.raises(OutOfStepError):
            run.take(TILES, start, piece, DURATION_MS)
    assert run.taps == log[:3]


def test_nothing_is_taken_once_the_run_is_over() -> None:
    log = good_taps(2)
    run = new_run()
    run.take(TILES, 0, log[:1], DURATION_MS + GRACE_MS - 1)
    with pytest.raises(TooLateError):
        run.take(TILES, 1, log[1:], DURATION_MS + GRACE_MS)
    run = new_run()
    run.end(1_000)
    with pytest.raises(TooLateError):
        run.take(TILES, 0, log, 1_000)


@pytest.mark.parametrize(
    "body", [None, {}, [1], [[1, 2]], [[1, 2, 3.0]], [[1, 2, "3"]], [[True, 0, 0]], [[2**40, 0, 0]]]
)
def test_what_is_no_log_at_all(body: Any) -> None:
    with pytest.raises(ValueError):
        taps_of(body)
