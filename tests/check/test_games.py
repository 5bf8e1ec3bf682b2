"""`oklp check` passes the reference games, by the very command of their READMEs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from oklp.check.catalogue import CHECKS
from oklp.check.report import Report
from tests.check.conftest import ROOT
from tests.harness import free_port

GAMES = ROOT / "games"
# What an installation puts on the path, here from the sources.
PROGRAMS = {
    "high-bid": "-m high_bid",
    "high-bid-bot": "-m high_bid.bot",
    "oklp": "-m oklp.cli",
    "python": "",
    "reversi": "-m reversi",
    "reversi-bot": "-m reversi.bot",
    "tile-rush": "-m tile_rush",
    "tile-rush-bot": "-m tile_rush.bot",
}


def programs(folder: Path) -> dict[str, str]:
    """The environment of a shell that has the games and the platform installed."""
    folder.mkdir()
    for name, module in PROGRAMS.items():
        path = folder / name
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n', encoding="utf-8")
        path.chmod(0o755)
    sources = [ROOT / "src", *(GAMES / name for name in ("high_bid", "reversi", "tile_rush"))]
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("OKLP_")},
        "PATH": os.pathsep.join([str(folder), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join(map(str, sources)),
        "TMPDIR": str(folder.parent),
    }


def command(game: str, report: Path) -> str:
    """The README's, at a port that is free and with a report that a test can read."""
    readme = (GAMES / game / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```sh\n(oklp check .*?)\n```$", readme, re.MULTILINE | re.DOTALL)
    ports = set(re.findall(r"\b9[01]00\b", block))
    assert len(ports) == 1
    return f"{block.replace(ports.pop(), str(free_port()))} --json {report}"


def test_the_reference_games_pass_by_the_command_of_their_readmes(tmp_path: Path) -> None:
    """All at once: most of a check is waiting."""
    env = programs(tmp_path / "bin")
    with ExitStack() as stack:
        running = {}
        for game in ("tile_rush", "reversi", "high_bid"):
            running[game] = subprocess.Popen(
                ["sh", "-c", f"exec {command(game, tmp_path / f'{game}.json')}"],
                cwd=ROOT,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            stack.callback(running[game].wait, 30)
            stack.callback(running[game].terminate)
        for game, process in running.items():
            said, _ = process.communicate(timeout=200)
            assert process.returncode == 0, f"{game}: {said}"
            report = Report.model_validate_json((tmp_path / f"{game}.json").read_bytes())
            assert len(report.results) == len(CHECKS)
            other = {result.id: result.verdict for result in report.results if result.verdict != "pass"}
            no_ranks = {"result.ranking": "not-applicable", "result.scores": "not-applicable"}
            assert other == (no_ranks if game == "tile_rush" else {})
            assert report.problems == []
