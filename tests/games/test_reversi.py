"""Reversi's server as the platform, players and strangers meet it: a process, HTTP and WebSockets."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from oklp.signing import webhook_claims
from tests.games.reversi_house import (
    GAMES,
    PATIENCE_SECONDS,
    SECRET,
    TEAMS,
    House,
    environment,
    match_info,
    new_match_id,
    play_out,
    prepare,
    serving,
    standing,
)
from tests.sdk.stand_in import API, FINISHED, GAME, REALM, USER, Reply, problem, running_platform
from tests.sdk.stand_in import signing_key as key_named

BACK = "http://platform.example/matches/{match_id}"
PAGES = GAMES / "reversi" / "pages"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One server for all that leaves it as it was; matches are new ones."""
    with running_platform() as platform:
        prepare(platform)
        config = platform.config(webhook_secret=SECRET)
        with serving(config, tmp_path_factory.mktemp("reversi"), "--back-url", BACK) as server:
            yield House(platform, server)


@contextlib.contextmanager
def house_of_its_own(folder: Path, *options: str) -> Iterator[House]:
    with running_platform() as platform:
        prepare(platform)
        with serving(platform.config(webhook_secret=SECRET), folder, *options) as server:
            yield House(platform, server)


# --- a match ---------------------------------------------------------------------------------------------------------


def test_a_whole_match_is_reported_once(house: House) -> None:
    match_id = house.start()
    with house.both(match_id) as (black, white):
        play_out(black, white)
        for board in (black, white):
            board.until(phase="over", answer="accepted")
            assert board.hear_the_end() == 1000
        discs = {board.user: board.view["you"]["discs"] for board in (black, white)}
        (report,) = house.reports(match_id)
        assert report["participants"] == [{"id": board.user, "score": discs[board.user]} for board in (black, white)]
        best = max(discs.values())
        assert standing(report) == [(1 if discs[user] == best else 2, False) for user in TEAMS]
        outcomes = {board.user: board.view["outcome"] for board in (black, white)}
        assert outcomes == {
            user: "draw" if len(set(discs.values())) == 1 else "won" if count == best else "lost"
            for user, count in discs.items()
        }


def test_players_know_each_other_and_who_is_there(house: House) -> None:
    match_id = house.start()
    (mine, theirs) = (house.launch(match_id, user) for user in TEAMS)
    with house.at(*mine) as marlene:
        view = marlene.until(phase="waiting")
        assert (view["them"]["here"], view["legal"], view["turn"]) == (False, [], None)
        with house.at(*theirs) as otto:
            view = marlene.until(phase="playing")
            otto.until(phase="playing")
            assert view["them"]["here"]
            assert {view["you"]["colour"], view["them"]["colour"]} == {"black", "white"}
            named = marlene.until_named()
            assert (named["you"]["name"], named["them"]["name"]) == ("marlene", "otto")
        while marlene.view["them"]["here"]:
            marlene.hear()


def test_who_comes_back_finds_the_match_as_it_is(house: House) -> None:
    match_id = house.start()
    seats = sorted(house.launch(match_id, user) for user in TEAMS)
    with house.at(*seats[1]) as white:
        with house.at(*seats[0]) as black:
            black.until(phase="playing")
            black.move("d3")
        white.until(turn="you")
        white.move("c3")
        with house.at(*seats[0]) as black:
            view = black.until(turn="you")
            assert view["moves"] == [["black", "d3"], ["white", "c3"]]
            # The answer to this one may have been lost with the connection.
            black.say({"type": "move", "number": 1, "square": "d3"})
            black.move()
            assert len(black.view["moves"]) == 3


def test_who_resigns_forfeits(house: House) -> None:
    match_id = house.start()
    with house.both(match_id) as (black, white):
        white.say({"type": "resign"})
        assert black.until(phase="over")["outcome"] == "won"
        assert white.until(phase="over", ending="resigned")["outcome"] == "lost"
        loser = white.user
    (report,) = house.await_reports(match_id)
    assert standing(report) == [(2, True) if user == loser else (1, False) for user in TEAMS]


def test_who_runs_out_of_time_forfeits_also_when_away(tmp_path: Path) -> None:
    with house_of_its_own(tmp_path, "--base-seconds", "1", "--increment-seconds", "0") as house:
        match_id = house.start()
        seats = sorted(house.launch(match_id, user) for user in TEAMS)
        with house.at(*seats[1]) as white:
            with house.at(*seats[0]) as black:
                black.until(phase="playing")
            view = white.until(phase="over")
            assert (view["outcome"], view["ending"], view["them"]["clock_ms"]) == ("won", "flag", 0)
            winner = white.user
        (report,) = house.await_reports(match_id)
        assert standing(report) == [(1, False) if user == winner else (2, True) for user in TEAMS]


