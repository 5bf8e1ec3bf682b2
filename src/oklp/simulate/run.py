"""The order of things: a server, a population, all matches some at a time, restarts between them, and the audit."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import resource
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final, TypeVar

from oklp.contract import DeveloperConfig, GameSettings
from oklp.processes import ProcessError
from oklp.sdk import AsyncWebhookVerifier
from oklp.simulate.accounts import Accounts, Audit
from oklp.simulate.games import Board, GameClient, Receiver
from oklp.simulate.plan import KINDS_OF_GAMES, World
from oklp.simulate.play import BRIEF_SECONDS, Difference, Pace, Play, Played, Stage
from oklp.simulate.players import PASSWORD, Listener, listeners, population
from oklp.simulate.script import Game
from oklp.simulate.server import Server, is_ready
from oklp.simulate.weather import Weather
from oklp.simulate.wire import OPERATOR, STUDIO, Gate, Latencies, Wire

MOST_DIFFERENCES: Final = 10
LONG_SECONDS: Final = 24 * 3_600
WAIT_SECONDS: Final = 60.0
LOOK_SECONDS: Final = 0.1
RESTART_LOOK_SECONDS: Final = 0.02
WATCH_SECONDS: Final = 0.5

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is asked for. `only` is the number of one match to play in place of all; without `url` a server is started.

    `judge` may change what a match is held to, for tests of the audit.
    """

    seed: int = 1
    matches: int = 1_000
    players: int = 200
    games: int = KINDS_OF_GAMES
    concurrency: int = 48
    database_url: str = ""
    url: str = ""
    workers: int = 1
    restarts: int = 0
    webhook_timeout_seconds: int = 10
    faults: bool = True
    only: int | None = None
    judge: Callable[[Played], Played] = lambda played: played


@dataclass
class Stop:
    """How a run is asked for an early end: what has begun is played to its end and accounted for, nothing else begins.
    `useful` says that something has.
    """

    asked: bool = False
    useful: bool = False


@dataclass
class Result:
    """What a run has found. Empty lists are what is hoped for."""

    plan: Plan
    accounts: Accounts
    board: Board
    wire: Wire
    to_put: Latencies = field(default_factory=Latencies)
    to_live: Latencies = field(default_factory=Latencies)
    differences: list[Difference] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    begun: int = 0
    ended: int = 0
    restarts: int = 0
    seconds: float = 0.0
    audit_seconds: float = 0.0
    cpu_seconds: float = 0.0
    memory_mb: float = 0.0
    events: int = 0
    books: str = "not looked at"
    interrupted: bool = False
    struck: dict[str, int] = field(default_factory=dict)  # faults, by kind

    @property
    def good(self) -> bool:
        return not self.differences and not self.faults


Progress = Callable[[str, int, int], None]


async def run(plan: Plan, folder: Path, progress: Progress, stop: Stop | None = None) -> Result:
    """Play a plan. `progress` is told what is done: a sentence, how far, of how much. Raises ProcessError, Lost."""
    gate = Gate()
    stop = stop or Stop()
    async with AsyncExitStack() as stack:
        server = None
        if not plan.url:
            progress("a server", 0, 0)
            database_url = plan.database_url or f"sqlite:///{folder / 'oklp.db'}"
            server = Server(folder, database_url, plan.workers, plan.webhook_timeout_seconds, gate)
            stack.push_async_callback(server.close)
            await server.start()
        elif not await is_ready(plan.url):
            raise ProcessError(f"No server is ready at {plan.url}.")
        else:
            gate.open()
        wire = Wire(server.url if server is not None else plan.url.rstrip("/"), gate)
        stack.push_async_callback(wire.close)
        played = asyncio.create_task(_Run(plan, server, wire, progress, stop).everything(stack))
        watch = [] if server is None else [asyncio.create_task(_watch(server))]
        try:
            return await _unless_another_fails(played, watch)
        finally:
            for task in (played, *watch):
                task.cancel()
            await asyncio.gather(played, *watch, return_exceptions=True)


