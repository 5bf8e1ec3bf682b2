"""How many examples a property is tried with: few in every run, many in the soak (`make soak`)."""

from __future__ import annotations

import os

TIMES = int(os.environ.get("OKLP_TEST_EXAMPLES_TIMES") or 1)


def examples(count: int) -> int:
    return count * TIMES