def test_who_does_not_come_forfeits_and_so_do_both(tmp_path: Path) -> None:
    with house_of_its_own(tmp_path, "--arrival-seconds", "1") as house:
        nobody = house.start()
        (report,) = house.await_reports(nobody)
        assert standing(report) == [(1, True), (1, True)]
        match_id = house.start()
        with house.at(*house.launch(match_id, USER)) as marlene:
            assert marlene.until(phase="over")["ending"] == "absent"
        (report,) = house.await_reports(match_id)
        assert standing(report) == [(1, False), (2, True)]


# --- the server is killed --------------------------------------------------------------------------------------------


def shift_an_hour(path: Path) -> None:
    """As if the server had been killed an hour earlier than it was: every time on disk is."""
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE alive SET at = at - 3600000")
        for name in ("turn_at", "deadline_at"):
            db.execute(
                f"UPDATE matches SET body = json_set(body, '$.{name}', json_extract(body, '$.{name}') - 3600000)"
            )


def test_a_killed_server_forgets_no_move_and_runs_no_clock(tmp_path: Path) -> None:
    with house_of_its_own(tmp_path) as house:
        waiting, match_id = house.start(), house.start()
        seats = sorted(house.launch(match_id, user) for user in TEAMS)
        with house.at(*seats[0]) as black, house.at(*seats[1]) as white:
            for board in (black, white):
                board.until(phase="playing")
            play_out(black, white, most=9)
            before = black.until_named()
            house.server.kill()
            for board in (black, white):
                board.hear_the_end()
        shift_an_hour(house.server.data)
        house.server.start()
        with house.at(*seats[0]) as black, house.at(*seats[1]) as white:
            after = black.until(phase="playing")
            white.until(phase="playing")
            assert (after["moves"], after["board"]) == (before["moves"], before["board"])
            for who in ("you", "them"):
                assert after[who]["name"] == before[who]["name"]
                # What this test takes may be gone; what ran since the last sign of life, a second, is given back.
                assert before[who]["clock_ms"] - 30_000 < after[who]["clock_ms"] < before[who]["clock_ms"] + 2_000
            play_out(black, white)
            black.until(answer="accepted")
        (report,) = house.reports(match_id)
        assert [each["score"] for each in report["participants"]] == [
            black.view["you"]["discs"],
            black.view["them"]["discs"],
        ]
        assert house.reports(waiting) == [], "the wait for players stood still, too"


def last_alive(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as db:
        return int(db.execute("SELECT at FROM alive").fetchone()[0])


def test_time_that_was_used_before_the_kill_is_used(tmp_path: Path) -> None:
    with house_of_its_own(tmp_path) as house:
        match_id = house.start()
        seats = sorted(house.launch(match_id, user) for user in TEAMS)
        with house.at(*seats[0]) as black, house.at(*seats[1]):
            black.until(phase="playing")
            began_at = last_alive(house.server.data)
            while last_alive(house.server.data) < began_at + 2_500:
                time.sleep(0.05)
            house.server.kill()
        shift_an_hour(house.server.data)
        house.server.start()
        with house.at(*seats[0]) as black:
            assert black.until(phase="playing")["you"]["clock_ms"] < 180_000 - 1_000


def test_a_match_called_off_before_the_kill_does_not_start_after_it(tmp_path: Path) -> None:
    with house_of_its_own(tmp_path) as house:
        unheard_of = new_match_id()
        assert house.tell(unheard_of, "DELETE").status_code == 200
        house.server.kill()
        house.server.start()
        assert house.tell(unheard_of).status_code == 409


def test_a_result_outlives_the_server(tmp_path: Path) -> None:
    with house_of_its_own(tmp_path) as house:
        house.platform.always(f"{API}/finish", Reply(503))
        match_id = house.start()
        with house.both(match_id) as (black, white):
            black.say({"type": "resign"})
            white.until(phase="over")
        house.await_reports(match_id)
        house.server.kill()
        house.platform.always(f"{API}/finish", Reply(body=FINISHED))
        heard = len(house.reports(match_id))
        house.server.start()
        reports = house.await_reports(match_id, heard + 1)
        assert all(report == reports[0] for report in reports)
        with house.at(*house.launch(match_id, USER, "finished")) as board:
            assert board.until(phase="over", answer="accepted")["ending"] == "resigned"
        assert len(house.reports(match_id)) == heard + 1


def test_a_server_that_is_told_to_stop_says_so_and_goes_on_later(tmp_path: Path) -> None:
    with house_of_its_own(tmp_path) as house:
        match_id = house.start()
        seats = sorted(house.launch(match_id, user) for user in TEAMS)
        with house.at(*seats[0]) as black, house.at(*seats[1]):
            black.until(phase="playing")
            black.move("d3")
            house.server.stop()
            assert black.hear_the_end() == 1012
        house.server.start()
        with house.at(*seats[1]) as white:
            assert white.until(turn="you")["moves"] == [["black", "d3"]]


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ({"type": "move", "number": 1, "square": "a1"}, "turns no disc"),
        ({"type": "move", "number": 1, "square": "d4"}, "not free"),
        ({"type": "move", "number": 1, "square": "z9"}, "no such square"),
        ({"type": "move", "number": 2, "square": "d3"}, "has changed"),
        ({"type": "move", "number": 0, "square": "d3"}, "has changed"),
        ({"type": "move", "number": True, "square": "d3"}, "no message"),
        ({"type": "move", "number": 1.0, "square": "d3"}, "no message"),
        ({"type": "move", "number": 1, "square": 19}, "no message"),
        ({"type": "move", "number": 10**400, "square": "d3"}, "has changed"),
        ({"type": "win"}, "no message"),
        ([], "no message"),
        ("", "no message"),
        ("{", "no message"),
        ("[" * 500, "no message"),
        ("\N{OCTOPUS}", "no message"),
        ('{"type":"move","number":1,"square":"\\ud800"}', "no such square"),
    ],
    ids=str,
)
def test_what_is_no_move_is_refused(house: House, message: Any, why: str) -> None:
    with house.both(house.start()) as (black, _):
        black.say(message)
        assert why in black.refused()
        assert black.move("d3") == "d3"


