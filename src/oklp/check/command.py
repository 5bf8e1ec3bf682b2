"""What `oklp check` does on the command line: options in, a report shown and written, the status to exit with."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from rich.console import Console
from rich.markup import escape

from oklp.check import output
from oklp.check.platform import CONFIG_NAME, Platform, TemplateRefused
from oklp.check.report import INCOMPLETE, Report
from oklp.check.run import Subject, check_game, refused_template
from oklp.check.studio import StudioServer, command_player, serving
from oklp.check.wire import CheckError, quoted
from oklp.contract import LaunchTemplates
from oklp.processes import ProcessError, free_port

__all__ = ["Options", "StudioServer", "main", "run"]

INTERRUPTED = 130
# Without anything that ends a match, results are not waited for; with something, this long.
DEFAULT_WAIT_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """As on the command line. Without `webhook_url` the built-in game is checked."""

    webhook_url: str | None = None
    launch_urls: LaunchTemplates = field(default_factory=LaunchTemplates)
    mode: Literal["sync", "async"] = "sync"
    score_order: Literal["high", "low"] = "high"
    teams: int = 2
    team_size: int = 1
    server: StudioServer = field(default_factory=StudioServer)
    bot_command: str | None = None
    wait_seconds: float | None = None
    retry_seconds: float = 30.0
    one_at_a_time: bool = False
    seed_url: str | None = None
    seed_key: str | None = None
    data: Path | None = None
    platform_host: str = "127.0.0.1"
    platform_port: int = 0
    platform_url: str | None = None
    strict: bool = False
    json_file: Path | None = None
    junit_file: Path | None = None
    html_file: Path | None = None


def main(options: Options, out: Console | None = None, err: Console | None = None) -> int:
    """Check a game and say how it did; returns the status to exit with: 0, 1 (a check failed), 2 (could not be run)."""
    out, err = out or Console(), err or Console(stderr=True)
    try:
        report = asyncio.run(_interruptible(options, err))
        output.show(report, out)
        for path, make in (
            (options.json_file, output.to_json),
            (options.junit_file, output.to_junit),
            (options.html_file, output.to_html),
        ):
            output.write(path, make, report)
    except ProcessError as error:
        err.print(f"[red]oklp check:[/] {escape(str(error))}", highlight=False)
        for line in error.lines:
            err.print(f"  {escape(line)}", highlight=False)
        return INCOMPLETE
    except (KeyboardInterrupt, asyncio.CancelledError):
        return INTERRUPTED
    return report.exit_status(strict=options.strict)


async def _interruptible(options: Options, err: Console) -> Report:
    """On SIGTERM everything that was started is ended first."""
    work = asyncio.create_task(run(options, _steps(err)))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, work.cancel)
    return await work


def _steps(err: Console) -> Callable[[str], None]:
    return lambda text: err.print(f"[dim]… {escape(text)}[/]", highlight=False, soft_wrap=True)


async def run(options: Options, step: Callable[[str], None] = lambda text: None) -> Report:
    """The report of a check. Raises ProcessError, CheckError for one, when it cannot be run."""
    about_a_game = options.launch_urls.browser or options.bot_command or options.server.start_command
    if options.webhook_url is None and about_a_game:
        raise CheckError("Which game? Give its match info webhook URL.")
    _check_address("The webhook URL", options.webhook_url)
    _check_address("--ready-url", options.server.ready_url)
    with _folder(options.data) as folder:
        step("a throw-away platform")
        platform = Platform(
            folder, host=options.platform_host, port=options.platform_port, public_url=options.platform_url
        )
        async with platform:
            subject, server = _prepared(options, folder)
            try:
                game = await platform.register("oklp check", subject.webhook_url, subject.launch_urls, subject.settings)
            except TemplateRefused as error:
                return refused_template(subject, "oklp-check", str(error))
            step(f"the game server at {subject.webhook_url}, with {server.write_config or folder / CONFIG_NAME}")
            async with serving(server, game, folder) as running:
                try:
                    report = await check_game(platform, subject, game, step)
                except ProcessError:
                    running.check_alive()  # that the server has ended is the better reason
                    raise
                if running.child is None or running.child.status is None:
                    return report
                death = running.child.death()
                problem = quoted(" ".join([str(death), *death.lines[-3:]]), game.hidden)
                return report.model_copy(update={"problems": [*report.problems, problem]})


def _check_address(what: str, url: str | None) -> None:
    """A mistyped one is told at once, and not by what comes of it a minute later. Raises CheckError."""
    if url is None:
        return
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool((parts.hostname or "").encode("idna")) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise CheckError(f"{what} is {url!r}, which is no address such as http://127.0.0.1:9000/oklp/match.")


def _prepared(options: Options, folder: Path) -> tuple[Subject, StudioServer]:
    """What is checked, and how its server comes up."""
    subject = Subject(
        webhook_url=options.webhook_url or "",
        launch_urls=options.launch_urls,
        mode=options.mode,
        score_order=options.score_order,
        teams=options.teams,
        team_size=options.team_size,
        player=command_player(options.bot_command, folder) if options.bot_command else None,
        ends_by_itself=options.wait_seconds is not None and options.bot_command is None,
        wait_seconds=options.wait_seconds if options.wait_seconds is not None else DEFAULT_WAIT_SECONDS,
        retry_seconds=options.retry_seconds,
        one_at_a_time=options.one_at_a_time,
        seed_url=options.seed_url,
        seed_key=options.seed_key,
    )
    if options.webhook_url is not None:
        return subject, options.server
    # Imported here because every `oklp` command would pay for a game that only this one plays.
    from oklp.check import reference

    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-P", "-m", reference.__name__, "--port", str(port), "--config", "{config}"]
    command += ["--data", str(folder / "reference.db")]
    builtin = replace(
        subject,
        webhook_url=url + reference.WEBHOOK,
        launch_urls=LaunchTemplates(browser=url + reference.LAUNCH),
        mode="sync",
        player=reference.player,
        ends_by_itself=False,
    )
    return builtin, StudioServer(start_command=shlex.join(command), ready_url=f"{url}/healthz")


@contextlib.contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    """The given one, or one that goes when the check is over."""
    if kept is not None:
        yield kept.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="oklp-check-") as name:
        yield Path(name)
