"""`oklp check` passes the reference games and what `oklp new-game` writes, by the very commands of their READMEs."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from oklp import new_game
from oklp.check.catalogue import CHECKS
from oklp.check.report import FAILED, PASSED, Report, Verdict
from tests.check.conftest import ROOT
from tests.games.shell import installed
from tests.harness import free_port

NO_RANKS: dict[str, Verdict] = {"result.ranking": "not-applicable", "result.scores": "not-applicable"}
# How quick an answer is, is the machine's affair as much as the game's, and here several games share one: a warning,
# which `--strict` makes a failure of, is let pass.
HASTE = "webhook.quick"


def command(readme: Path, report: Path) -> str:
    """The README's, at a port that is free and with a report that a test can read."""
    blocks = re.findall(r"^```sh\n(oklp check .*?)\n```$", readme.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (block,) = blocks
    ports = set(re.findall(r"\b9[01]00\b", block))
    assert len(ports) == 1
    return f"{block.replace(ports.pop(), str(free_port()))} --json {report}"


def check(folder: Path, games: Mapping[Path, str], *, at: Path) -> dict[str, dict[str, Verdict]]:
    """Every verdict but "pass", by the folder's name. All at once: most of a check is waiting."""
    env = installed(folder / "bin", games)
    found: dict[str, dict[str, Verdict]] = {}
    with ExitStack() as stack:
        running = {}
        for game in games:
            report = folder / f"{game.name}.json"
            process = subprocess.Popen(
                ["sh", "-c", f"exec {command(game / 'README.md', report)}"],
                cwd=at,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            stack.callback(process.wait, 30)
            stack.callback(process.terminate)
            running[report] = process
        for path, process in running.items():
            said, _ = process.communicate(timeout=200)
            read = Report.model_validate_json(path.read_bytes())
            assert len(read.results) == len(CHECKS)
            assert read.problems == []
            verdicts: dict[str, Verdict] = {each.id: each.verdict for each in read.results if each.verdict != "pass"}
            in_haste = verdicts.get(HASTE) == "warn" and bool(verdicts.pop(HASTE))
            assert process.returncode == (FAILED if in_haste else PASSED), f"{path.stem}: {said}"
            found[path.stem] = verdicts
    return found


def test_the_reference_games_pass(tmp_path: Path) -> None:
    games = {ROOT / "games" / name: name for name in ("high_bid", "reversi", "tile_rush")}
    assert check(tmp_path, games, at=ROOT) == {"high_bid": {}, "reversi": {}, "tile_rush": NO_RANKS}


def test_new_games_pass(tmp_path: Path) -> None:
    games = {
        new_game.write("word-duel", tmp_path / "word-duel", "sync"): "word_duel",
        new_game.write("word-race", tmp_path / "word-race", "async"): "word_race",
    }
    assert check(tmp_path, games, at=tmp_path) == {"word-duel": {}, "word-race": NO_RANKS}
