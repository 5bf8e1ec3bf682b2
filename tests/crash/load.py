"""Players and games at work, and the books that they keep themselves.

A `Load` is a context manager: it runs in a thread of its own until it is stopped. It keeps what it was told, not what
it asked for: a deposit counts once it was answered, a result once it was accepted. `proof` compares that with what the
platform says later.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import threading
import traceback
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self

import aiohttp

from tests.crash.client import GAME, PLAYER, STUDIO, TOKEN, Client, GaveUp, Reply, Watch, new_session
from tests.crash.receiver import Receiver

RESULTS_DUE_SECONDS = 3
STARTS_BY_SECONDS = 3
WEBHOOK_TIMEOUT_SECONDS = 1
FEE_BPS = 1_000
LOOK_SECONDS = 0.05
# A match cannot be starting for longer: a restart, a lease (the time-out and five seconds), and the sweep after it.
START_SECONDS = 45

ENV = {
    "OKLP_WEBHOOK_TIMEOUT_SECONDS": str(WEBHOOK_TIMEOUT_SECONDS),
    "OKLP_STARTS_BY_SECONDS": str(STARTS_BY_SECONDS),
    "OKLP_START_WINDOW_SECONDS": "5",
    "OKLP_ACCESS_TOKEN_SECONDS": str(24 * 3600),
}

Plan = Literal["play", "tie", "part", "silent", "cancel", "late-cancel", "leave", "return", "rush", "unfilled"]
PLANS: Sequence[tuple[Plan, int]] = (
    ("play", 45),
    ("tie", 5),
    ("part", 8),
    ("silent", 4),
    ("cancel", 6),
    ("late-cancel", 8),
    ("leave", 6),
    ("return", 6),
    ("rush", 7),
    ("unfilled", 5),
)


@dataclass
class Person:
    """A player, and the payments that were answered with 201."""

    name: str
    user_id: str
    token: str
    deposits: list[int] = field(default_factory=list)
    withdrawals: list[int] = field(default_factory=list)
    # Every deposit has an amount of its own, so that the statement shows which of them are in it.
    amounts: itertools.count[int] = field(default_factory=lambda: itertools.count(1_000))
    ended: set[str] = field(default_factory=set)  # matches that a server-sent event told the end of


@dataclass
class Game:
    """A registered game. `temper` is the receiver's; none is a game that pulls."""

    client_id: str
    secret: str
    mode: str
    temper: str
    retries: int
    token: str = ""


@dataclass
class Seat:
    """`confirmed`: the last answer said so. `holds`: how often an entry fee was paid, leaving and coming back."""

    person: Person
    confirmed: bool = False
    holds: int = 0


@dataclass
class Played:
    """One match as its players and its game know it."""

    match_id: str
    game: Game
    fee: int
    creator: Person
    seats: dict[str, Seat] = field(default_factory=dict)
    teams: list[tuple[str, list[str]]] = field(default_factory=list)
    cancelled: bool = False
    seen_live: bool = False
    accepted: dict[str, dict[str, Any]] = field(default_factory=dict)  # user, or "" for the whole match → the result


