"""How long a game server waits for the SDK: imports in a bare install, each in a process of its own.

    python -m bench.imports [--rounds 9] [--python PYTHON]

Milliseconds in the process itself; medians of the rounds, and the quickest. Without `--python` a bare install of this
checkout is made for it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
from pathlib import Path

from scripts import bare

LIMIT_MS = 300
STATEMENTS = {
    "import oklp.sdk": "import oklp.sdk",
    "Client": "from oklp.sdk import Client",
    "ResultOutbox": "from oklp.sdk import Client, ResultOutbox",
    "WebhookReceiver": "from oklp.sdk import Client, ResultOutbox, WebhookReceiver",
    "MatchRandom alone": "from oklp.sdk import MatchRandom",
}


def milliseconds(python: Path, statement: str) -> float:
    """What the statement takes in a new process, whose own start is not counted."""
    code = f"import time; before = time.perf_counter(); {statement}; print((time.perf_counter() - before) * 1000)"
    # Away from the checkout, and with nothing on the path but what is installed.
    done = subprocess.run(
        [str(python), "-I", "-c", code],
        check=True,
        cwd=python.parent,
        env={"PATH": os.defpath},
        capture_output=True,
        text=True,
    )
    return float(done.stdout)


def measure(python: Path, rounds: int) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for statement in STATEMENTS.values():  # writes what is compiled, and fills the file cache
        milliseconds(python, statement)
    for _ in range(rounds):
        for name, statement in STATEMENTS.items():
            taken[name].append(milliseconds(python, statement))
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.imports")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--python", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        python = options.python or bare.install(Path(folder))
        print(f"{'':<20}{'median':>8}{'quickest':>10}   ms, limit {LIMIT_MS}")
        for name, taken in measure(python, options.rounds).items():
            print(f"{name:<20}{statistics.median(taken):>8.0f}{min(taken):>10.0f}")


if __name__ == "__main__":
    main()
