"""`make bench`: each database beside what the same machine, server and disk can do, in one run.

    python -m bench [--rounds 3] [--matches 4000] [--seconds 3] [--only sqlite|postgresql] [--postgres URL]
                    [--workers 2] [--patience 60] [--json FILE]

A round measures the limit, starts the platform on the database that is there, measures it, and stops it. The table has
medians of the rounds; the JSON file has every round. Before each step it waits, `--patience` seconds at most, until
other programs leave the processors alone, and notes how busy they were: figures taken beside others mean little.
"""

from __future__ import annotations

import argparse
import json
import platform as machine
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg import sql
from rich.console import Console
from rich.table import Table

from bench import journey, limits, phases, process, seed
from bench.phases import Measured
from bench.seed import Seeded
from scripts.postgres import Cluster, database_url, find_programs

BUSY_PERCENT = 12.0
TOKEN_MATCHES = 200
DATABASE = "oklp_bench"

# Tables are for reading, also from a file: without a terminal they are not folded into 80 columns.
console = Console(width=None if sys.stdout.isatty() else 150)


@dataclass(frozen=True)
class Options:
    rounds: int
    matches: int
    seconds: float
    patience: float


@dataclass
class Round:
    """One limit and one platform, side by side."""

    limits: dict[str, float] = field(default_factory=dict)
    measured: dict[str, Measured] = field(default_factory=dict)
    journey: journey.Journey | None = None
    cold_start_seconds: float = 0.0
    memory_mb: float = 0.0
    busy_percent: float = 0.0

    def as_json(self) -> dict[str, Any]:
        return {
            "limits": {name: round(value, 3) for name, value in self.limits.items()},
            "measured": {name: each.as_json() for name, each in self.measured.items()},
            "create_to_live": self.journey.as_json() if self.journey is not None else None,
            "cold_start_seconds": round(self.cold_start_seconds, 3),
            "memory_mb": round(self.memory_mb, 1),
            "busy_percent": self.busy_percent,
        }


