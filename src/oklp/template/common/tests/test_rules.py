"""The rules, without a server."""

from __future__ import annotations

from sum_sprint.rules import GRACE_MS, POINTS, RUN_MS, SUMS, score, sums

MATCH_ID = "600f369851f450dd3ecb0035"
ASKED = [(11, 12), (30, 40), (99, 99), (50, 11), (20, 21)]
RIGHT = [23, 70, 198, 61, 41]


def test_everybody_in_a_match_gets_the_same_sums() -> None:
    assert sums(MATCH_ID, "secret") == sums(MATCH_ID, "secret")
    assert len(sums(MATCH_ID, "secret")) == SUMS


def test_nobody_foresees_them_from_the_match_id() -> None:
    assert sums(MATCH_ID, "secret") != sums(MATCH_ID, "another")


def test_right_answers_count_and_time_decides_between_equals() -> None:
    assert score(ASKED, RIGHT, 60_000) == SUMS * POINTS
    assert score(ASKED, RIGHT, 20_000) == SUMS * POINTS + 40
    assert score(ASKED, [*RIGHT[:3], None, 0], 0) == 3 * POINTS + 60


def test_who_knows_nothing_or_is_late_has_no_points() -> None:
    assert score(ASKED, [None] * SUMS, 0) == 0
    assert score(ASKED, RIGHT, RUN_MS + GRACE_MS + 1) == 0
