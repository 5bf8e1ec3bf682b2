"""Verdicts on what a game sent, where a running game would be a long way to get there. Pure."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

import pytest

from oklp.check.catalogue import Grades
from oklp.check.grade import Evidence, Played, grade, grade_secrets
from oklp.check.launch import Page
from oklp.check.output import summary, to_html, to_json, to_junit
from oklp.check.report import Report
from oklp.check.run import Subject, refused_template
from oklp.check.wire import GameCall, quoted
from oklp.contract import LaunchTemplates, MatchInfo, Participant, TeamRef
from oklp.errors import InvariantBroken

MATCH = "600f369851f450dd3ecb0035"
PEOPLE = ["u1", "u2", "u3", "u4"]
INFO = MatchInfo(
    match_id=MATCH,
    participants=[Participant(id=user, team_id=f"t{number // 2 + 1}") for number, user in enumerate(PEOPLE)],
    teams=[TeamRef(id="t1"), TeamRef(id="t2")],
)


def result(*ranks: int, forfeits: tuple[int, ...] = (), scores: tuple[int, ...] = (20, 20)) -> dict[str, Any]:
    return {
        "match_id": MATCH,
        "participants": [{"id": user, "score": 10} for user in PEOPLE],
        "teams": [
            {"id": f"t{number}", "score": score, "ranking": rank, "forfeit": number in forfeits}
            for number, (rank, score) in enumerate(zip(ranks, scores, strict=True), 1)
        ],
    }


def call(body: object, at: float = 1.0, status: int | None = 200, fault: str = "", answer: bytes = b"") -> GameCall:
    return GameCall("finish", at, "g", json.dumps(body).encode(), "token", status, answer, fault)


def graded(*calls: GameCall, mode: Any = "sync", played: Played | None = None) -> dict[str, str]:
    grades = Grades()
    match = played if played is not None else Played(INFO, by_players=True)
    grade(grades, [match], Evidence(mode, calls, (), (), calls))
    return {each.id: each.verdict for each in grades.results()}


@pytest.mark.parametrize(
    ("ranks", "forfeits", "verdict"),
    [
        ((1, 2), (), "pass"),
        ((2, 1), (), "pass"),
        ((1, 1), (), "pass"),
        ((1, 3), (), "fail"),
        ((2, 3), (), "fail"),
        ((1, 2), (2,), "pass"),
        ((1, 2), (1,), "fail"),
        ((1, 1), (1,), "pass"),
        ((1, 2), (1, 2), "pass"),
    ],
)
def test_ranks(ranks: tuple[int, ...], forfeits: tuple[int, ...], verdict: str) -> None:
    assert graded(call(result(*ranks, forfeits=forfeits)))["result.ranking"] == verdict


@pytest.mark.parametrize(("scores", "verdict"), [((20, 20), "pass"), ((10, 20), "warn")])
def test_a_teams_score_is_the_sum_of_its_players(scores: tuple[int, int], verdict: str) -> None:
    assert graded(call(result(1, 2, scores=scores)))["result.scores"] == verdict


def test_the_same_result_in_another_order_is_the_same() -> None:
    again = result(1, 2)
    again["teams"].reverse()
    again["participants"].reverse()
    del again["teams"][0]["forfeit"]
    assert graded(call(result(1, 2)), call(again, at=2.0))["result.same"] == "pass"


def test_a_result_that_says_the_same_with_other_things_beside_it_is_the_same() -> None:
    """The platform passes over fields that it does not know, and takes `forfeit: null` for none."""
    again = {**result(1, 2), "sent_at": "2026-11-29T12:00:02Z"}
    again["participants"][0]["attempt"] = 2
    again["teams"][0]["forfeit"] = None
    verdicts = graded(call({**result(1, 2), "sent_at": "2026-11-29T12:00:01Z"}), call(again, at=2.0))
    assert (verdicts["result.same"], verdicts["result.shape"]) == ("pass", "pass")


def test_another_result_is_not() -> None:
    assert graded(call(result(1, 2)), call(result(2, 1), at=2.0))["result.same"] == "fail"
    forfeited = result(1, 2, forfeits=(2,))
    assert graded(call(result(1, 2)), call(forfeited, at=2.0))["result.same"] == "fail"
    unreadable = {**result(1, 2), "participants": "u1 won"}
    assert graded(call(unreadable), call(unreadable, at=2.0))["result.same"] == "pass"
    assert graded(call(unreadable), call({**unreadable, "participants": "u2 won"}, at=2.0))["result.same"] == "fail"


def test_an_empty_list_of_teams_is_none() -> None:
    """So serializers of typed games write it."""
    results = [call({"match_id": MATCH, "participants": [{"id": user, "score": 1}], "teams": []}) for user in PEOPLE]
    verdicts = graded(*results, mode="async", played=Played(INFO))
    assert (verdicts["result.mode"], verdicts["result.ranking"]) == ("pass", "not-applicable")
    assert "fail" not in verdicts.values()
    assert graded(call({**result(1, 2), "teams": []}))["result.mode"] == "fail"


@pytest.mark.parametrize("check_id", ["result.retry-503", "result.retry-dropped"])
def test_a_retry_is_of_the_call_that_met_the_fault(check_id: str) -> None:
    """In an asynchronous game another player's result is no retry of this one's."""
    fault: Any = check_id.removeprefix("result.retry-")
    played = Played(INFO, fault, by_players=True)

    def of(user: str, at: float, fault: str = "") -> GameCall:
        return call({"match_id": MATCH, "participants": [{"id": user, "score": 1}]}, at, fault=fault)

    others = [of(user, 2.0) for user in PEOPLE[1:]]
    assert graded(of("u1", 1.0, fault), *others, mode="async", played=played)[check_id] == "fail"
    assert graded(of("u1", 1.0, fault), *others, of("u1", 3.0), mode="async", played=played)[check_id] == "pass"
    assert graded(*others, mode="async", played=played)[check_id] == "not-seen"


def test_what_the_platform_refuses_for_a_reason_of_its_own_is_a_fault_of_shape() -> None:
    answer = b'{"type": "x", "title": "t", "status": 409, "detail": "The match is over."}'
    assert graded(call(result(1, 2), status=409, answer=answer))["result.shape"] == "fail"
    assert graded(call(result(1, 2), status=401))["result.shape"] == "pass"


@pytest.mark.parametrize("score", [1.0, "1", True, None, -1, 2**53])
def test_scores_are_whole_numbers_that_fit(score: object) -> None:
    body = {"match_id": MATCH, "participants": [{"id": "u1", "score": score}]}
    assert graded(call(body), mode="async")["result.shape"] == "fail"


@pytest.mark.parametrize(("asked_at", "verdict"), [(3.0, "pass"), (5.0, "fail")])
def test_in_an_asynchronous_game_a_player_may_come_after_the_others_result(asked_at: float, verdict: str) -> None:
    """A token has to be asked about before its own player's result, whoever was reported before."""

    def asked(user: str, at: float) -> GameCall:
        info = {"match_id": MATCH, "user_id": user, "match_status": "live"}
        answer = json.dumps({**info, "submissions_total": 1, "submissions_left": 1}).encode()
        return GameCall("token-info", at, "g", b"{}", "token", 200, answer, "")

    results = [
        call({"match_id": MATCH, "participants": [{"id": user, "score": 1}]}, at)
        for user, at in (("u1", 2.0), ("u2", 4.0))
    ]
    infos = [asked("u1", 1.0), asked("u2", asked_at)]
    grades = Grades()
    grade(grades, [Played(INFO, by_players=True)], Evidence("async", results, infos, (), [*infos, *results]))
    assert grades.verdict("token.checked") == verdict