class Bench:
    """All rounds on one database, the platform being so many processes."""

    def __init__(self, name: str, url: str, folder: Path, options: Options, workers: int = 1) -> None:
        self.name = name
        self.workers = workers
        self.url = url
        self.folder = folder
        self.options = options
        self.rounds: list[Round] = []
        self._next = 0
        self._finished: set[int] = set()

    @property
    def title(self) -> str:
        return self.name if self.workers == 1 else f"{self.name}, {self.workers} processes"

    def run(self) -> None:
        options, port = self.options, process.free_port()
        pieces = 3 if self.name == "postgresql" else 2
        total = options.rounds * pieces * options.matches + TOKEN_MATCHES
        console.print(f"[bold]{self.title}[/]: {total:,} live matches are laid")
        with process.module("bench.plain", "receiver") as receiver:
            settings = seed.settings_for(self.url, self.folder, f"http://127.0.0.1:{port}")
            seeded = seed.seed(settings, f"http://127.0.0.1:{receiver.port}/match", total, TOKEN_MATCHES)
            self._tokens = range(total - TOKEN_MATCHES, total)
            for number in range(options.rounds):
                console.print(f"{self.title}: round {number + 1} of {options.rounds}")
                done = Round()
                self.rounds.append(done)
                with self._database_cpu() as database_cpu:
                    self._measure_limits(done, seeded)
                    with process.platform(self.url, str(self.folder), port, self.workers) as server:
                        done.cold_start_seconds = server.ready_seconds
                        self._measure_platform(done, server, seeded, database_cpu)
                        done.memory_mb = server.peak_memory_mb()
        phases.check_rows(seeded, self._finished)

    def _take(self) -> range:
        numbers = range(self._next, self._next + self.options.matches)
        self._next = numbers.stop
        self._finished.update(numbers)
        return numbers

    @contextmanager
    def _database_cpu(self) -> Iterator[Callable[[], float]]:
        if self.name != "postgresql":
            yield lambda: 0.0
            return
        with psycopg.connect(self.url, autocommit=True) as connection:
            yield process.PostgresCpu(connection.info.backend_pid).seconds

    def _quiet(self, done: Round) -> None:
        """Wait until the processors are left alone."""
        give_up_at = time.monotonic() + self.options.patience
        while (busy := psutil.cpu_percent(0.5)) > BUSY_PERCENT and time.monotonic() < give_up_at:
            pass
        done.busy_percent = max(done.busy_percent, busy)

    def _measure_limits(self, done: Round, seeded: Seeded) -> None:
        studio = seeded.game.studio_id
        self._quiet(done)
        if self.name == "postgresql":
            programs = find_programs()
            done.limits["commit_ms"] = limits.commit_ms_postgres(self.url)
            done.limits["steps"] = limits.pgbench(programs, self.url, limits.STEPS, studio, self._take())
            self._quiet(done)
            done.limits["finish"] = limits.pgbench(programs, self.url, limits.ONE_STATEMENT, studio, self._take())
        else:
            path = self.url.removeprefix("sqlite:///")
            done.limits["commit_ms"] = limits.commit_ms_sqlite(path)
            done.limits["finish"] = limits.sqlite_loop(path, studio, self._take())

    def _measure_platform(
        self, done: Round, server: process.Process, seeded: Seeded, database_cpu: Callable[[], float]
    ) -> None:
        seconds = self.options.seconds
        access = phases.access_token(seeded, server)
        self._quiet(done)
        done.measured["finish"] = phases.finish_matches(server, access, self._take(), database_cpu)
        questions = phases.token_infos(seeded, access, self._tokens)
        self._quiet(done)
        done.measured["token-info"] = phases.ask_about_tokens(server, questions, seconds, database_cpu)
        with urllib.request.urlopen(seeded.settings.issuer, timeout=10) as answer:
            public_key = json.load(answer)["public_key"]
        tokens = self.folder / "tokens.json"
        phases.write_token_file(tokens, seeded, public_key, self._tokens)
        with process.module("bench.plain", "token-info", str(tokens)) as plain:
            self._quiet(done)
            done.limits["token-info"] = phases.ask_about_tokens(plain, questions, seconds).rate
        self._quiet(done)
        done.limits["token"] = limits.rsa_signatures(seconds / 2)
        done.measured["token"] = phases.issue_tokens(server, seeded, seconds, database_cpu)
        self._quiet(done)
        done.journey = journey.create_to_live(server, seeded, matches=100)


# --- the table -------------------------------------------------------------------------------------------------------


def _median(values: Iterator[float]) -> float:
    return statistics.median(values)


TITLES = {"finish": "finish (sync, 2 players)", "token-info": "token-info", "token": "token issuance"}
LIMITS = {
    ("finish", "postgresql"): "pgbench, one statement",
    ("finish", "sqlite"): "bare sqlite3 loop",
    ("token-info", "postgresql"): "route without database",
    ("token-info", "sqlite"): "route without database",
    ("token", "postgresql"): "bare RSA signatures",
    ("token", "sqlite"): "bare RSA signatures",
}


def _show(benches: list[Bench]) -> None:
    table = Table("", "database", "per second", "its limit", "limit/s", "of it", "p50 ms", "p99 ms")
    table.add_column("CPU ms, server + database")
    for title in TITLES:
        for bench in benches:
            table.add_row(TITLES[title], bench.title, *_row(title, bench))
    console.print(table)
    others = Table("", *(bench.title for bench in benches))
    for title, tell in OTHERS.items():
        others.add_row(title, *(tell(bench.rounds) for bench in benches))
    console.print(others)
    busiest = max(each.busy_percent for bench in benches for each in bench.rounds)
    if busiest > BUSY_PERCENT:
        console.print(f"[yellow]Other programs used up to {busiest:.0f} % of the processors: measure again.[/]")


