"""Whole simulations against real servers, small ones; and that what is wrong does not pass."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from oklp.simulate import command, model
from oklp.simulate.model import Move
from oklp.simulate.money import Divided, divide
from oklp.simulate.plan import World
from oklp.simulate.play import Played
from oklp.simulate.run import Plan, Result, run
from oklp.simulate.script import Step
from oklp.simulate.wire import Reply
from tests.harness import Server, serving

PLAYERS = 24


def quietly(what: str, done: int, total: int) -> None:
    return None


def simulate(plan: Plan, folder: Path) -> Result:
    with asyncio.Runner() as runner:
        return runner.run(run(plan, folder, quietly))


# --- a server of its own, killed and stopped on the way --------------------------------------------------------------


def test_restarts(database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As on the command line: everything is as it must be, whatever the server was doing when it went away."""
    restarts = 2 if database_url.startswith("sqlite") else 1
    plan = Plan(
        seed=11,
        matches=45,
        players=PLAYERS,
        concurrency=24,
        restarts=restarts,
        webhook_timeout_seconds=3,
        database_url=database_url,
    )
    status = command.main(plan, json_file=tmp_path / "report.json", keep=tmp_path / "kept")
    report: dict[str, Any] = json.loads((tmp_path / "report.json").read_text())
    assert status == 0, (report["differences"][:2], report["faults"])
    said = capsys.readouterr()
    assert "Everything is as it must be." in said.out
    assert "of 45" in said.err
    assert report["restarts"] == restarts
    assert report["trouble"].get("connection refused", 0) + report["trouble"].get("answer lost", 0) > 0
    assert report["books"] == "clean"
    assert sum(report["ends"].values()) == 45
    assert report["ends"]["finished"] > 20
    money = report["money"]
    assert money["pots"] == money["prizes"] + money["platform_fees"] + money["studio_share"]
    assert report["calls"]["confirm"]["count"] > 100
    assert (tmp_path / "kept" / "server.log").exists()


# --- a server that is there already ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("sandbox")
    with serving(f"sqlite:///{folder / 'oklp.db'}", folder, OKLP_WEBHOOK_TIMEOUT_SECONDS="2") as server:
        yield server


def test_the_same_seed_is_the_same_run(server: Server, tmp_path: Path) -> None:
    """However many are played at once, whoever else is on the server; another seed is another run."""
    plan = Plan(seed=5, matches=25, players=PLAYERS, url=server.url)
    one, two = (simulate(replace(plan, concurrency=count), tmp_path) for count in (4, 30))
    assert one.good, (one.differences, one.faults)
    assert two.good, (two.differences, two.faults)
    assert (one.accounts.plan_digest, one.accounts.digest) == (two.accounts.plan_digest, two.accounts.digest)
    other = World(6, players=PLAYERS, operators=False).plan(0)
    assert other != World(5, players=PLAYERS, operators=False).plan(0)


def test_money_that_is_not_where_it_should_be(server: Server, tmp_path: Path) -> None:
    """A match that is accounted for with another prize than was paid: wallet, statement and figures say so."""

    def judge(played: Played) -> Played:
        moves = played.outcome.moves
        if played.script.number != 2 or not moves:
            return played
        (player, move), *rest = moves
        wrong = played.outcome._replace(moves=((player, Move(move.held, move.refunded, move.prize + 1)), *rest))
        return replace(played, outcome=wrong)

    result = simulate(Plan(seed=5, matches=4, players=PLAYERS, url=server.url, judge=judge), tmp_path)
    assert not result.good
    assert any("match 2 (" in fault and "expected Move(" in fault for fault in result.faults), result.faults
    assert any("the wallet" in fault for fault in result.faults)