def test_nobody_moves_for_the_other(house: House) -> None:
    with house.both(house.start()) as (black, white):
        white.say({"type": "move", "number": 1, "square": "d3"})
        assert "not your turn" in white.refused()
        black.move("d3")
        black.say({"type": "move", "number": 2, "square": "c3"})
        assert "not your turn" in black.refused()
        assert white.until(turn="you")["moves"] == [["black", "d3"]]


def test_a_socket_is_for_who_was_let_in_from_this_page(house: House) -> None:
    match_id = house.start()
    seats = dict(house.launch(match_id, user) for user in TEAMS)
    (path, cookie), (_, other_cookie) = seats.items()
    foreign = house.launch(house.start(), USER)[1]
    expires, _, signature = cookie.partition("=")[2].partition(".")
    later = f"seat={int(expires) + 1}.{signature}"
    for bad in ("", "seat=", "seat=x.y", other_cookie, foreign, later, f"seat=1.{signature}", "seat=\u00b2.y"):
        with pytest.raises(InvalidStatus) as refused, house.at(path, bad):
            pass
        assert refused.value.response.status_code == 403
    for origin in (None, "null", "http://127.0.0.1", "https://evil.example", house.server.url + "/"):
        with pytest.raises(InvalidStatus) as refused, house.at(path, cookie, origin):
            pass
        assert refused.value.response.status_code == 403
    for strange in (path.rpartition("/")[0] + "/red", f"/match/{'f' * 24}/black"):
        with pytest.raises(InvalidStatus), house.at(strange, cookie):
            pass
    with house.at(path, cookie) as board:
        assert board.until(phase="waiting")


def test_a_public_address_is_the_only_origin_and_its_cookies_are_secure(tmp_path: Path) -> None:
    with house_of_its_own(tmp_path, "--public-url", "https://reversi.example/") as house:
        match_id = house.start()
        house.token_is(match_id, USER)
        with house.http() as http:
            cookie = http.get("/play?token=good").headers["set-cookie"]
        assert {"Secure", "HttpOnly", "SameSite=lax"} <= set(cookie.split("; "))
        seat = house.launch(match_id, USER)
        with house.at(*seat, origin="https://reversi.example") as board:
            assert board.until(phase="waiting")
        with pytest.raises(InvalidStatus), house.at(*seat):
            pass


@pytest.mark.parametrize(
    ("messages", "code"), [(["x" * 600], 1009), (["x" * 5_000], 1009), ([b"{}"], 1008), (["{}"] * 100, 1008)]
)
def test_who_sends_too_much_is_sent_away(house: House, messages: list[str | bytes], code: int) -> None:
    with house.both(house.start()) as (black, white):
        with contextlib.suppress(ConnectionClosed):
            for message in messages:
                black.say(message)
        assert black.hear_the_end() == code
        while white.view["them"]["here"]:
            white.hear()


