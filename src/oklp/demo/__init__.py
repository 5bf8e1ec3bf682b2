"""`oklp demo`: from nothing to a running platform with two games, players and bots, as processes on this machine.

stage.py      the data folder, the server processes and bots, and their end
games.py      the two games: how each is run, and how its bot plays
people.py     who acts, by the public HTTP APIs alone
bots.py       a bot at a match
story.py      the paid matches, step by step
payouts.py    whether the money of a match came out right
lounge.py     the links that a person plays from
show.py       what the terminal shows
"""

from __future__ import annotations

import asyncio
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oklp.demo.games import games, places_of
from oklp.demo.show import Show
from oklp.demo.stage import DemoError, Stage
from oklp.demo.story import Story

__all__ = ["Options", "main"]

INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Options:
    """`port` and `game_port` are preferred; the next free ones are taken where they are in use. `run_seconds` is how
    long a run of Tile Rush lasts for people.
    """

    data_dir: Path
    port: int
    game_port: int
    once: bool
    run_seconds: int


def main(options: Options) -> int:
    """Run the demo; returns the status to exit with."""
    show = Show(sys.stdout)
    try:
        return asyncio.run(_run(options, show))
    except DemoError as error:
        show.fault(str(error), error.lines)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


async def _run(options: Options, show: Show) -> int:
    """The story, until it ends, somebody ends it, or one of the servers does."""
    told_to_stop: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    places = places_of([game.module for game in games(options.run_seconds)])
    async with Stage(options.data_dir, options.port, options.game_port, places) as stage:
        _on_signals(told_to_stop, stage)
        story = Story(show, stage, once=options.once, run_seconds=options.run_seconds)
        work = asyncio.create_task(story.tell())
        death = asyncio.create_task(stage.first_death())
        try:
            waits: set[asyncio.Future[Any]] = {work, death, told_to_stop}
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if not told_to_stop.done() and (reason := await stage.reason_of(work, death)) is not None:
                raise reason
            if work.done():
                return work.result()
            number = told_to_stop.result()
            show.ending(signal.Signals(number).name)
            return 0 if story.staying else 128 + number
        finally:
            work.cancel()
            death.cancel()
            await asyncio.gather(work, death, return_exceptions=True)
            await story.tidy_up()


def _on_signals(told_to_stop: asyncio.Future[int], stage: Stage) -> None:
    """The first signal ends the demo in good order, the next one at once."""

    def stop(number: int) -> None:
        if told_to_stop.done():
            stage.kill_all()
        else:
            told_to_stop.set_result(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
            continue  # nohup: a closed terminal is not to end it
        asyncio.get_running_loop().add_signal_handler(number, stop, number)
