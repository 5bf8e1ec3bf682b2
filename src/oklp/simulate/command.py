"""What `oklp simulate` does on the command line: options in, a report shown and written, the status to exit with."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

import uvloop
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from oklp.processes import ProcessError
from oklp.simulate import report
from oklp.simulate.plan import FEWEST_PLAYERS
from oklp.simulate.run import Plan, Result, Stop, run
from oklp.simulate.wire import Lost

DIFFERENT: Final = 1
INCOMPLETE: Final = 2
INTERRUPTED: Final = 130
LINE_SECONDS: Final = 5.0


class Teller(Protocol):
    def __call__(self, what: str, done: int, total: int) -> None: ...


def main(plan: Plan, *, json_file: Path | None = None, keep: Path | None = None) -> int:
    """Status 0: everything is as it must be, 1: something differs, 2: the run could not be carried out."""
    out, err = Console(), Console(stderr=True)
    fault = _fault(plan)
    if fault:
        err.print(f"[red]oklp simulate:[/] {escape(fault)}", highlight=False)
        return INCOMPLETE
    try:
        with _folder(keep) as folder, _progress(err) as teller, _runner() as runner:
            result = runner.run(_interruptible(plan, folder, teller, err))
        report.show(result, out)
        if json_file is not None:
            report.write(json_file, result)
    except (ProcessError, Lost, OSError) as error:
        err.print(f"[red]oklp simulate:[/] {escape(str(error))}", highlight=False)
        for line in getattr(error, "lines", ()):
            err.print(f"  {escape(line)}", highlight=False)
        return INCOMPLETE
    except (KeyboardInterrupt, asyncio.CancelledError):
        return INTERRUPTED
    if not result.good:
        return DIFFERENT
    return INTERRUPTED if result.interrupted else 0


def _fault(plan: Plan) -> str:
    if plan.url and (plan.restarts or plan.database_url or plan.workers > 1):
        return "--url is a server of its own: --restarts, --workers and --database-url are for the one started here."
    if plan.players < FEWEST_PLAYERS:
        return f"--players must be {FEWEST_PLAYERS} or more, for the largest match and those who watch it."
    return ""


def _runner() -> asyncio.Runner:
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


async def _interruptible(plan: Plan, folder: Path, teller: Teller, err: Console) -> Result:
    """Ctrl-C has the matches that have begun played to their end and all money accounted for; once more, and SIGTERM,
    ends everything that was started.
    """
    stop = Stop()
    work = asyncio.create_task(run(plan, folder, teller, stop))

    def interrupt() -> None:
        if stop.asked or not stop.useful:
            work.cancel()
            return
        stop.asked = True
        text = "… what has begun is played to its end and accounted for; Ctrl-C once more ends it at once"
        err.print(text, highlight=False, soft_wrap=True)

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, work.cancel)
    loop.add_signal_handler(signal.SIGINT, interrupt)
    return await work


@contextlib.contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="oklp-simulate-") as folder:
        yield Path(folder)


@contextlib.contextmanager
def _progress(err: Console) -> Iterator[Teller]:
    """A bar on a terminal, a line now and then elsewhere."""
    if not sys.stderr.isatty():
        yield _Lines(err)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("")

        def tell(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total or None)

        yield tell


class _Lines:
    def __init__(self, err: Console) -> None:
        self._err = err
        self._what = ""
        self._since = self._said = time.monotonic()

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if what != self._what:
            self._what, self._since = what, now
        elif now - self._said < LINE_SECONDS:
            return
        self._said = now
        rate = f", {done / (now - self._since):.1f} a second" if done and now > self._since else ""
        count = f": {done:,} of {total:,}{rate}" if total else ""
        self._err.print(f"… {what}{count}", highlight=False, soft_wrap=True)