class _Run:
    def __init__(self, plan: Plan, server: Server | None, wire: Wire, progress: Progress, stop: Stop) -> None:
        self.plan = plan
        self.server = server
        self.wire = wire
        self.progress = progress
        self.stop = stop
        self.world = World(
            plan.seed,
            plan.players,
            plan.games,
            careful=plan.restarts > 0,
            operators=server is not None,
            faults=plan.faults,
        )
        self.board = Board()
        wire.gate.changed = self.board.wake
        self.result = Result(plan, Accounts(plan.players, plan.games), self.board, wire)
        self.prefix = f"sim-{secrets.token_hex(4)}"
        self._numbers = self._matches()
        self._too_many_differ = False

    async def everything(self, stack: AsyncExitStack) -> Result:
        receiver = await stack.enter_async_context(Receiver(self.board))
        self.progress("games", 0, 0)
        studio_token = await self._studio()
        games = [await self._register(each, receiver, studio_token, stack) for each in self.world.all_games]
        operator_token = await self._operator() if self.server is not None else ""
        self.progress(f"{self.plan.players} players", 0, 0)
        players = await population(self.wire, self.plan.players, self.prefix)
        stage = Stage(
            self.wire,
            self.board,
            players,
            games,
            self.world.guests,
            operator_token,
            self.prefix,
            self.result.to_put,
            self.result.to_live,
            Pace(),
            studio_token,
        )
        async with _listening(listeners(players, len(self.world.guests))) as followers:
            await self._play(stage)
            await self._audit(Audit(self.wire, self.result.accounts, players, games), followers, studio_token, stage)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        self.result.cpu_seconds = usage.ru_utime + usage.ru_stime
        self.result.memory_mb = usage.ru_maxrss / 1_024
        return self.result

    # --- who is there ---

    async def _studio(self) -> str:
        body = {
            "name": self.prefix,
            "username": self.prefix,
            "email": f"{self.prefix}@studios.example",
            "password": PASSWORD,
        }
        await self.wire.must("sign up", "POST", f"{STUDIO}/studios", body)
        return await self._log_in(STUDIO)

    async def _operator(self) -> str:
        if self.server is None:
            return ""
        status, said = await self.server.command(
            "operator", "create", "--username", self.prefix, "--password", PASSWORD, "--role", "finance"
        )
        if status != 0:
            raise RuntimeError(f"no operator could be made: {said}")
        return await self._log_in(OPERATOR)

    async def _log_in(self, base: str) -> str:
        credentials = {"username": self.prefix, "password": PASSWORD}
        session = await self.wire.must("log in", "POST", f"{base}/sessions", credentials)
        return str(session["token"])

    async def _register(self, game: Game, receiver: Receiver, token: str, stack: AsyncExitStack) -> GameClient:
        settings = GameSettings(
            mode=game.mode,
            score_order="low" if game.low_wins else "high",
            discovery="pull" if game.pull else "push",
            fee_bps=game.fee_bps,
            results_due_seconds=BRIEF_SECONDS if game.brief else LONG_SECONDS,
            start_retries=game.retries,
            start_backoff_seconds=1,
        )
        name = f"{self.prefix}-g{game.number}"
        body = {
            "game_id": name,
            "name": name,
            "webhook_url": None if game.pull else f"{receiver.url}/{name}",
            "launch_urls": {"browser": "http://127.0.0.1:9/play?token={match-token}"},
            "settings": settings.model_dump(exclude={"studio_share_bps"}),
        }
        made = await self.wire.must("register game", "POST", f"{STUDIO}/games", body, token=token)
        config = DeveloperConfig.model_validate(made["developer_config"])
        verifier = AsyncWebhookVerifier(config)
        stack.push_async_callback(verifier.aclose)
        await verifier.warm_up()
        client = receiver.games[name] = GameClient(game, config, self.wire, verifier)
        return client

    # --- matches ---

    def _matches(self) -> Iterator[int]:
        only = self.plan.only
        yield from range(self.plan.matches) if only is None else [only]

    async def _play(self, stage: Stage) -> None:
        started = time.monotonic()
        chaos = asyncio.create_task(self._restart()) if self._points else None
        watch = asyncio.create_task(self._report_progress())
        weather = Weather(self.wire, stage.games, stage.studio_token, self.plan.seed)
        storm = asyncio.create_task(weather.run(lambda: self.result.ended)) if self.plan.faults else None
        background = [each for each in (chaos, watch, storm) if each is not None]
        workers = asyncio.gather(*(self._worker(stage) for _ in range(self.plan.concurrency)))
        self.stop.useful = True
        try:
            await _unless_another_fails(workers, background)
            if chaos is not None:
                await chaos
        finally:
            tasks: list[asyncio.Future[Any]] = [workers, *background]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self.result.interrupted = self.stop.asked
        self.result.struck = {**await weather.struck(), **self.result.accounts.struck}
        self.result.seconds = time.monotonic() - started

    @property
    def _stopped(self) -> bool:
        return self._too_many_differ or self.stop.asked

    async def _worker(self, stage: Stage) -> None:
        while not self._stopped and (number := next(self._numbers, None)) is not None:
            script, foreseen = self.world.plan(number)
            self.result.begun += 1
            costs = {player: move.held for player, move in foreseen.moves if move.held}
            for player, amount in foreseen.payments:
                costs[player] = costs.get(player, 0) + abs(amount)
            for player, amount in costs.items():
                await stage.players[player].fund(amount)
            try:
                played = await Play(stage, script).play()
            except Difference as difference:
                self.result.differences.append(difference)
                self._too_many_differ = len(self.result.differences) >= MOST_DIFFERENCES
            else:
                self.result.accounts.add(self.plan.judge(played))
            self.result.ended += 1

    async def _report_progress(self) -> None:
        total = self.plan.matches if self.plan.only is None else 1
        while True:
            self.progress("matches", self.result.ended, total)
            await asyncio.sleep(0.5)

    # --- restarts ---

    @cached_property
    def _points(self) -> list[int]:
        """After how many matches. One that is played again by itself is left in peace."""
        if self.plan.only is not None:
            return []
        rng, matches = random.Random(f"{self.plan.seed}/restarts"), self.plan.matches
        return sorted(rng.randint(matches // 20, matches * 9 // 10) for _ in range(self.plan.restarts))

    async def _restart(self) -> None:
        """Killed and stopped in turn."""
        server = self.server
        if server is None:
            return
        for index, point in enumerate(self._points):
            await _until(partial(self._reached, point), math.inf, RESTART_LOOK_SECONDS)
            if self._stopped:
                return
            await server.end(kill=index % 2 == 0)
            await server.start()
            self.result.restarts += 1

    def _reached(self, point: int) -> bool:
        return self.result.ended >= point or self._stopped

    # --- in the end ---

    async def _audit(self, audit: Audit, followers: Sequence[Listener], studio_token: str, stage: Stage) -> None:
        started = time.monotonic()
        self.progress("the audit", 0, 0)
        board = self.board
        await _until(lambda: not board.owed, WAIT_SECONDS)
        self.result.faults.extend(f"its game was not told that match {each} is off" for each in sorted(board.owed)[:5])
        self.result.faults.extend(board.faults[:20])
        self.result.events = sum(each.events for each in followers)
        if not self.result.differences:
            # A match that went astray has left its money where no model can tell.
            await _until(lambda: not any(audit.unheard(each) for each in followers), WAIT_SECONDS)
            audit.heard(followers)
            await audit.open_matches()
            await audit.wallets()
            await audit.figures(studio_token)
        if self.server is not None:
            if not self.result.differences:
                await audit.books(stage.operator_token)
            status, books = await self.server.verify_books()
            self.result.books = "clean" if status == 0 and books["clean"] else f"NOT clean, status {status}"
            if status != 0:
                audit.faults.append(f"oklp books verify ends with {status}: {books['faults'][:5]}")
        self.result.faults.extend(audit.faults)
        self.result.audit_seconds = time.monotonic() - started


async def _watch(server: Server) -> None:
    """For as long as the server is there, or its end is the run's doing. Raises ProcessError."""
    while True:
        server.check_alive()
        await asyncio.sleep(WATCH_SECONDS)


async def _unless_another_fails(work: asyncio.Future[T], others: Sequence[asyncio.Task[None]]) -> T:
    """What `work` gives. What goes wrong in another meanwhile is raised at once: `work` may wait for it for ever."""
    waiting: set[asyncio.Future[Any]] = {work, *others}
    while not work.done():
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for each in done - {work}:
            each.result()
    return work.result()


async def _until(done: Callable[[], bool], seconds: float, pause: float = LOOK_SECONDS) -> None:
    until = time.monotonic() + seconds
    while not done() and time.monotonic() < until:  # noqa: ASYNC110 - other tasks bring it about
        await asyncio.sleep(pause)


@asynccontextmanager
async def _listening(followers: Sequence[Listener]) -> AsyncIterator[Sequence[Listener]]:
    tasks = [asyncio.create_task(each.run()) for each in followers]
    try:
        for each in followers:
            await asyncio.wait_for(each.connected.wait(), WAIT_SECONDS)
        yield followers
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
