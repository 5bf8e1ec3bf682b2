"""One platform, and every variant of the broken game checked on it, once in a run of the tests."""

from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeAlias

import httpx
import pytest

from oklp.check.catalogue import CHECKS
from oklp.check.platform import Platform, TemplateRefused
from oklp.check.report import Report
from oklp.check.run import Seat, Subject, check_game, refused_template
from oklp.contract import LaunchTemplates
from tests.harness import free_port

ROOT = Path(__file__).resolve().parents[2]
BROKEN = ROOT / "tests" / "check" / "broken.py"
TEMPLATE = "launch.template"
VARIANTS = (
    "correct",
    "correct-async",
    "correct-teams",
    "result.roster-async",
    "result.retry-503-async",
    *(each.id for each in CHECKS),
)
AT_ONCE = 8  # most of a check is waiting

Reports: TypeAlias = dict[str, Report]


@pytest.fixture(scope="session")
def reports(shared_folder: Path) -> Reports:
    """By variant. Whoever comes first makes them for all processes of the run."""
    folder = shared_folder / "check-reports"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            asyncio.run(_check_all(folder))
            (folder / "done").touch()
    return {path.stem: Report.model_validate_json(path.read_bytes()) for path in folder.glob("*.json")}


async def _check_all(folder: Path) -> None:
    configs = folder / "configs"
    turns = asyncio.Semaphore(AT_ONCE)
    async with Platform(configs) as platform, games(configs, "broken") as url, games(configs, "idle", 2.0) as idle:

        async def check(name: str, base: str, *, plays: bool = True) -> None:
            async with turns:
                report = await _check(platform, configs, name, base, plays=plays)
            (folder / f"{name}.json").write_text(report.model_dump_json())

        async with asyncio.TaskGroup() as group:
            for name in VARIANTS:
                group.create_task(check(name, url))
            group.create_task(check("left-alone", idle, plays=False))


async def _check(platform: Platform, configs: Path, name: str, url: str, *, plays: bool) -> Report:
    placeholder = "{match_token}" if name == TEMPLATE else "{match-token}"
    subject = Subject(
        webhook_url=f"{url}/{name}/oklp/match",
        launch_urls=LaunchTemplates(browser=f"{url}/{name}/play?token={placeholder}"),
        mode="async" if name.endswith("-async") else "sync",
        team_size=2 if name.endswith("-teams") else 1,
        player=play if plays else None,
        ends_by_itself=not plays,
        wait_seconds=12.0,
        retry_seconds=8.0,
        quick_seconds=6.0,
        settle_seconds=0.3,
    )
    game_id = name.replace(".", "-")
    try:
        game = await platform.register(name, subject.webhook_url, subject.launch_urls, subject.settings, game_id)
    except TemplateRefused as error:
        return refused_template(subject, game_id, str(error))
    (configs / f"{name}.json").write_text(game.config.model_dump_json())
    return await check_game(platform, subject, game)


async def play(launch_url: str, seat: Seat) -> str | None:
    """A player of the broken game."""
    base, token = launch_url.rsplit("/play?token=", 1)
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        answer = await http.post(f"{base}/move", json={"token": token, "number": seat.number * 10})
    return None if answer.is_success else f"was answered {answer.status_code}"


@asynccontextmanager
async def games(configs: Path, name: str, deadline_seconds: float | None = None) -> AsyncIterator[str]:
    """A process that serves every variant; matches end by themselves when a deadline is given."""
    port = free_port()
    command = [sys.executable, str(BROKEN), "--config", str(configs), "--port", str(port)]
    if deadline_seconds is not None:
        command += ["--deadline-seconds", str(deadline_seconds)]
    with (configs / f"{name}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
    try:
        async with asyncio.timeout(60), httpx.AsyncClient(trust_env=False) as http:
            while True:
                try:
                    await http.get(f"http://127.0.0.1:{port}/healthz")
                    break
                except httpx.TransportError:
                    await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


@contextmanager
def oklp_check(*arguments: str, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """A running `oklp check`."""
    places = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    process = subprocess.Popen(
        [sys.executable, "-m", "oklp.cli", "check", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places)), "COLUMNS": "140"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(30)


def ended(*arguments: str, cwd: Path) -> tuple[int, str, str]:
    """Status, output and errors of an `oklp check` that ran to its end."""
    with oklp_check(*arguments, cwd=cwd) as process:
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err
