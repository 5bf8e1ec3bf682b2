"""The outbox: what was put is reported, whatever happens in between; what is refused is kept with its reason."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from oklp.sdk import (
    AsyncClient,
    AsyncResultOutbox,
    Client,
    DifferentResultError,
    FinishAnswer,
    InvalidCallError,
    OutboxEntry,
    ResultOutbox,
    RetryPolicy,
    StorageError,
    TeamResult,
    UnavailableError,
    UnreachableError,
    load_config,
)
from oklp.sdk.files import now_ms
from oklp.sdk.outbox import OUTBOX_RETRY
from oklp.sdk.outbox_table import CLAIM_SECONDS, KEEP_SECONDS, ResultTable, problem_of, wait_ms
from oklp.sdk.requests import finish_request
from tests.sdk.outbox_process import match_id_of
from tests.sdk.stand_in import API, DROPPED, MATCH_ID, OTHER_USER, TOKEN_PATH, USER, Kind, Platform, Reply, problem

FINISH = f"{API}/finish"
ROOT = Path(__file__).resolve().parents[2]
SOON = RetryPolicy(first_wait_seconds=0.01, longest_wait_seconds=0.02)
SCORES = {USER: 300, OTHER_USER: 100}
TEAMS = [TeamResult(id="t1", score=300, ranking=1), TeamResult(id="t2", score=100, ranking=2)]
ENOUGH_SECONDS = 30.0


class Box:
    """An outbox of either kind with a client of its own, called in the same way."""

    def __init__(self, kind: Kind, path: Path, config: dict[str, Any], **options: Any) -> None:
        self._loop = asyncio.new_event_loop() if kind == "async" else None
        options = {"retry": SOON, **options}
        self.client: Any
        self.outbox: Any
        if self._loop is None:
            self.client = Client(config)
            self.outbox = ResultOutbox(path, self.client, **options)
        else:
            self.client = AsyncClient(config)
            self.outbox = AsyncResultOutbox(path, self.client, **options)
            self._loop.run_until_complete(self.outbox.start())

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.outbox, name)
        if self._loop is None:
            return lambda *args, **kwargs: method(*args, **kwargs)
        loop = self._loop
        return lambda *args, **kwargs: loop.run_until_complete(method(*args, **kwargs))

    def put_match(self, match_id: str = MATCH_ID) -> OutboxEntry:
        entry: OutboxEntry = self.put(match_id, SCORES, TEAMS)
        return entry

    def await_attempt(self, entry: OutboxEntry) -> Any:
        """The entry once an attempt has failed."""
        while (seen := self.wait(entry, 0.02)).problem is None:
            assert seen.state == "waiting"
        return seen

    def close(self) -> None:
        if self._loop is None:
            self.outbox.close()
            self.client.close()
        else:
            self._loop.run_until_complete(self.outbox.aclose())
            self._loop.run_until_complete(self.client.aclose())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()


MakeBox = Callable[..., Box]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.db"


@pytest.fixture
def make_box(kind: Kind, platform: Platform, path: Path) -> Iterator[MakeBox]:
    made: list[Box] = []

    def make(**options: Any) -> Box:
        box = Box(kind, path, platform.config(), **options)
        made.append(box)
        return box

    yield make
    for box in made:
        box.close()


@pytest.fixture
def box(make_box: MakeBox) -> Box:
    return make_box()


def reports(platform: Platform) -> list[dict[str, Any]]:
    return [asked.json for asked in platform.asked_for(FINISH)]


# --- what is put is reported -----------------------------------------------------------------------------------------


def test_a_result_is_reported_and_the_answer_kept(box: Box, platform: Platform) -> None:
    entry = box.put_match()
    done = box.wait(entry, ENOUGH_SECONDS)
    assert (done.state, done.match_status, done.problem, done.attempts) == ("accepted", "finished", None, 1)
    assert done.settled
    assert done.next_attempt_at is None
    assert done.put_at <= done.answered_at
    (report,) = reports(platform)
    assert report["participants"] == [{"id": USER, "score": 300}, {"id": OTHER_USER, "score": 100}]
    assert [team["ranking"] for team in report["teams"]] == [1, 2]


def test_players_of_an_asynchronous_game_are_reported_one_by_one(box: Box, platform: Platform) -> None:
    box.put(MATCH_ID, {USER: 300})
    box.put(MATCH_ID, {OTHER_USER: 100})
    assert box.flush(ENOUGH_SECONDS)
    assert sorted(str(report["participants"][0]["id"]) for report in reports(platform)) == [USER, OTHER_USER]
    assert all("teams" not in report for report in reports(platform))


def test_submissions_of_a_tournament_are_results_of_their_own(box: Box, platform: Platform) -> None:
    box.put(MATCH_ID, {USER: 300}, submission=1)
    box.put(MATCH_ID, {USER: 400}, submission=2)
    assert box.flush(ENOUGH_SECONDS)
    assert sorted(report["participants"][0]["score"] for report in reports(platform)) == [300, 400]


def test_a_platform_that_is_down_is_asked_until_it_answers_and_each_report_is_the_same(
    box: Box, platform: Platform
) -> None:
    platform.script(FINISH, Reply(503), DROPPED, Reply(500), Reply(body=b"<html>a proxy's page</html>"), Reply(429))
    done = box.wait(box.put_match(), ENOUGH_SECONDS)
    assert (done.state, done.attempts) == ("accepted", 6)
    assert len({asked.body for asked in platform.asked_for(FINISH)}) == 1


def test_while_it_waits_an_entry_says_why(make_box: MakeBox, platform: Platform) -> None:
    platform.always(FINISH, problem(503, "overloaded", "The server is busy."))
    box = make_box(retry=RetryPolicy(first_wait_seconds=600, longest_wait_seconds=600))
    seen = box.await_attempt(box.put_match())
    assert (seen.problem.status, seen.problem.code, seen.problem.detail) == (503, "overloaded", "The server is busy.")
    assert 300_000 <= seen.next_attempt_at - seen.put_at <= 700_000
    assert not box.flush(0.05)


def test_a_secret_that_is_put_right_later_loses_no_result(make_box: MakeBox, platform: Platform) -> None:
    platform.script(TOKEN_PATH, *[Reply(401, {"error": "invalid_client"})] * 3)
    box = make_box()
    entry = box.put_match()
    seen = box.await_attempt(entry)
    assert (seen.problem.status, seen.problem.code) == (401, "invalid_client")
    assert box.wait(entry, ENOUGH_SECONDS).state == "accepted"


def test_what_is_not_the_platforms_answer_refuses_no_result(box: Box, platform: Platform) -> None:
    """What stands before the platform answers in its place while it is away, or while an address is wrong."""
    nameless = {"type": "about:blank", "title": "Bad Request", "status": 400, "detail": "No route."}
    pages = [Reply(status, b"<html>nginx</html>") for status in (400, 404, 405, 408, 413, 421, 422, 425)]
    others = [Reply(404, {"detail": "Not Found"}), Reply(400, nameless), problem(408, "request-timed-out", "Too slow.")]
    platform.script(TOKEN_PATH, Reply(400, {"error": "invalid_scope"}))
    platform.script(FINISH, *pages, *others)
    done = box.wait(box.put_match(), ENOUGH_SECONDS)
    assert (done.state, done.attempts) == ("accepted", 1 + len(pages) + len(others) + 1)
    assert len({asked.body for asked in platform.asked_for(FINISH)}) == 1


def test_results_of_before_are_reported_by_the_next_outbox(kind: Kind, platform: Platform, path: Path) -> None:
    platform.always(FINISH, Reply(503))
    first = Box(kind, path, platform.config())
    first.await_attempt(first.put_match())
    first.close()
    platform.always(FINISH, Reply(body={"match_id": MATCH_ID, "accepted": True, "match_status": "finished"}))
    second = Box(kind, path, platform.config())
    try:
        assert second.flush(ENOUGH_SECONDS)
        (entry,) = second.entries("accepted")
        assert entry.match_id == MATCH_ID
    finally:
        second.close()


def test_closing_while_a_report_is_under_way_keeps_the_result(kind: Kind, platform: Platform, path: Path) -> None:
    answered = Event()
    platform.script(FINISH, Reply(503, wait_for=answered))
    first = Box(kind, path, platform.config())
    entry = first.put_match()
    while not platform.asked_for(FINISH):
        first.wait(entry, 0.01)
    if kind == "sync":
        answered.set()
    first.close()
    answered.set()
    second = Box(kind, path, platform.config())
    try:
        assert second.flush(ENOUGH_SECONDS)
    finally:
        second.close()


# --- what the platform says no to ------------------------------------------------------------------------------------


def test_a_refusal_is_kept_aside_with_the_problem(box: Box, platform: Platform) -> None:
    fault = {"field": "teams.0.ranking", "message": "must start at 1"}
    platform.script(FINISH, problem(422, "invalid-request", "The ranking has a gap.", [fault]))
    done = box.wait(box.put_match(), ENOUGH_SECONDS)
    (kept,) = box.entries("refused")
    assert kept == done
    assert (kept.problem.status, kept.problem.code, kept.problem.detail) == (
        422,
        "invalid-request",
        "The ranking has a gap.",
    )
    assert [(error.field, error.message) for error in kept.problem.errors] == [("teams.0.ranking", "must start at 1")]
    assert len(reports(platform)) == 1


@pytest.mark.parametrize("status", [400, 404, 409, 413])
def test_no_refusal_is_repeated(box: Box, platform: Platform, status: int) -> None:
    platform.script(FINISH, problem(status, "no", "No."))
    assert box.wait(box.put_match(), ENOUGH_SECONDS).state == "refused"
    assert len(reports(platform)) == 1


def test_a_corrected_result_may_follow_a_refused_one(box: Box, platform: Platform) -> None:
    platform.script(FINISH, problem(422, "invalid-request", "u1 is not in this match."))
    refused = box.wait(box.put(MATCH_ID, {USER: 1}), ENOUGH_SECONDS)
    corrected = box.put(MATCH_ID, {USER: 2})
    assert corrected.id != refused.id
    assert box.wait(corrected, ENOUGH_SECONDS).state == "accepted"
    with pytest.raises(DifferentResultError):
        box.retry(refused)
    assert [entry.state for entry in box.entries(match_id=MATCH_ID)] == ["refused", "accepted"]


def test_a_refused_result_can_be_tried_again_or_discarded(box: Box, platform: Platform) -> None:
    platform.script(FINISH, problem(404, "not-found", "No such match."))
    refused = box.wait(box.put_match(), ENOUGH_SECONDS)
    assert box.wait(box.retry(refused), ENOUGH_SECONDS).state == "accepted"
    with pytest.raises(LookupError):
        box.retry(refused)
    box.discard(refused)
    assert box.entries() == []
    with pytest.raises(LookupError):
        box.discard(refused)


def test_a_result_that_came_second_is_recorded(box: Box, platform: Platform) -> None:
    platform.script(FINISH, Reply(body={"match_id": MATCH_ID, "accepted": False, "match_status": "finished"}))
    done = box.wait(box.put_match(), ENOUGH_SECONDS)
    assert (done.state, done.match_status) == ("not_accepted", "finished")
    assert box.entries("not_accepted") == [done]


# --- once, and the same ----------------------------------------------------------------------------------------------


def test_the_same_result_put_twice_is_one(box: Box, platform: Platform) -> None:
    first = box.put_match()
    second = box.put(MATCH_ID, dict(reversed(SCORES.items())), list(reversed(TEAMS)))
    assert second.id == first.id
    assert box.flush(ENOUGH_SECONDS)
    assert box.put_match().id == first.id
    assert len(reports(platform)) == 1


def test_another_result_of_the_same_match_is_not_taken(box: Box, platform: Platform) -> None:
    first = box.put_match()
    with pytest.raises(DifferentResultError, match=MATCH_ID):
        box.put(MATCH_ID, {USER: 100, OTHER_USER: 300}, TEAMS)
    assert box.wait(first, ENOUGH_SECONDS).state == "accepted"
    assert len(reports(platform)) == 1


def test_what_the_platform_would_refuse_at_sight_is_not_stored(box: Box) -> None:
    with pytest.raises(InvalidCallError, match="score"):
        box.put(MATCH_ID, {USER: -1})
    assert box.entries() == []


def test_threads_that_put_the_same_result_make_one_entry(platform: Platform, path: Path) -> None:
    box = Box("sync", path, platform.config())
    try:
        with ThreadPoolExecutor(8) as pool:
            ids = {entry.id for entry in pool.map(lambda _: box.put_match(), range(40))}
        assert len(ids) == 1
        assert box.flush(ENOUGH_SECONDS)
        assert len(reports(platform)) == 1
    finally:
        box.close()


# --- processes -------------------------------------------------------------------------------------------------------


def start(what: str, path: Path, config: Path, *rest: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.sdk.outbox_process", what, str(path), str(config), *rest],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def config_file(platform: Platform, tmp_path: Path) -> Path:
    file = tmp_path / "developer-config.json"
    file.write_text(json.dumps(platform.config()), encoding="utf-8")
    return file


def test_a_server_killed_between_put_and_report_loses_nothing(
    kind: Kind, platform: Platform, path: Path, config_file: Path
) -> None:
    platform.always(FINISH, DROPPED)
    server = start("put", path, config_file, MATCH_ID)
    assert server.stdout is not None
    assert server.stdout.readline() == "put\n"
    server.kill()
    assert server.wait(30) == -signal.SIGKILL
    server.stdout.close()

    platform.always(FINISH, Reply(body={"match_id": MATCH_ID, "accepted": True, "match_status": "finished"}))
    # The killed server may have been in the middle of an attempt, so that its claim has to lapse first.
    restarted = Box(kind, path, platform.config(), clock=lambda: now_ms() + CLAIM_SECONDS * 1000)
    try:
        assert restarted.flush(ENOUGH_SECONDS)
        (entry,) = restarted.entries()
        assert (entry.match_id, entry.state) == (MATCH_ID, "accepted")
    finally:
        restarted.close()


def test_what_a_killed_server_called_safe_is_there(platform: Platform, path: Path, config_file: Path) -> None:
    platform.always(FINISH, Reply(503))
    promised: set[str] = set()
    for lines in (1, 7, 30):
        server = start("flood", path, config_file)
        assert server.stdout is not None
        promised.update(server.stdout.readline().strip() for _ in range(lines))
        server.kill()
        promised.update(line.strip() for line in server.stdout if line.endswith("\n"))
        server.wait(30)
        server.stdout.close()
    table = ResultTable(path, platform.config()["authentication"]["client_id"], now_ms)
    assert promised <= {entry.match_id for entry in table.entries("waiting", None)}
    table.close()


def test_processes_that_share_a_file_report_each_result_once(platform: Platform, path: Path, config_file: Path) -> None:
    servers = [start("share", path, config_file, str(n), str(n + 20)) for n in (0, 10, 20)]
    for server in servers:
        assert server.stdout is not None
        server.stdout.close()
        assert server.wait(120) == 0
    assert sorted(report["match_id"] for report in reports(platform)) == [match_id_of(n) for n in range(40)]


def test_what_a_forked_child_puts_is_reported(platform: Platform, path: Path) -> None:
    box = Box("sync", path, platform.config())
    try:
        box.put_match(match_id_of(1))
        child = os.fork()
        if child == 0:
            # Never back into the test: a child that raised would run the rest of it a second time.
            try:
                box.put_match(match_id_of(2))
                os._exit(0 if box.flush(ENOUGH_SECONDS) else 1)
            except BaseException:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        assert box.flush(ENOUGH_SECONDS)
        assert {report["match_id"] for report in reports(platform)} == {match_id_of(1), match_id_of(2)}
    finally:
        box.close()


# --- the file --------------------------------------------------------------------------------------------------------


def test_a_file_that_cannot_be_written_is_told_at_once(kind: Kind, platform: Platform, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=tmp_path.name):
        Box(kind, tmp_path, platform.config())
    not_ours = tmp_path / "notes.txt"
    not_ours.write_text("This is not a database, and long enough that nobody could think so.\n" * 20, encoding="utf-8")
    with pytest.raises(StorageError):
        Box(kind, not_ours, platform.config())


def test_a_closed_outbox_promises_nothing(kind: Kind, platform: Platform, path: Path) -> None:
    outbox = ResultOutbox(path, Client(platform.config()))
    outbox.close()
    with pytest.raises(StorageError, match="closed"):
        outbox.put(MATCH_ID, SCORES, TEAMS)


def test_commits_are_on_disk(platform: Platform, path: Path) -> None:
    table = ResultTable(path, "tile-rush", now_ms)
    with table._file.reading() as db:
        assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert db.execute("PRAGMA synchronous").fetchone()[0] == 2
    table.close()


class Hanging:
    """A client that never gets an answer."""

    def __init__(self, platform: Platform) -> None:
        self.config = load_config(platform.config())
        self.asked = asyncio.Event()

    async def finish(self, *args: Any, **kwargs: Any) -> FinishAnswer:
        self.asked.set()
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")


async def closed_soon(outbox: AsyncResultOutbox) -> None:
    async with asyncio.timeout(5):
        await outbox.aclose()


def test_closing_ends_where_a_result_cannot_be_given_back(
    platform: Platform, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def release(entry: OutboxEntry) -> None:
        raise StorageError("the disk is full")

    async def close_while_sending() -> None:
        client = Hanging(platform)
        outbox = AsyncResultOutbox(path, client, senders=1)
        await outbox.put(MATCH_ID, SCORES, TEAMS)
        await client.asked.wait()
        monkeypatch.setattr(outbox._table, "release", release)
        await closed_soon(outbox)

    asyncio.run(close_while_sending())


def test_closing_ends_where_the_file_cannot_be_read_just_then(
    platform: Platform, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = Event(), Event()

    def claim() -> None:
        begun.set()
        go_on.wait(ENOUGH_SECONDS)
        raise StorageError("the file is damaged")

    async def close_while_looking() -> None:
        outbox = AsyncResultOutbox(path, Hanging(platform), senders=1)
        monkeypatch.setattr(outbox._table, "claim", claim)
        await outbox.start()
        await asyncio.to_thread(begun.wait, ENOUGH_SECONDS)
        closing = asyncio.create_task(closed_soon(outbox))
        await asyncio.sleep(0)
        go_on.set()
        await closing

    asyncio.run(close_while_looking())


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000_000

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def table(path: Path, clock: Clock) -> Iterator[ResultTable]:
    table = ResultTable(path, "tile-rush", clock)
    yield table
    table.close()


def stored(table: ResultTable, match_id: str = MATCH_ID) -> OutboxEntry:
    return table.put(finish_request(match_id, SCORES, TEAMS), 1)


def claimed(table: ResultTable) -> OutboxEntry:
    entry = table.claim()
    assert entry is not None
    return entry


class OldSqlite(sqlite3.Connection):
    """Of before 3.35, which Python 3.11 is content with."""

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        if "RETURNING" in sql.upper():
            raise sqlite3.OperationalError('near "RETURNING": syntax error')
        return super().execute(sql, *parameters)


def test_an_older_sqlite_will_do(path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oklp.sdk.files.sqlite3.connect", partial(sqlite3.connect, factory=OldSqlite))
    table = ResultTable(path, "tile-rush", clock)
    entry = stored(table)
    assert claimed(table).attempts == 1
    table.refused(entry, problem_of(UnreachableError("gone", 1)))
    again = table.retry(entry.id)
    assert again is not None
    assert (again.id, again.state, again.match_id) == (entry.id, "waiting", MATCH_ID)
    assert table.retry(entry.id) is None
    last = claimed(table)
    assert (last.id, last.attempts) == (entry.id, 2)
    assert table.claim() is None
    table.close()


def test_a_claim_is_alone_until_it_lapses(table: ResultTable, clock: Clock) -> None:
    entry = stored(table)
    assert claimed(table).attempts == 1
    assert table.claim() is None
    clock.now += CLAIM_SECONDS * 1000 - 1
    assert table.claim() is None
    clock.now += 1
    assert (claimed(table).id, table.due_in_ms()) == (entry.id, CLAIM_SECONDS * 1000)


def test_a_clock_that_was_set_back_delays_nothing_for_long(table: ResultTable, clock: Clock) -> None:
    stored(table)
    clock.now -= 24 * 3600 * 1000
    assert claimed(table).match_id == MATCH_ID


def test_a_result_that_cannot_be_read_any_more_holds_up_no_other(table: ResultTable, path: Path, clock: Clock) -> None:
    table.put(finish_request(MATCH_ID, SCORES, TEAMS), 1)
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE oklp_results SET body = 'damaged'")
        db.commit()
    other = table.put(finish_request(match_id_of(2), SCORES, TEAMS), 1)
    with pytest.raises(StorageError, match=f"result 1 of match {MATCH_ID} in the outbox cannot be read"):
        table.claim()
    claimed = table.claim()
    assert claimed is not None
    assert claimed.id == other.id


def test_an_answer_is_final_even_when_a_slower_sender_says_otherwise(table: ResultTable, clock: Clock) -> None:
    stored(table)
    slow = claimed(table)
    clock.now += CLAIM_SECONDS * 1000
    fast = claimed(table)
    table.answered(fast, FinishAnswer(match_id=MATCH_ID, accepted=True, match_status="finished"))
    table.failed(slow, problem_of(UnreachableError("gone", 1)), 1_000)
    table.refused(slow, problem_of(UnreachableError("gone", 1)))
    (entry,) = table.entries(None, None)
    assert (entry.state, entry.problem) == ("accepted", None)


def test_accepted_results_are_forgotten_in_the_end_and_others_are_not(table: ResultTable, clock: Clock) -> None:
    for number, accepted in ((1, True), (2, False)):
        stored(table, match_id_of(number))
        table.answered(claimed(table), FinishAnswer(match_id="", accepted=accepted, match_status="finished"))
    stored(table, match_id_of(3))
    table.prune()
    assert len(table.entries(None, None)) == 3
    clock.now += KEEP_SECONDS * 1000 + 1
    table.prune()
    assert [entry.match_id for entry in table.entries(None, None)] == [match_id_of(2), match_id_of(3)]


def test_games_that_share_a_file_do_not_see_each_other(table: ResultTable, path: Path, clock: Clock) -> None:
    other = ResultTable(path, "word-race", clock)
    entry = stored(table)
    assert (other.claim(), other.due_in_ms(), other.entries(None, None), other.get(entry.id)) == (None, None, [], None)
    assert stored(other).id != entry.id
    other.close()


def test_waits_grow_to_their_limit_and_no_platform_can_make_them_endless() -> None:
    gone = UnreachableError("gone", 1)
    assert [wait_ms(OUTBOX_RETRY, gone, n, 0.0) for n in (1, 2, 3, 7, 1_000_000)] == [1000, 2000, 4000, 60000, 60000]
    assert wait_ms(OUTBOX_RETRY, gone, 1, 0.999) == 500
    busy = UnavailableError(status=503, title="Busy", detail="", retry_after_seconds=120)
    assert wait_ms(OUTBOX_RETRY, busy, 1, 0.0) == 120_000
    never = UnavailableError(status=503, title="Busy", detail="", retry_after_seconds=10**9)
    assert wait_ms(OUTBOX_RETRY, never, 1, 0.0) == 3_600_000
