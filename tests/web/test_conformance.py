"""Reports of the checker, handed in by studios and seen in vetting."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from oklp import contract
from oklp.check.catalogue import Grades
from oklp.check.output import to_json
from oklp.check.report import CheckedGame, Report
from oklp.cli import app
from oklp.services.conformance import KEPT
from oklp.tools import conformance as handing_in
from oklp.tools.login import ToolError
from tests.harness import GameConfig, Server
from tests.web.test_studio_api import fields, must

BACKENDS = ("sqlite",)


def report(**more: Any) -> dict[str, Any]:
    """One as the checker writes it, of every check there is."""
    grades = Grades()
    grades.give("webhook.start", "pass", "It was answered with 200.")
    grades.give("webhook.repeat", "fail", "The second was answered with 500.")
    grades.give("webhook.quick", "warn", "It took 4 s.")
    made = Report(
        oklp_version="1.2.3",
        started_at=datetime(2026, 5, 1, 12, 0, tzinfo=UTC),
        finished_at=datetime(2026, 5, 1, 12, 1, tzinfo=UTC),
        game=CheckedGame(
            game_id="oklp-check",
            webhook_url="http://127.0.0.1:9000/match",
            launch_urls=contract.LaunchTemplates(browser="http://127.0.0.1:9000/play?t={match-token}"),
            mode="sync",
            teams=2,
            team_size=1,
        ),
        results=grades.results(),
        problems=["A player gave up."],
    )
    body: dict[str, Any] = json.loads(to_json(made))
    return {**body, **more}


@pytest.fixture
def game(served: Server) -> GameConfig:
    return served.register(discovery="pull")


def test_a_report_is_kept_as_the_checker_wrote_it(served: Server, game: GameConfig) -> None:
    """Whole, and counted; the studio and the operators see the same."""
    path = f"/games/{game.client_id}/conformance-reports"
    assert must(served.studio.get(f"/games/{game.client_id}"))["conformance"] is None
    body = report()
    body["game"]["build"] = "1.4.2"
    made = must(served.studio.post(path, json=body), 201)
    assert (made["passed"], made["failed"], made["warnings"], made["problems"]) == (1, 1, 1, 1)
    assert made["not_seen"] == len(body["results"]) - 3
    assert (made["oklp_version"], made["webhook_url"], made["build"]) == ("1.2.3", body["game"]["webhook_url"], "1.4.2")
    assert made["submitted_by"] == f"member:{must(served.studio.get('/me'))['username']}"
    for caller in (served.studio, served.operator):
        assert must(caller.get(path))["reports"] == [made]
        whole = must(caller.get(f"{path}/{made['report_id']}"))
        assert whole.pop("report") == body
        assert whole == made
        assert must(caller.get(f"/games/{game.client_id}"))["conformance"] == made


def test_the_newest_report_is_the_one_that_vetting_goes_by(served: Server, game: GameConfig) -> None:
    path = f"/games/{game.client_id}"
    for _ in range(2):
        newest = must(served.studio.post(f"{path}/conformance-reports", json=report()), 201)
    listed = must(served.operator.get(f"{path}/conformance-reports"))["reports"]
    assert len(listed) == 2
    assert listed[0] == newest
    decided = must(served.operator.post(f"{path}/vetting", json={"decision": "suspend", "reason": "it failed"}))
    assert decided["conformance"] == newest
    audit = must(served.operator.get("/audit", params={"subject": f"game:{game.client_id}"}))["entries"]
    assert audit[0]["detail"] == {"conformance_report": newest["report_id"]}
    [in_list] = [
        each
        for each in must(served.operator.get("/games", params={"vetting": "suspended", "limit": 200}))["games"]
        if each["game_id"] == game.client_id
    ]
    assert in_list["conformance"] == newest


def test_old_reports_make_room(served: Server, game: GameConfig) -> None:
    path = f"/games/{game.client_id}/conformance-reports"
    made = [must(served.studio.post(path, json=report()), 201)["report_id"] for _ in range(KEPT + 2)]
    kept = [each["report_id"] for each in must(served.studio.get(path))["reports"]]
    assert len(kept) == KEPT
    assert set(kept) < set(made)
    assert served.studio.get(f"{path}/{made[0]}").status_code == 404


def _twice(body: dict[str, Any]) -> None:
    body["results"].append(body["results"][0])


@pytest.mark.parametrize(
    ("change", "at_fault"),
    [
        ({"schema_version": 2}, "schema_version"),
        ({"results": []}, "results"),
        ({"results": _twice}, None),
        ({"oklp_version": "\x00"}, "oklp_version"),
        ({"finished_at": "2026-05-01T11:59:59Z"}, "finished_at"),
        ({"finished_at": "2026-05-01T12:00:00"}, "finished_at"),
        ({"problems": ["x" * 20_001]}, "problems.0"),
        ({"problems": ["much"] * 101}, "problems"),
        ({"game": {}}, None),
    ],
)
def test_what_is_no_report_is_refused_by_its_field(
    served: Server, game: GameConfig, change: dict[str, Any], at_fault: str | None
) -> None:
    body = report()
    for name, value in change.items():
        if callable(value):
            value(body)
        else:
            body[name] = value
    path = f"/games/{game.client_id}/conformance-reports"
    found = fields(served.studio.post(path, json=body))
    if at_fault is not None:
        assert found == {at_fault}
    assert found
    assert must(served.studio.get(path))["reports"] == []


def test_odd_text_comes_back_as_it_was(served: Server, game: GameConfig) -> None:
    path = f"/games/{game.client_id}/conformance-reports"
    odd = "a\x00b\x1b[31m<script>\u2028 😀"
    made = must(served.studio.post(path, json=report(problems=[odd])), 201)
    assert must(served.operator.get(f"{path}/{made['report_id']}"))["report"]["problems"] == [odd]


def test_the_tool_hands_in_a_file(
    served: Server, game: GameConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OKLP_STUDIO_TOKEN", str(served.studio.headers["Authorization"]).removeprefix("Bearer "))
    file = tmp_path / "report.json"
    file.write_text(json.dumps(report()))
    made = asyncio.run(handing_in.submit(served.url, game.client_id, handing_in.read(file, "build 7")))
    assert must(served.studio.get(f"/games/{game.client_id}"))["conformance"]["report_id"] == made.report_id
    assert made.build == "build 7"
    for text in ("[]", "{", '{"game": 1}'):
        file.write_text(text)
        with pytest.raises(ToolError, match="not what oklp check"):
            handing_in.read(file, "build 8")
    with pytest.raises(ToolError, match="cannot be read"):
        handing_in.read(tmp_path / "none.json")


def test_a_check_hands_its_report_in(served: Server, game: GameConfig) -> None:
    """Of a game that the checker's platform does not even register, which is soon found out."""
    token = str(served.studio.headers["Authorization"]).removeprefix("Bearer ")
    words = ["check", "http://127.0.0.1:9/match", "--browser-url", "ftp://127.0.0.1/play", "--build", "2.0"]
    words += ["--submit", game.client_id, "--url", served.url]
    done = CliRunner().invoke(app, words, env={"OKLP_STUDIO_TOKEN": token})
    assert done.exit_code == 1, done.output
    newest = must(served.studio.get(f"/games/{game.client_id}"))["conformance"]
    assert f"Handed in for {game.client_id}: report {newest['report_id']}." in done.output
    assert (newest["failed"], newest["build"], newest["webhook_url"]) == (1, "2.0", "http://127.0.0.1:9/match")
    # Who could not hand it in is told before anything is checked.
    refused = CliRunner().invoke(app, words, env={"OKLP_STUDIO_TOKEN": "", "XDG_CONFIG_HOME": str(served.folder)})
    assert refused.exit_code == 1
    assert "not logged in" in refused.output
    assert "launch.template" not in refused.output