def _row(title: str, bench: Bench) -> list[str]:
    measured = [each.measured[title] for each in bench.rounds]
    # A ratio is of one round: what slows the machine for a minute slows both sides of it.
    ratio = statistics.median(each.measured[title].rate / each.limits[title] for each in bench.rounds)
    costs = ([each.server_cpu for each in measured], [each.database_cpu for each in measured])
    return [
        f"{statistics.median(each.rate for each in measured):,.0f}",
        LIMITS[title, bench.name],
        f"{statistics.median(each.limits[title] for each in bench.rounds):,.0f}",
        f"{ratio:.2f}",
        f"{statistics.median(each.p50_ms for each in measured):.1f}",
        f"{statistics.median(each.p99_ms for each in measured):.1f}",
        " + ".join(f"{statistics.median(cpu):.3f}" for cpu in costs),
    ]


def _create_to_live(rounds: list[Round]) -> str:
    journeys = [each.journey for each in rounds if each.journey is not None]
    p50 = statistics.median(each.create_to_live_p50_ms for each in journeys)
    return f"{p50:.1f} / {statistics.median(each.create_to_live_p99_ms for each in journeys):.1f}"


def _confirm_to_live(rounds: list[Round]) -> str:
    journeys = [each.journey for each in rounds if each.journey is not None]
    p50 = statistics.median(each.confirm_to_live_p50_ms for each in journeys)
    return f"{p50:.1f} / {statistics.median(each.confirm_to_live_p99_ms for each in journeys):.1f}"


def _steps(rounds: list[Round]) -> str:
    steps = [each.limits["steps"] for each in rounds if "steps" in each.limits]
    return f"{statistics.median(steps):,.0f}" if steps else ""


OTHERS: dict[str, Callable[[list[Round]], str]] = {
    "create to live with the PUT, ms, p50 / p99": _create_to_live,
    "last confirmation to live, ms, p50 / p99": _confirm_to_live,
    "cold start to first answer, s": lambda rounds: f"{statistics.median(r.cold_start_seconds for r in rounds):.2f}",
    "most memory, MB": lambda rounds: f"{max(r.memory_mb for r in rounds):.0f}",
    "one commit, ms": lambda rounds: f"{statistics.median(r.limits['commit_ms'] for r in rounds):.2f}",
    "pgbench, step by step, matches/s": _steps,
}


def _write(file: Path, options: Options, benches: list[Bench]) -> None:
    found = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "processors": psutil.cpu_count(),
        "python": machine.python_version(),
        "connections": phases.CONNECTIONS,
        "matches": options.matches,
        "databases": {bench.title: [each.as_json() for each in bench.rounds] for bench in benches},
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    console.print(f"Every round is in {file}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--matches", type=int, default=4_000, help="finished in each round, a multiple of 16")
    parser.add_argument("--seconds", type=float, default=3.0, help="under load, for what is asked round and round")
    parser.add_argument("--only", choices=["sqlite", "postgresql"])
    parser.add_argument("--postgres", metavar="URL", help="a server to measure; without it a throw-away one is started")
    parser.add_argument("--workers", type=int, default=2, help="processes of PostgreSQL's second series; 1: no second")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds to wait for idle processors")
    parser.add_argument("--json", type=Path, default=Path("bench/results/bench.json"))
    given = parser.parse_args()
    if given.rounds < 1 or given.matches < limits.PGBENCH_CLIENTS or given.matches % limits.PGBENCH_CLIENTS:
        parser.error(f"--rounds is at least 1, --matches a multiple of {limits.PGBENCH_CLIENTS}")
    options = Options(given.rounds, given.matches, given.seconds, given.patience)
    benches: list[Bench] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="oklp-bench-")))
        for name, workers in (("sqlite", 1), ("postgresql", 1), ("postgresql", given.workers)):
            if given.only not in (None, name) or name in {bench.name for bench in benches if bench.workers == workers}:
                continue
            own = folder / f"{name}-{workers}"
            own.mkdir()
            url = f"sqlite:///{own}/oklp.db" if name == "sqlite" else _new_database(stack, given.postgres)
            bench = Bench(name, url, own, options, workers)
            bench.run()
            benches.append(bench)
    _show(benches)
    _write(given.json, options, benches)
    return 0


def _new_database(stack: ExitStack, server_url: str | None) -> str:
    server = server_url or stack.enter_context(Cluster(durable=True)).url
    name = sql.Identifier(DATABASE)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
    return database_url(server, DATABASE)


if __name__ == "__main__":
    sys.exit(main())
