"""What a check leaves behind: a report that people read, a pipeline acts on, and vetting can keep.

The models are of the wire's kind: they go to JSON and come back, tolerate fields of a later version, and hold no
secret. `schema_version` changes when a field changes its meaning or goes away.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from oklp.contract import LaunchTemplates, Wire

Verdict = Literal["pass", "fail", "warn", "not-seen", "not-applicable"]

PASSED, FAILED, INCOMPLETE = 0, 1, 2


class CheckResult(Wire):
    """One check. `detail` is what was seen, in sentences; `fix` what to do about it."""

    id: str
    title: str
    section: str
    reason: str
    fix: str
    verdict: Verdict
    detail: str


class CheckedGame(Wire):
    """What was checked. `mode` is how the game says that it reports."""

    game_id: str
    webhook_url: str
    launch_urls: LaunchTemplates
    mode: Literal["sync", "async"]
    teams: int
    team_size: int


class Report(Wire):
    """All checks, in the order of the catalogue. `problems` kept the run from seeing what it came to see."""

    schema_version: Literal[1] = 1
    oklp_version: str
    started_at: datetime
    finished_at: datetime
    game: CheckedGame
    results: list[CheckResult]
    problems: list[str] = []

    def of(self, verdict: Verdict) -> Sequence[CheckResult]:
        return [result for result in self.results if result.verdict == verdict]

    @property
    def duration_seconds(self) -> float:
        return (self.finished_at - self.started_at).total_seconds()

    def exit_status(self, *, strict: bool = False) -> int:
        """0: nothing failed. 1: a check failed. 2: the run could not see enough to say. With `strict`, warnings and
        what was not seen count as failures; what does not apply to the game never does.
        """
        if self.of("fail") or (strict and (self.of("warn") or self.of("not-seen"))):
            return FAILED
        return INCOMPLETE if self.problems else PASSED