def test_a_seat_has_room_for_a_few_windows(house: House) -> None:
    seat = house.launch(house.start(), USER)
    with contextlib.ExitStack() as stack:
        boards = [stack.enter_context(house.at(*seat)) for _ in range(5)]
        for board in boards[1:]:
            assert board.until(phase="waiting")
        assert boards[0].hear_the_end() == 4001


# --- webhooks --------------------------------------------------------------------------------------------------------


def test_the_same_webhook_twice_is_the_same_match(house: House) -> None:
    match_id = house.start()
    with house.both(match_id) as (black, white):
        black.move("d3")
        assert house.tell(match_id).status_code == 200
        assert white.until(turn="you")["moves"] == [["black", "d3"]]
        white.move()


def test_a_match_that_is_called_off_ends_and_never_comes_back(house: House) -> None:
    match_id = house.start()
    with house.both(match_id) as (black, white):
        assert house.tell(match_id, "DELETE").status_code == 200
        for board in (black, white):
            assert board.until(phase="aborted")["outcome"] is None
    assert house.tell(match_id).status_code == 409
    unheard_of = new_match_id()
    assert house.tell(unheard_of, "DELETE").status_code == 200
    assert house.tell(unheard_of).status_code == 409
    assert house.reports(match_id) == []


def test_what_the_webhook_refuses(house: House) -> None:
    match_id = new_match_id()
    forged = key_named("second").sign(webhook_claims(house.platform.url + REALM, GAME, 1, 60, "x"))
    crowd = {**match_info(match_id), "participants": [{"id": USER, "team_id": "t1"}]}
    assert house.tell(match_id, authorization="").status_code == 401
    assert house.tell(match_id, authorization=f"Bearer {forged}").status_code == 401
    assert house.tell(match_id, webhook_signature="v1,AAAA").status_code == 401
    assert house.tell(match_id, body=crowd).status_code == 503
    assert house.tell(match_id, body=["nonsense"]).status_code == 400
    assert house.tell(match_id, "POST").status_code == 405
    house.token_is(match_id, USER)
    with house.http() as http:
        assert http.get("/play?token=good").status_code == 404, "nothing of all that started a match"


# --- launch and pages ------------------------------------------------------------------------------------------------


def test_a_launch_leaves_no_token_behind(house: House) -> None:
    house.token_is(house.start(), USER)
    with house.http() as http:
        answer = http.get("/play?token=secret-token", follow_redirects=True)
    assert answer.status_code == 200
    assert "token" not in str(answer.url)
    assert "secret-token" not in house.server.log
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("reply", "status", "words"),
    [
        (problem(404, "not-found", "Unknown."), 404, "no longer valid"),
        (Reply(body={"status": "nonsense"}), 503, "Try again"),
        ("pending", 409, "Not started yet"),
        ("live", 404, "never told"),
        ("finished", 410, "is over"),
        ("aborted", 410, "is over"),
    ],
)
def test_a_token_without_a_board_gets_a_page_that_says_why(
    house: House, reply: Reply | str, status: int, words: str
) -> None:
    match_id = new_match_id()
    if isinstance(reply, str):
        house.token_is(match_id, USER, reply)
    else:
        house.platform.script(f"{API}/token-info", reply)
    with house.http() as http:
        answer = http.get("/play?token=some")
    assert (answer.status_code, "text/html" in answer.headers["content-type"]) == (status, True)
    assert words in answer.text
    assert (BACK.format(match_id=match_id) in answer.text) == isinstance(reply, str)
    assert "set-cookie" not in answer.headers


def test_a_match_that_is_over_shows_its_final_board(house: House) -> None:
    match_id = house.start()
    with house.both(match_id) as (black, white):
        black.move("d3")
        white.say({"type": "resign"})
        black.until(answer="accepted")
    path, cookie = house.launch(match_id, USER, "finished")
    with house.http() as http:
        page = http.get(path, headers={"cookie": cookie})
    assert BACK.format(match_id=match_id) in page.text
    with house.at(path, cookie) as board:
        view = board.until(phase="over")
        assert (view["moves"], view["ending"]) == ([["black", "d3"]], "resigned")


def test_a_board_is_for_who_was_let_in(house: House) -> None:
    path, _ = house.launch(house.start(), USER)
    with house.http() as http:
        assert http.get(path).status_code == 404
        assert http.head(path).status_code == 404
        assert http.get("/nothing", headers={"accept": "text/html"}).status_code == 404