def test_a_game_with_its_own_log_in_need_not_ask_about_tokens() -> None:
    grades = Grades()
    calls = [call(result(1, 2))]
    grade(grades, [Played(INFO, by_players=True)], Evidence("sync", calls, (), (), calls), by_token=False)
    assert grades.verdict("token.checked") == "not-applicable"
    assert graded(*calls)["token.checked"] == "fail"


@pytest.mark.parametrize(
    ("browser", "by_token"),
    [("https://g.example/?t={match-token}", True), ("https://g.example/play", False), (None, True)],
)
def test_players_log_in_where_the_launch_page_is_given_no_token(browser: str | None, by_token: bool) -> None:
    assert Subject(webhook_url="", launch_urls=LaunchTemplates(browser=browser)).by_token is by_token


@pytest.mark.parametrize(
    ("served", "from_browser", "verdict"),
    [
        ("<p>hi</p>", None, "pass"),
        ("const token = 'access-1'", None, "warn"),
        ("const token = 'access-1'", "token-info", "warn"),
        ("<p>hi</p>", "token-info", "warn"),
        ("const secret = 'client-secret'", None, "fail"),
        ("'client-secret' 'access-1'", "token-info", "fail"),
        ("<p>hi</p>", "finish", "fail"),
        ("<p>hi</p>", "token", "fail"),
    ],
)
def test_a_page_may_have_an_access_token_for_token_info_and_no_secret(
    served: str, from_browser: str | None, verdict: str
) -> None:
    """The platform answers the calls of pages to token-info (A6), so it is no breach; others may yet read the token."""
    page = Page("http://g.example/play", 200, served, served=[("http://g.example/play", served)])

    def calls(*kinds: str) -> list[GameCall]:
        return [GameCall(kind, 1.0, "g", b"{}", "access-1", 200, from_browser=kind == from_browser) for kind in kinds]

    grades = Grades()
    seen = Evidence("sync", (), (), calls("token"), calls("finish", "token-info"))
    grade_secrets(grades, [page], ["client-secret"], seen)
    assert grades.verdict("launch.secrets") == verdict