class Load:
    """`people` players in `tables` matches at a time, of whom `readers` follow their events."""

    def __init__(
        self, nodes: list[str], receiver: Receiver, seed: int, *, people: int = 8, tables: int = 8, readers: int = 2
    ) -> None:
        self.nodes = nodes
        self.watch = Watch()
        self.people: list[Person] = []
        self.games: list[Game] = []
        self.matches: list[Played] = []
        self.readers = readers
        self._receiver = receiver
        self._rng = random.Random(seed)
        self._counts = (people, tables)
        self._keys = itertools.count(1)
        self._stopping = False
        self._ready = threading.Event()
        self._idle = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._main, name="load", daemon=True)

    # --- for the test's thread ---

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(60), "the load did not get ready"
        self.check()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        self.watch.hopeless = exc is not None
        self._closed.set()
        self._thread.join(120)
        assert not self._thread.is_alive(), "the load did not end"

    def wait_for_answers(self, count: int) -> None:
        self.watch.wait_for_answers(count)
        self.check()

    def stop(self) -> None:
        """Let every request get its answer. Events are followed until the `with` block ends."""
        self._stopping = True
        assert self._idle.wait(120), "the load did not stop"
        self.check()

    def check(self) -> None:
        assert not self.watch.faults, "\n".join(self.watch.faults[:20])

    # --- in the load's thread ---

    def _main(self) -> None:
        try:
            asyncio.run(self._run())
        except Exception as error:
            self.watch.fault("".join(traceback.format_exception(error)))
        finally:
            self._ready.set()
            self._idle.set()

    async def _run(self) -> None:
        async with new_session() as session:
            client = Client(session, self.nodes, self.watch, self._rng)
            await self._set_up(client)
            reading = [asyncio.create_task(follow(session, self.nodes, one)) for one in self.people[: self.readers]]
            self._ready.set()
            work = [self._again(self._one_match, client) for _ in range(self._counts[1])]
            await asyncio.gather(*work, self._again(self._payment, client), self._again(self._payment, client))
            self._idle.set()
            await asyncio.get_running_loop().run_in_executor(None, self._closed.wait)
            for each in reading:
                each.cancel()
            await asyncio.gather(*reading, return_exceptions=True)

    async def _again(self, work: Callable[[Client], Awaitable[None]], client: Client) -> None:
        while not self._stopping:
            try:
                await work(client)
            except GaveUp as error:
                self.watch.fault(str(error))
                return

    def _key(self) -> str:
        return f"key-{next(self._keys)}"

    # --- the cast ---

    async def _set_up(self, client: Client) -> None:
        self.people.extend(await asyncio.gather(*(self._sign_up(client) for _ in range(self._counts[0]))))
        owner = {"username": f"owner-{next(self._keys)}", "password": "correct horse"}
        studio = {"name": f"Studio {owner['username']}", "email": "owner@example.org", **owner}
        await client.must(201, "POST", f"{STUDIO}/studios", studio)
        session = await client.must(201, "POST", f"{STUDIO}/sessions", owner)
        for mode, temper, retries in (
            ("sync", "steady", 0),
            ("sync", "moody", 0),
            ("sync", "moody", 3),
            ("async", "moody", 0),
            ("async", "", 0),
        ):
            self.games.append(await self._register(client, session["token"], mode, temper, retries))

    async def _sign_up(self, client: Client) -> Person:
        name = f"player-{next(self._keys)}"
        body = {
            "username": name,
            "email": f"{name}@example.org",
            "password": "correct horse",
            "date_of_birth": "1990-05-17",
            "country": "DE",
        }
        user = await client.must(201, "POST", f"{PLAYER}/players", body)
        credentials = {"username": name, "password": "correct horse"}
        session = await client.must(201, "POST", f"{PLAYER}/sessions", credentials)
        person = Person(name, user["user_id"], session["token"])
        await self._deposit(client, person)
        return person

    async def _register(self, client: Client, token: str, mode: str, temper: str, retries: int) -> Game:
        body = {
            "name": f"{mode} {temper or 'pull'} {retries}",
            "webhook_url": self._receiver.url(temper) if temper else None,
            "launch_urls": {"browser": "http://127.0.0.1:9/play?token={match-token}"},
            "settings": {
                "mode": mode,
                "discovery": "push" if temper else "pull",
                "fee_bps": FEE_BPS,
                "start_retries": retries,
                "start_backoff_seconds": 1,
                "results_due_seconds": RESULTS_DUE_SECONDS,
            },
        }
        made = await client.must(201, "POST", f"{STUDIO}/games", body, token=token)
        auth = made["developer_config"]["authentication"]
        game = Game(auth["client_id"], auth["client_secret"], mode, temper, retries)
        form = {
            "client_id": game.client_id,
            "client_secret": game.secret,
            "grant_type": "client_credentials",
            "scope": "olp-report-api",
        }
        game.token = (await client.must(200, "POST", TOKEN, form=form))["access_token"]
        return game

    # --- payments ---

    async def _payment(self, client: Client) -> None:
        person = self._rng.choice(self.people)
        await (self._deposit(client, person) if self._rng.random() < 0.6 else self._withdraw(client, person))

    async def _deposit(self, client: Client, person: Person) -> None:
        amount = next(person.amounts)
        reply = await self._keyed(client, person, "/wallet/deposits", {"amount": amount, "currency": "XTS"})
        if reply.status == 201:
            person.deposits.append(amount)
        else:
            self.watch.fault(f"a deposit was refused: {reply.body}")

    async def _withdraw(self, client: Client, person: Person) -> None:
        amount = self._rng.choice((7, 450, 2_000))
        reply = await self._keyed(client, person, "/wallet/withdrawals", {"amount": amount, "currency": "XTS"})
        if reply.status == 201:
            person.withdrawals.append(amount)
        elif reply.code != "insufficient-funds":
            self.watch.fault(f"a withdrawal was refused: {reply.body}")

    async def _keyed(self, client: Client, person: Person, path: str, body: object = None) -> Reply:
        """A request with a key of its own; now and then two at once, as by a nervous finger, which are one."""
        key = self._key()
        if self._rng.random() > 0.15:
            return await client.ask("POST", PLAYER + path, body, token=person.token, key=key)
        one, two = await asyncio.gather(
            *(client.ask("POST", PLAYER + path, body, token=person.token, key=key, twin=True) for _ in range(2))
        )
        if (one.status, one.body) != (two.status, two.body):
            self.watch.fault(f"POST {path} twice with one key: {one} and {two}")
        if one.replayed == two.replayed == False:  # noqa: E712
            self.watch.fault(f"POST {path} twice with one key was done twice: {one}")
        return one

    # --- matches ---

    async def _one_match(self, client: Client) -> None:
        rng = self._rng
        plan: Plan = rng.choices([name for name, _ in PLANS], [weight for _, weight in PLANS])[0]
        game = rng.choice(self.games)
        teams, size = (2, 1) if plan == "rush" else rng.choice(((2, 1), (2, 1), (2, 1), (3, 1), (2, 2)))
        if game.mode == "async":
            size = 1
        creator, *others = rng.sample(self.people, 3 if plan == "rush" else teams * size)
        table = Table(self, client, plan)
        if not await table.create(game, creator, others, teams, size):
            return
        match plan:
            case "unfilled":
                await table.confirm(creator)
            case "rush":
                await table.rush(others)
            case "cancel" | "late-cancel" | "leave" | "return":
                await table.change_minds(others)
            case _:
                await asyncio.gather(*(table.join(each) for each in others))
                await asyncio.gather(*(table.confirm(each) for each in (creator, *others)))
        if await table.live():
            await table.play()