def test_a_model_that_thinks_otherwise(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 1, the match, the line, what was expected and found, and how to play it again."""

    def generous(*arguments: Any) -> Divided | None:
        divided = divide(*arguments)
        return divided and divided._replace(prizes={who: amount + 1 for who, amount in divided.prizes.items()})

    monkeypatch.setattr("oklp.simulate.model.divide", generous)
    plan = Plan(seed=5, matches=6, players=PLAYERS, url=server.url)
    assert command.main(plan, json_file=tmp_path / "report.json") == command.DIFFERENT
    first = json.loads((tmp_path / "report.json").read_text())["differences"][0]
    assert first["step"] == "the end"
    assert first["expected"].startswith("winnings {")
    out = capsys.readouterr().out
    again = f"oklp simulate --seed 5 --players {PLAYERS} --games 14 --url {server.url} --match {first['match']}"
    assert again == first["replay"]
    assert again in out
    monkeypatch.undo()
    alone = simulate(replace(plan, only=first["match"]), tmp_path)
    assert alone.good, (alone.differences, alone.faults)
    assert alone.ended == 1


def test_an_answer_that_must_not_come(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were what is refused expected to succeed, the refusal would be a difference, named by its line."""
    expects = model.Model.expects

    def trusting(self: model.Model, step: Step) -> frozenset[str]:
        return frozenset({model.OK}) if step.do in ("misplan", "overdraw") else expects(self, step)

    monkeypatch.setattr(model.Model, "expects", trusting)
    world = World(5, players=PLAYERS, operators=False)
    steps = (({step.do for step in world.plan(number)[0].steps}, number) for number in itertools.count())
    number = next(number for kinds, number in steps if kinds & {"misplan", "overdraw"})
    result = simulate(Plan(seed=5, players=PLAYERS, url=server.url, only=number), tmp_path)
    [found] = result.differences
    assert found.expected == "ok"
    assert "invalid-request" in found.found or "insufficient-funds" in found.found
    assert found.script.steps[found.line - 1].do in ("misplan", "overdraw")
    assert f"match {number} " in str(found)
    assert f"line {found.line}: {found.script.steps[found.line - 1]}" in str(found)


def test_an_interrupted_run_accounts_for_what_was_played(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first Ctrl-C lets what has begun come to its end."""
    asked: list[int] = []

    def tell(what: str, done: int, total: int) -> None:
        if what == "matches" and done and not asked:
            asked.append(done)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(command, "_Lines", lambda err: tell)
    plan = Plan(seed=5, matches=5_000, players=PLAYERS, concurrency=6, url=server.url, faults=False)
    assert command.main(plan, json_file=tmp_path / "report.json") == command.INTERRUPTED
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["good"]
    assert asked[0] <= report["matches"] == sum(report["ends"].values()) < 5_000
    said = capsys.readouterr()
    assert "once more ends it at once" in said.err
    assert "of 5,000, then interrupted" in said.out
    assert "Everything is as it must be." in said.out


def test_before_anything_was_played_an_interrupt_ends_it(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "_Lines", lambda err: lambda what, done, total: signal.raise_signal(signal.SIGINT))
    assert command.main(Plan(seed=5, players=PLAYERS, url=server.url)) == command.INTERRUPTED
    assert capsys.readouterr().out == ""


def test_a_server_that_dies_by_itself_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At once, and not when the last request has lost its patience."""

    def tell(what: str, done: int, total: int) -> None:
        if what == "matches":
            for child in psutil.Process().children():
                if str(tmp_path) in child.environ().get("OKLP_DATA_DIR", ""):
                    child.kill()

    monkeypatch.setattr(command, "_Lines", lambda err: tell)
    monkeypatch.setattr("oklp.simulate.wire.PATIENCE_SECONDS", 3_600.0)
    assert command.main(Plan(seed=5, players=PLAYERS), keep=tmp_path / "kept") == command.INCOMPLETE
    assert "was ended by SIGKILL" in capsys.readouterr().err


def test_what_does_not_go_together(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(Plan(url="http://127.0.0.1:9", restarts=1)) == command.INCOMPLETE
    assert "--url" in capsys.readouterr().err
    assert command.main(Plan(players=10)) == command.INCOMPLETE
    assert "--players" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "nonsense", "http://[::1", "http://127.0.0.1:99999"])
def test_where_no_server_is_nothing_begins(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(Plan(url=url)) == command.INCOMPLETE
    said = " ".join(capsys.readouterr().err.split())
    assert f"No server is ready at {url}." in said
    assert "games" not in said


@pytest.mark.parametrize(
    ("status", "body", "later"),
    [
        (503, {"type": "urn:oklp:error:unavailable"}, True),
        (503, {"error": "temporarily_unavailable"}, True),  # as under /auth
        (429, {"type": "urn:oklp:error:too-many-requests"}, True),
        (503, {"type": "urn:oklp:error:match-starting"}, False),  # an answer about the match, which the model expects
        (409, {"type": "urn:oklp:error:wrong-state"}, False),
        (200, {}, False),
    ],
)
def test_which_answers_say_later(status: int, body: dict[str, str], later: bool) -> None:
    assert Reply(status, body).later == later
