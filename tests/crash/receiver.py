"""A game's match info receiver, in a process of its own, that keeps a log of what it was told.

    with Receiver(seed=7) as receiver:
        receiver.url("moody")          # http://127.0.0.1:<port>/moody
        receiver.log()                 # every PUT and DELETE so far, in the order of arrival

The first part of the path is a temper:

    steady   200 at once
    moody    by a lot that the seed, the method, the match and the count of requests draw: 200, 200 late, 500, 201, or
             no answer at all; the third DELETE of a match and all after it are 200
    gate     200 once `release()` was called, not before
    mute     never an answer to a PUT; 200 to a DELETE
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Self

import httpx

LATE_SECONDS = 0.3
MOODS = ("200",) * 12 + ("late",) * 2 + ("500",) * 3 + ("201", "hang", "hang")
DELETE_MOODS = ("200",) * 6 + ("500", "500", "hang")


@dataclass(frozen=True)
class Told:
    """One request. `answer` is what the receiver made up its mind to do, noted before it did it.

    `roster` are the players, in the order in which the platform named them.
    """

    number: int
    at: float
    temper: str
    method: str
    match_id: str
    webhook_id: str
    roster: list[str]
    answer: str

    @property
    def may_have_been_taken(self) -> bool:
        """By the contract a 200 is acceptance, and no answer at all may be one."""
        return self.answer in ("200", "late", "hang", "gate")


class Receiver:
    """Starts the process and asks it. It ends with the `with` block, or with its parent."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._process: subprocess.Popen[str] | None = None
        self._port = 0
        self._http = httpx.Client(timeout=30, verify=False)

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(self._seed)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self._port = int(self._process.stdout.readline())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._http.close()
        self._process.communicate()  # closes its input, which ends it

    def url(self, temper: str) -> str:
        return f"http://127.0.0.1:{self._port}/{temper}"

    def log(self) -> list[Told]:
        return [Told(**row) for row in self._ask("GET", "log").json()]

    def wait(self, count: int, seconds: float = 30, **like: str) -> list[Told]:
        """What came with these values (`method="PUT", temper="gate"`), once it is `count` or more."""
        answer = self._ask("GET", "wait", timeout=seconds + 10, params={"count": count, "seconds": seconds, **like})
        found = [Told(**row) for row in answer.json()]
        assert len(found) >= count, f"of {count} requests like {like}, {len(found)} came in {seconds} s"
        return found

    def release(self) -> None:
        """Open the gate, for those who wait and for whoever comes."""
        self._ask("POST", "release")

    def _ask(self, method: str, what: str, **options: Any) -> httpx.Response:
        return self._http.request(method, f"http://127.0.0.1:{self._port}/control/{what}", **options).raise_for_status()


# --- the process -----------------------------------------------------------------------------------------------------


class _Process:
    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._log: list[Told] = []
        self._counts: dict[tuple[str, str], int] = {}
        self._changed = asyncio.Condition()
        self._gate = asyncio.Event()

    def _mood(self, temper: str, method: str, match_id: str) -> str:
        nth = self._counts[method, match_id] = self._counts.get((method, match_id), 0) + 1
        if temper == "gate" and method == "PUT":
            return "gate"
        if temper == "mute" and method == "PUT":
            return "hang"
        if temper != "moody" or (method == "DELETE" and nth > 2):
            return "200"
        lot = random.Random(f"{self._seed}:{method}:{match_id}:{nth}")
        return lot.choice(DELETE_MOODS if method == "DELETE" else MOODS)

    async def told(self, temper: str, method: str, headers: dict[str, str], body: bytes) -> int:
        """Returns the status to answer with, 0 for none."""
        match = json.loads(body)
        match_id, roster = match["match_id"], [each["id"] for each in match["participants"]]
        mood = self._mood(temper, method, match_id)
        async with self._changed:
            number = len(self._log)
            self._log.append(Told(number, time.time(), temper, method, match_id, headers["webhook-id"], roster, mood))
            self._changed.notify_all()
        if mood == "late":
            await asyncio.sleep(LATE_SECONDS)
        elif mood == "gate":
            await self._gate.wait()
        return {"500": 500, "201": 201, "hang": 0}.get(mood, 200)

    async def control(self, what: str, query: dict[str, str]) -> list[dict[str, Any]]:
        if what == "release":
            self._gate.set()
        count, seconds = int(query.pop("count", 0)), float(query.pop("seconds", 0))

        def found() -> list[Told]:
            return [each for each in self._log if all(str(getattr(each, name)) == v for name, v in query.items())]

        if count:
            try:
                async with asyncio.timeout(seconds), self._changed:
                    await self._changed.wait_for(lambda: len(found()) >= count)
            except TimeoutError:
                pass
        return [asdict(each) for each in found()]


async def _serve(seed: int) -> None:
    from aiohttp import web

    process = _Process(seed)

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        first, _, rest = request.path.lstrip("/").partition("/")
        if first == "control":
            return web.json_response(await process.control(rest, dict(request.query)))
        headers = {name.lower(): value for name, value in request.headers.items()}
        status = await process.told(first, request.method, headers, await request.read())
        if status == 0:
            await asyncio.Event().wait()  # until the client has gone
        return web.json_response({}, status=status)

    runner = web.ServerRunner(web.Server(handle, handler_cancellation=True, access_log=None))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1_024)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
