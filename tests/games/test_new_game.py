"""`oklp new-game`: what it writes is what a careful engineer would hand over, and it writes over nothing."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from oklp import new_game
from oklp.new_game import CannotWriteError, Mode
from tests.games.shell import installed
from tests.harness import free_port, run_cli, serving


def run(*command: str, cwd: Path, env: dict[str, str] | None = None) -> str:
    """What a command prints; it has to end well."""
    done = subprocess.run(
        command, cwd=cwd, env=env, capture_output=True, text=True, timeout=280, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    """The environment of what tests a game from its sources."""
    return {**os.environ, "PYTHONPATH": str(Path(new_game.__file__).parents[1])}


# The longest name that there may be, and the one that leaves the most room: lines are as long as names make them.
@pytest.mark.parametrize(("name", "mode"), [("a" * 32, "sync"), ("x", "async")])
def test_it_is_clean_typed_and_passes_its_own_tests(
    tmp_path: Path, shared_folder: Path, sources: dict[str, str], name: str, mode: Mode
) -> None:
    folder = new_game.write(name, tmp_path / "game", mode)
    run(sys.executable, "-m", "ruff", "check", "--no-cache", ".", cwd=folder)
    run(sys.executable, "-m", "ruff", "format", "--no-cache", "--check", ".", cwd=folder)
    run(sys.executable, "-m", "mypy", "--cache-dir", str(shared_folder / "mypy"), cwd=folder, env=sources)
    # The server is the same in both modes.
    tests = ["tests"] if mode == "sync" else ["tests/test_results.py"]
    told = run(sys.executable, "-m", "pytest", "-q", "-W", "error", *tests, cwd=folder, env=sources)
    assert re.search(r"^\d+ passed in", told, re.MULTILINE), told
    assert not [path for path in folder.rglob("*") if path.is_file() and "um_sprint" in f"{path}{path.read_bytes()!r}"]
    assert (folder / ".gitignore").read_text().count("developer-config.json") == 1


def test_it_runs_in_the_sandbox_by_the_commands_of_its_readme(tmp_path: Path) -> None:
    folder = new_game.write("word-duel", tmp_path / "word-duel", "sync")
    readme = (folder / "README.md").read_text(encoding="utf-8")
    port = free_port()
    register, serve, match = (
        re.search(rf"^({start} .*?) +#.* {number}\.|^({start} [^#]*?) +# {number}\.", readme, re.MULTILINE | re.DOTALL)
        for number, start in ((3, "oklp game register"), (4, "word-duel"), (5, "python"))
    )
    assert register
    assert serve
    assert match
    one, four, five = ((found[1] or found[2]).replace("9000", str(port)) for found in (register, serve, match))
    with serving(f"sqlite:///{tmp_path / 'oklp.db'}", tmp_path) as platform:
        env = {**platform.env, **installed(tmp_path / "bin", {folder: "word_duel"})}
        env |= {name: value for name, value in platform.env.items() if name.startswith("OKLP_")}
        run("sh", "-c", one, cwd=folder, env=env)
        game = subprocess.Popen(["sh", "-c", f"exec {four}"], cwd=folder, env=env)
        try:
            await_health(f"http://127.0.0.1:{port}/healthz", game)
            links = re.findall(r"https?://\S+", run("sh", "-c", five, cwd=folder, env=env))
            assert len(links) == 2
            assert "expired" not in httpx.get(links[0], follow_redirects=True).text
            scores = [
                json.loads(run(str(tmp_path / "bin" / "word-duel-bot"), *mistakes, link, cwd=folder, env=env))["score"]
                for link, mistakes in zip(links, [["--mistakes", "1"], []], strict=True)
            ]
            assert scores[0] < scores[1]
            await_result(platform.operator, links[0])
        finally:
            game.terminate()
            assert game.wait(30) in (0, -15)


def await_health(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while True:
        assert process.poll() is None
        assert time.monotonic() < until
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)


def await_result(operator: httpx.Client, link: str) -> None:
    """The match is finished at the platform."""
    match_id = httpx.get(link).headers["location"].split("/")[2]
    until = time.monotonic() + 30
    while operator.get(f"/matches/{match_id}").json()["status"] != "finished":
        assert time.monotonic() < until
        time.sleep(0.05)


# --- what it does not write ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Word Duel", "Perhaps word-duel?"),
        ("word_duel", "Perhaps word-duel?"),
        ("7up", "Perhaps up?"),
        ("-x-", "Perhaps x?"),
        ("a" * 33, ""),
        ("", ""),
        ("../evil", "Perhaps evil?"),
        ("wörd", ""),
        ("class", "Perhaps class-game?"),
        ("test", "Perhaps test-game?"),
        ("conftest", "Perhaps conftest-game?"),
        ("click", "Perhaps click-game?"),
        ("json", "Perhaps json-game?"),
        ("oklp", "Perhaps oklp-game?"),
        ("tests", "Perhaps tests-game?"),
        ("sandbox-match", "Perhaps sandbox-match-game?"),
    ],
)
def test_a_name_that_cannot_be_is_refused_with_one_that_can(tmp_path: Path, name: str, hint: str) -> None:
    with pytest.raises(CannotWriteError) as refusal:
        new_game.write(name, tmp_path / "game")
    assert hint in str(refusal.value)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_left_alone(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for target in (taken, tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(CannotWriteError):
            new_game.write("word-duel", target)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "mine.txt", "taken"]
    empty = tmp_path / "empty"
    empty.mkdir()
    assert (new_game.write("word-duel", empty) / "word_duel" / "rules.py").exists()


def test_the_empty_folder_that_one_is_in_stays_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell that is in it would be nowhere if another took its place."""
    new_game.write("word-duel", tmp_path / "elsewhere")
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    assert new_game.bare(["word-duel", "--dir", "."]) == 0
    assert Path.cwd() == here
    assert Path("pyproject.toml").read_text() == (tmp_path / "elsewhere" / "pyproject.toml").read_text()
    assert sorted(os.listdir()) == sorted(os.listdir(tmp_path / "elsewhere"))
    assert "  cd " not in capsys.readouterr().out


def test_an_empty_folder_gets_all_of_it_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.rename
    renamed: list[Path] = []

    def fail_once(self: Path, target: Path) -> Path:
        renamed.append(self)
        if len(renamed) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_once)
    with pytest.raises(CannotWriteError, match="No space left on device"):
        new_game.write("word-duel", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_both_commands_say_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The one of a bare install and the one beside all the others."""
    env = {**os.environ, "NO_COLOR": "1"}
    full = run_cli(env, "new-game", "word-duel", "--dir", str(tmp_path / "full"), "--mode", "async")
    assert new_game.bare(["word-duel", "--dir", str(tmp_path / "bare"), "--mode", "async"]) == 0
    assert capsys.readouterr().out == full.stdout.replace("full", "bare")
    refused = run_cli(env, "new-game", "Word Duel", check=False)
    assert new_game.bare(["Word Duel"]) == refused.returncode == 1
    assert capsys.readouterr().err == refused.stderr