def test_pages_ask_nobody_else_for_anything_and_hold_no_script(house: House) -> None:
    with house.http() as http:
        policy = http.get("/").headers["content-security-policy"]
        for name in ("style.css", "board.js", "icon.svg"):
            assert http.get(f"/static/{name}").status_code == 200
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for page in PAGES.rglob("*.*"):
        text = page.read_text()
        assert set(re.findall(r"https?://[^\s\"'<)]+", text)) <= {"http://www.w3.org/2000/svg"}, page
        if page.suffix == ".html":
            assert re.findall(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=", text) == [], page


# --- practice and the bot --------------------------------------------------------------------------------------------


def test_who_asks_for_practice_again_and_again_takes_it_from_nobody(house: House) -> None:
    """Without a token anybody can ask, as often as they like."""
    tables = 200
    with house.http() as http:
        answer = http.post("/practice?level=easy")
        cookie = answer.headers["set-cookie"].partition(";")[0]
        with house.at(answer.headers["location"], cookie) as played:
            played.until(phase="playing", turn="you")
            assert {http.post("/practice?level=easy").status_code for _ in range(tables + 1)} == {303}
            played.move()
            played.until(turn="you")


def test_practice_is_a_match_against_the_bot_that_nobody_hears_of(house: House) -> None:
    with house.http() as http:
        answer = http.post("/practice?level=easy")
        cookie = answer.headers["set-cookie"].partition(";")[0]
        assert http.post("/practice?level=impossible").status_code == 422
        assert http.get("/practice?level=easy").status_code == 405
        assert "Play again" in http.get(answer.headers["location"], headers={"cookie": cookie}).text
    with house.at(answer.headers["location"], cookie) as board:
        view = board.until(phase="playing", turn="you")
        assert (view["practice"], view["them"]["name"], view["them"]["here"]) == ("easy", "Bot (easy)", True)
        for _ in range(3):
            board.until(turn="you")
            board.move()
        board.until(turn="you")
        board.say({"type": "resign"})
        view = board.until(phase="over")
        assert view["outcome"] == "lost"
    assert house.reports(view["match_id"]) == []


def bot(launch_url: str, *options: str, by_input: bool = False) -> subprocess.Popen[str]:
    given = ["--launch-url", "-" if by_input else launch_url]
    process = subprocess.Popen(
        [sys.executable, "-m", "reversi.bot", *given, "--think-seconds", "0", "0", *options],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(f"{launch_url}\n" if by_input else "")
    process.stdin.close()
    process.stdin = None
    return process


def test_bots_play_a_match_as_people_do(house: House) -> None:
    match_id = house.start()
    bots = []
    for number, user in enumerate(TEAMS):
        # One after the other: the platform says of the next token whose it is.
        house.token_is(match_id, user)
        asked = len(house.platform.asked_for(f"{API}/token-info"))
        url = f"{house.server.url}/play?token=bot-{number}"
        bots.append(bot(url, "--level", "easy", "--seed", str(number), by_input=number == 0))
        while len(house.platform.asked_for(f"{API}/token-info")) == asked:
            with contextlib.suppress(subprocess.TimeoutExpired):
                assert bots[-1].wait(0.02) is None, bots[-1].communicate()
    ends = [process.communicate(timeout=4 * PATIENCE_SECONDS) for process in bots]
    assert [process.returncode for process in bots] == [0, 0], ends
    words = sorted(out.split()[0] for out, _ in ends)
    assert words in (["lost", "won"], ["draw", "draw"])
    (report,) = house.await_reports(match_id)
    assert sum(each["score"] for each in report["participants"]) <= 64


def test_a_bot_that_is_not_let_in_says_so_without_its_token(house: House) -> None:
    house.platform.script(f"{API}/token-info", problem(404, "not-found", "Unknown."))
    process = bot(f"{house.server.url}/play?token=secret-token")
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, out) == (1, "")
    assert "did not let the bot in" in err
    assert "secret-token" not in err


def test_what_the_command_line_refuses(tmp_path: Path) -> None:
    for arguments, words in (
        (["--base-seconds", "0"], "at least one second"),
        (["--config", str(tmp_path / "missing.json")], "missing.json"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "reversi", "--data", str(tmp_path / "r.db"), *arguments],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )
        assert done.returncode == 2
        assert words in done.stderr
        assert "Traceback" not in done.stderr


def test_the_front_page_says_how_long_a_match_is(house: House) -> None:
    with house.http() as http:
        text = " ".join(http.get("/").text.split())
    assert "3 minutes a side, 2 seconds more with every move" in text
    assert "practice?level=hard" in text


def test_an_answer_of_nonsense_is_json(house: House) -> None:
    with house.http() as http:
        assert json.loads(http.get("/nothing").text) == {"detail": "Not Found"}