class Table:
    """One match, from its creation to its result, by one of the plans."""

    def __init__(self, load: Load, client: Client, plan: Plan) -> None:
        self._load = load
        self._client = client
        self._plan = plan
        self._rng = load._rng
        self._watch = load.watch
        self.played: Played

    async def create(self, game: Game, creator: Person, others: list[Person], teams: int, size: int) -> bool:
        fee = self._rng.choice((0, 1, 50, 333, 777))
        body = {
            "game_id": game.client_id,
            "entry_fee": {"amount": fee, "currency": "XTS"},
            "teams": teams,
            "team_size": size,
            "invite": [] if self._plan == "rush" else [each.name for each in others],
            "visibility": "public" if self._plan == "rush" else "private",
        }
        reply = await self._load._keyed(self._client, creator, "/matches", body)
        if reply.status != 201:
            self._watch.fault(f"a match could not be made: {reply.body}")
            return False
        self.played = Played(reply.body["match_id"], game, fee, creator)
        self.played.seats[creator.user_id] = Seat(creator)
        self._load.matches.append(self.played)
        return True

    async def _act(self, person: Person, action: str) -> Reply:
        reply = await self._load._keyed(self._client, person, f"/matches/{self.played.match_id}/{action}")
        if reply.status not in (200, 409):
            self._watch.fault(f"{action}: {reply}")
        return reply

    async def join(self, person: Person) -> bool:
        reply = await self._act(person, "join")
        if reply.status == 200:
            self.played.seats[person.user_id] = self.played.seats.get(person.user_id) or Seat(person)
        return reply.status == 200

    async def confirm(self, person: Person) -> bool:
        seat = self.played.seats.get(person.user_id)
        if seat is None:
            return False
        reply = await self._act(person, "confirm")
        if reply.status == 200:
            seat.holds += not seat.confirmed
            seat.confirmed = True
            if self._rng.random() < 0.1:
                await self._act(person, "confirm")  # under another key: it is paid already
        return reply.status == 200

    async def leave(self, person: Person) -> bool:
        reply = await self._act(person, "leave")
        if reply.status == 200:
            self.played.seats[person.user_id].confirmed = False
        return reply.status == 200

    async def cancel(self) -> None:
        reply = await self._act(self.played.creator, "cancel")
        self.played.cancelled = self.played.cancelled or reply.status == 200

    async def rush(self, others: list[Person]) -> None:
        """Two for one seat."""
        in_time = await asyncio.gather(*(self.join(each) for each in others))
        if sum(in_time) > 1:
            self._watch.fault(f"{sum(in_time)} players took the last seat of match {self.played.match_id}")
        taken = [each for each, joined in zip(others, in_time, strict=True) if joined]
        await asyncio.gather(*(self.confirm(each) for each in (self.played.creator, *taken)))

    async def change_minds(self, others: list[Person]) -> None:
        creator = self.played.creator
        await asyncio.gather(*(self.join(each) for each in others))
        await self.confirm(others[0])
        if self._plan == "cancel":
            await self.cancel()
        elif self._plan == "late-cancel":  # against the last confirmation
            await asyncio.gather(*(self.confirm(each) for each in others[1:]))
            await asyncio.gather(self.confirm(creator), self.cancel())
        elif await self.leave(others[0]) and self._plan == "return":
            # Whoever left needs a new invitation to come back to a private match.
            path = f"/matches/{self.played.match_id}/invitations"
            await self._load._keyed(self._client, creator, path, {"usernames": [others[0].name]})
            await self.join(others[0])
            await asyncio.gather(*(self.confirm(each) for each in (creator, *others)))

    async def view(self) -> dict[str, Any]:
        path = f"{PLAYER}/matches/{self.played.match_id}"
        found: dict[str, Any] = await self._client.must(200, "GET", path, token=self.played.creator.token)
        return found

    async def live(self) -> bool:
        """Until it is live (True), or over, or will wait for its deadline."""
        for _ in range(int(START_SECONDS / LOOK_SECONDS)):
            match = await self.view()
            if match["status"] != "starting":
                self.played.seen_live = match["status"] in ("live", "finished")
                self.played.teams = [
                    (team["id"], [each["user_id"] for each in team["members"] if each["state"] == "confirmed"])
                    for team in match["teams"]
                ]
                return bool(match["status"] == "live")
            await asyncio.sleep(LOOK_SECONDS)
        self._watch.fault(f"match {self.played.match_id} was starting for {START_SECONDS} s")
        return False

    # --- results ---

    async def play(self) -> None:
        """Launch, ask about the token, report: twice over, out of order, and with contradictions."""
        await self._launch()
        if self._plan == "silent":
            return
        reports = self._reports()
        if self._plan == "part":
            reports = reports[: 1 if self.played.game.mode == "async" else 0]
        if reports and self._rng.random() < 0.3:
            reports += self._rng.sample(self._reports(), 1)
        if reports and self._rng.random() < 0.3:
            reports += self._rng.sample(reports, 1)
        await asyncio.gather(*(self._report(each) for each in reports))

    async def _launch(self) -> None:
        person = self._rng.choice(list(self.played.seats.values())).person
        path = f"{PLAYER}/matches/{self.played.match_id}/launch"
        reply = await self._client.ask("POST", path, token=person.token)
        if reply.status == 409:  # its deadline has passed meanwhile
            return
        token = reply.body["launch_url"].rpartition("token=")[2]
        info = await self._client.ask("POST", f"{GAME}/token-info", {"token": token}, token=self.played.game.token)
        if info.status == 200 and (info.body["match_id"], info.body["user_id"]) != (
            self.played.match_id,
            person.user_id,
        ):
            self._watch.fault(f"a token of {person.user_id} in {self.played.match_id} stands for {info.body}")
        elif info.status not in (200, 404):
            self._watch.fault(f"token-info: {info}")

    def _reports(self) -> list[dict[str, Any]]:
        match_id, teams = self.played.match_id, self.played.teams
        if self.played.game.mode == "async":
            best = self._rng.randrange(2**53) if self._plan != "tie" else 17
            return [
                {"match_id": match_id, "participants": [{"id": user, "score": best >> (self._rng.randrange(3) * 8)}]}
                for _, members in teams
                for user in members
            ]
        ranks = list(range(1, len(teams) + 1))
        self._rng.shuffle(ranks)
        if self._plan == "tie":
            ranks = [1] * len(teams)
        return [
            {
                "match_id": match_id,
                "participants": [{"id": user, "score": self._rng.randrange(300)} for _, each in teams for user in each],
                "teams": [
                    {"id": team, "score": 100 - rank, "ranking": rank}
                    for (team, _), rank in zip(teams, ranks, strict=True)
                ],
            }
        ]

    async def _report(self, body: dict[str, Any]) -> None:
        path = self._rng.choice((f"{GAME}/finish", "/api/games/v1/finish"))
        reply = await self._client.ask("POST", path, body, token=self.played.game.token)
        if reply.status == 409:
            return
        if reply.status != 200:
            self._watch.fault(f"finish {body}: {reply}")
        elif reply.body["accepted"]:
            key = "" if "teams" in body else str(body["participants"][0]["id"])
            known = self.played.accepted.setdefault(key, body)
            if known != body:
                self._watch.fault(f"two results accepted for {key or 'the match'}: {known} and {body}")


# --- server-sent events ----------------------------------------------------------------------------------------------


async def follow(session: aiohttp.ClientSession, nodes: Sequence[str], person: Person) -> None:
    """Read a player's events, resuming after each cut, and note the matches whose end was told."""
    last, turns = "", itertools.count()
    while True:
        headers = {"Authorization": f"Bearer {person.token}", **({"Last-Event-ID": last} if last else {})}
        kind = ""
        try:
            url = f"{nodes[next(turns) % len(nodes)]}{PLAYER}/events"
            async with session.get(url, headers=headers, timeout=aiohttp.ClientTimeout(sock_read=60)) as answer:
                async for raw in answer.content:
                    name, _, value = raw.decode().rstrip("\n").partition(": ")
                    if name == "id":
                        last = value
                    elif name == "event":
                        kind = value
                    elif name == "data" and kind == "match":
                        match = json.loads(value)
                        if match["status"] in ("finished", "aborted"):
                            person.ended.add(match["match_id"])
        except (aiohttp.ClientError, TimeoutError, OSError):
            pass
        await asyncio.sleep(0.1)
