"""Each check catches the game that is broken in its way, and no other check does."""

from __future__ import annotations

from pathlib import Path

import pytest

from oklp.check.catalogue import CHECKS
from oklp.check.report import Report
from oklp.contract import DeveloperConfig
from tests.check.conftest import Reports

WARNED = {"webhook.quick", "webhook.method", "webhook.signature", "webhook.delete-unknown", "result.scores"}


def caught(report: Report) -> dict[str, str]:
    return {result.id: result.verdict for result in report.results if result.verdict in ("fail", "warn")}


def unseen(report: Report) -> set[str]:
    return {result.id for result in report.of("not-seen")}


@pytest.mark.parametrize("check_id", [check.id for check in CHECKS])
def test_a_broken_game_is_caught_by_its_own_check_alone(reports: Reports, check_id: str) -> None:
    report = reports[check_id]
    assert caught(report) == {check_id: "warn" if check_id in WARNED else "fail"}
    assert report.exit_status() == (0 if check_id in WARNED else 1)
    assert report.exit_status(strict=True) == 1


@pytest.mark.parametrize("variant", ["result.roster-async", "result.retry-503-async"])
def test_an_asynchronous_game_is_judged_by_its_own_rules(reports: Reports, variant: str) -> None:
    assert caught(reports[variant]) == {variant.removesuffix("-async"): "fail"}


@pytest.mark.parametrize("variant", ["correct", "correct-teams"])
def test_a_correct_game_passes_everything(reports: Reports, variant: str) -> None:
    report = reports[variant]
    assert {result.verdict for result in report.results} == {"pass"}
    assert report.problems == []
    assert report.exit_status(strict=True) == 0


def test_an_asynchronous_game_has_no_ranks_to_be_judged(reports: Reports) -> None:
    report = reports["correct-async"]
    assert caught(report) == {}
    assert {result.id for result in report.of("not-applicable")} == {"result.ranking", "result.scores"}
    assert unseen(report) == set()
    assert report.exit_status(strict=True) == 0


def test_a_match_that_ends_because_nobody_comes_shows_what_it_can(reports: Reports) -> None:
    """With --wait in the place of --bot-command."""
    report = reports["left-alone"]
    assert caught(report) == {}
    assert unseen(report) == set()
    assert report.problems == []


def test_every_check_says_what_was_seen_and_what_to_do(reports: Reports) -> None:
    for report in reports.values():
        assert [result.id for result in report.results] == [check.id for check in CHECKS]
        assert all(result.detail and result.fix and result.reason and result.section for result in report.results)


def test_a_report_holds_no_secret(reports: Reports, shared_folder: Path) -> None:
    """Also not that of a game which puts it on its page and into its answers."""
    for variant, report in reports.items():
        path = shared_folder / "check-reports" / "configs" / f"{variant}.json"
        if not path.exists():
            continue
        own = DeveloperConfig.model_validate_json(path.read_bytes()).authentication
        text = report.model_dump_json()
        assert own.client_secret
        assert own.webhook_secret
        assert own.client_secret not in text
        assert own.webhook_secret.removeprefix("whsec_") not in text
        assert "eyJ" not in text