def test_players_that_gave_up_are_not_the_games_fault() -> None:
    verdicts = graded(played=Played(INFO, by_players=True, failed=["Player 1 ended with status 1."]))
    assert verdicts["result.reported"] == "not-seen"
    assert "fail" not in verdicts.values()


def test_a_match_that_nobody_played_says_nothing() -> None:
    assert set(graded(played=Played(INFO)).values()) == {"not-seen"}


def test_the_worst_that_was_seen_of_a_check_counts() -> None:
    grades = Grades()
    for verdict in ("not-applicable", "pass", "fail", "warn", "not-seen"):
        grades.give("webhook.start", verdict, f"It was {verdict}.")
    found = grades.results()[0]
    assert (found.verdict, found.detail) == ("fail", "It was fail.")
    with pytest.raises(InvariantBroken):
        grades.give("webhook.strat", "pass", "")


# --- reports ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def nasty() -> Report:
    """A game whose every word is meant to break out of a page."""
    url = "http://127.0.0.1:1/</style><script>alert(1)</script>"
    subject = Subject(webhook_url=url, launch_urls=LaunchTemplates(browser=url))
    return refused_template(subject, "g", "<img src=x onerror=alert(1)> & ]]> \x00\x1b[31m \ud800")


def test_a_page_of_html_needs_nothing_and_runs_nothing(nasty: Report) -> None:
    page = to_html(nasty)
    assert "<script" not in page
    assert "<img" not in page
    assert "<link" not in page
    assert "url(" not in page
    assert "@import" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert "prefers-color-scheme: dark" in page


def test_junit_is_well_formed_whatever_a_game_says(nasty: Report) -> None:
    suite = ElementTree.fromstring(to_junit(nasty).encode("utf-8", "strict")).find("testsuite")
    assert suite is not None
    assert suite.get("failures") == "1"
    assert [case.get("name") for case in suite.findall("testcase") if case.find("failure") is not None] == [
        "launch.template"
    ]
    assert suite.get("skipped") == str(len(nasty.results) - 1)


def test_a_report_comes_back_from_json_as_it_was(reports: dict[str, Report]) -> None:
    for report in reports.values():
        assert Report.model_validate_json(to_json(report)) == report


def test_a_later_version_of_a_report_can_be_read(reports: dict[str, Report]) -> None:
    later = {**json.loads(to_json(reports["correct"])), "new_field": {"a": 1}}
    assert Report.model_validate(later) == reports["correct"]


def test_the_summary_counts(reports: dict[str, Report]) -> None:
    total = len(reports["correct"].results)
    assert summary(reports["correct"]) == f"{total} passed"
    assert summary(reports["webhook.repeat"]) == f"{total - 1} passed, 1 failed"


def test_what_a_server_says_is_quoted_without_secrets() -> None:
    said = "secret-value\x1b[2J and eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ4In0.c2lnbmF0dXJl " + "x" * 500
    shown = quoted(said, ["secret-value"])
    assert "secret-value" not in shown
    assert "eyJ" not in shown
    assert shown.isprintable()
    assert len(shown) < 200
