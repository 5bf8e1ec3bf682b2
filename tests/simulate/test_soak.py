"""A hundred thousand matches, with the server killed and stopped on the way."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from oklp.simulate import command
from oklp.simulate.run import Plan

MATCHES = int(os.environ.get("OKLP_TEST_MATCHES") or 100_000)
RESTARTS = min(20, max(2, MATCHES // 500))
SEED = int(os.environ.get("OKLP_TEST_SEED") or random.SystemRandom().randrange(2**31))


@pytest.mark.soak
def test_a_hundred_thousand_matches(database_url: str, tmp_path: Path) -> None:
    workers = 2 if database_url.startswith("postgresql") else 1
    plan = Plan(
        seed=SEED, matches=MATCHES, restarts=RESTARTS, concurrency=64, workers=workers, database_url=database_url
    )
    assert command.main(plan, keep=tmp_path) == 0
