"""Reports of `oklp check` (docs/check.md) that a studio hands in for its game, and vetting looks at.

A report is the studio's word: it says what was checked and when, and who handed it in is kept with it. An operator who
wants to know for certain runs the checker.
"""

from __future__ import annotations

import json
from collections import Counter

from oklp import contract
from oklp.errors import NotFound, invalid
from oklp.services import views
from oklp.storage import conformance as store
from oklp.storage import events, games
from oklp.storage.engine import Tx

KEPT = 50  # reports of a game; older ones go


def submit(
    tx: Tx, actor: str, game_id: str, report_id: str, report: contract.ConformanceReport, now: int
) -> contract.ConformanceSummary:
    """Raises InvalidRequest for a report that cannot be: an end before its beginning, one check twice."""
    _check(report)
    if games.lock_game(tx, game_id) is None:
        raise NotFound("There is no such game.")
    summary = _summary(report_id, actor, report, now)
    text = summary.model_dump_json()
    store.insert(tx, id=report_id, game_id=game_id, submitted_at=now, summary=text, report=report.model_dump_json())
    store.keep_newest(tx, game_id, KEPT)
    games.update_game(tx, game_id, conformance=text)
    events.insert_audit(
        tx,
        at=now,
        actor=actor,
        action="game.conformance",
        subject=f"game:{game_id}",
        reason=None,
        detail=json.dumps({"report_id": report_id, "passed": summary.passed, "failed": summary.failed}),
    )
    return summary


def of_game(tx: Tx, game_id: str) -> contract.ConformancePage:
    """Newest first. Raises NotFound."""
    if games.game(tx, game_id) is None:
        raise NotFound("There is no such game.")
    rows = store.summaries(tx, game_id)
    return contract.ConformancePage(
        reports=[contract.ConformanceSummary.model_validate_json(row.summary) for row in rows]
    )


def read(tx: Tx, game_id: str, report_id: str) -> contract.ConformanceDetail:
    """Raises NotFound."""
    row = store.get(tx, game_id, report_id)
    if row is None:
        raise NotFound("There is no such report.")
    summary = contract.ConformanceSummary.model_validate_json(row.summary)
    return contract.ConformanceDetail(
        **summary.model_dump(), report=contract.ConformanceReport.model_validate_json(row.report)
    )


def _check(report: contract.ConformanceReport) -> None:
    if report.finished_at < report.started_at:
        raise invalid("finished_at", "is before started_at")
    seen: set[str] = set()
    for index, result in enumerate(report.results):
        if result.id in seen:
            raise invalid(f"results.{index}.id", f"{result.id} is there twice")
        seen.add(result.id)


def _summary(report_id: str, actor: str, report: contract.ConformanceReport, now: int) -> contract.ConformanceSummary:
    verdicts = Counter(result.verdict for result in report.results)
    return contract.ConformanceSummary(
        report_id=report_id,
        submitted_by=actor,
        submitted_at=views.when(now),
        oklp_version=report.oklp_version,
        started_at=report.started_at,
        finished_at=report.finished_at,
        webhook_url=report.game.webhook_url,
        build=report.game.build,
        passed=verdicts["pass"],
        failed=verdicts["fail"],
        warnings=verdicts["warn"],
        not_seen=verdicts["not-seen"],
        not_applicable=verdicts["not-applicable"],
        problems=len(report.problems),
    )
