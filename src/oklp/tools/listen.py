"""`oklp listen`: the sandbox's deliveries to one's own machine, and back what came of them.

Each request is forwarded once, as it is. The platform offers what it has no answer to again on every connection; what
is known here already is not forwarded a second time, but its answer is sent until the platform has it.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, Protocol
from urllib.parse import urlsplit

import httpx
from pydantic import Field, ValidationError

from oklp import contract
from oklp.tools.events import ServerEvent
from oklp.tools.login import ToolError
from oklp.tools.streams import NOT_UNDERSTOOD, follow
from oklp.tools.studio import StudioMember, segment

FORWARDS_AT_ONCE: Final = 64
READ_LIMIT_BYTES: Final = 64 * 1024
SHOWN_CHARACTERS: Final = 4 * 1024
HEADER_CHARACTERS: Final = 8 * 1024
KNOWN: Final = 10_000
LEAVE_SECONDS: Final = 2.0
ANSWER_PAUSES_SECONDS: Final = (0.1, 0.2, 0.5, 1.0, 2.0)

# Of the connection to the platform, or to be made anew for the one to here (RFC 9110, section 7.6.1).
NOT_FORWARDED: Final = frozenset({"connection", "host", "content-length", "transfer-encoding", "keep-alive", "upgrade"})


class Missed(contract.Wire):
    """A delivery that nobody was there for in time."""

    delivery_id: str
    attempt: int
    copy_number: int = Field(default=1, alias="copy")
    event: str
    match_id: str | None
    method: str


class Delivered(Missed):
    """A request to forward; `timeout_ms` is what is left of the platform's patience."""

    headers: dict[str, str]
    body: str
    timeout_ms: int


class Line(NamedTuple):
    """What is shown of a delivery. `counts` is false when the platform had given up before it heard the outcome."""

    at: float
    delivery: Missed
    result: Literal["answered", "failed", "missed"]
    status: int | None = None
    duration_ms: int | None = None
    error: str | None = None
    counts: bool = True

    def as_json(self) -> dict[str, Any]:
        shown = {"delivery_id", "attempt", "copy_number", "event", "match_id", "method"}
        about = self.delivery.model_dump(include=shown, by_alias=True)
        rest = {"status": self.status, "duration_ms": self.duration_ms, "error": self.error, "counts": self.counts}
        return {"at": round(self.at * 1_000), "result": self.result, **about, **rest}


class Screen(Protocol):
    def ready(self, game_id: str, target: str) -> None: ...
    def line(self, line: Line) -> None: ...
    def notice(self, text: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    game_id: str
    forward_to: str
    event: str | None = None  # shown alone
    verify_tls: bool = True


def target_of(forward_to: str, webhook_url: str | None) -> str:
    """The local address; one without a path gets that of the registered URL. Raises ToolError."""
    text = forward_to if "://" in forward_to else f"http://{forward_to}"
    try:
        parts = urlsplit(text)
        # The client that forwards is stricter than the library: with httpx.URL it says so before there is a delivery.
        valid = parts.scheme in ("http", "https") and bool(httpx.URL(text).host) and parts.port != 0
    except (ValueError, httpx.InvalidURL):
        valid = False
    if not valid:
        raise ToolError(f"{forward_to!r} is no address to forward to, such as http://127.0.0.1:9000/match-info.")
    if parts.path or parts.query or webhook_url is None:
        return text
    known = urlsplit(webhook_url)
    return text + (known.path or "/") + (f"?{known.query}" if known.query else "")


class Listener:
    """One listener for the life of a command. `run` ends when somebody else listens (ToolError) or it is cancelled."""

    def __init__(self, studio: StudioMember, options: Options, screen: Screen) -> None:
        self._studio = studio
        self._options = options
        self._screen = screen
        self._id = str(uuid.uuid4())
        self._path = f"/games/{segment(options.game_id)}/listen"
        self._target = options.forward_to
        self._known: dict[tuple[str, int, int, bool], None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(FORWARDS_AT_ONCE)
        self._local = httpx.AsyncClient(
            trust_env=False,
            verify=options.verify_tls,
            follow_redirects=False,
            timeout=None,  # noqa: S113 - each exchange has its own end
            limits=httpx.Limits(max_connections=FORWARDS_AT_ONCE, max_keepalive_connections=FORWARDS_AT_ONCE),
        )

    async def run(self) -> None:
        target_of(self._options.forward_to, None)  # what is no address is said before anything begins
        try:
            events = follow(self._studio, self._path, self._params, self._screen.notice)
            async with aclosing(events):
                async for event in events:
                    self._heard(event)
        finally:
            await self._leave()

    def _params(self, again: bool) -> Mapping[str, Any]:
        return {"listener": self._id, "resume": "true" if again else "false"}

    async def _leave(self) -> None:
        """What is on its way has a moment; the platform closes what it has not heard of when the listener leaves."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LEAVE_SECONDS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._local.aclose()
        with suppress(ToolError):
            async with asyncio.timeout(LEAVE_SECONDS):
                await self._studio.send("DELETE", self._path, params={"listener": self._id})

    # --- events ---

    def _heard(self, event: ServerEvent) -> None:
        try:
            match event.event:
                case "ready":
                    self._ready(event.data)
                case "delivery":
                    self._delivery(Delivered.model_validate_json(event.data))
                case "missed":
                    self._missed(Missed.model_validate_json(event.data))
                case "replaced":
                    by = Replaced.model_validate_json(event.data).by
                    raise ToolError(f"{by} listens to {self._options.game_id} now; this listener has ended.")
        except ValidationError as error:
            raise ToolError(NOT_UNDERSTOOD) from error

    def _ready(self, data: str) -> None:
        ready = Ready.model_validate_json(data)
        target = target_of(self._options.forward_to, ready.webhook_url)
        if target != self._target or not self._known:
            self._target = target
            self._screen.ready(self._options.game_id, target)
            if ready.webhook_url is None:
                self._screen.notice("This game has no webhook URL: it asks for its matches, and is sent nothing.")

    def _is_new(self, delivery: Missed, missed: bool) -> bool:
        key = (delivery.delivery_id, delivery.attempt, delivery.copy_number, missed)
        if key in self._known:
            return False
        self._known[key] = None
        if len(self._known) > KNOWN:
            del self._known[next(iter(self._known))]
        return True

    def _missed(self, missed: Missed) -> None:
        if self._is_new(missed, True):
            self._screen.line(Line(time.time(), missed, "missed", counts=False))

    def _delivery(self, delivery: Delivered) -> None:
        if self._is_new(delivery, False):
            task = asyncio.get_running_loop().create_task(self._forward(delivery))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    # --- forwarding ---

    async def _forward(self, delivery: Delivered) -> None:
        until = time.monotonic() + delivery.timeout_ms / 1_000
        at = time.time()
        async with self._room:
            outcome = await self._exchange(delivery, until)
        counts = await self._answer(delivery, outcome, until)
        if self._options.event in (None, delivery.event):
            result: Literal["answered", "failed"] = "failed" if outcome.status is None else "answered"
            self._screen.line(Line(at, delivery, result, outcome.status, outcome.duration_ms, outcome.error, counts))

    async def _exchange(self, delivery: Delivered, until: float) -> contract.ForwardedAnswer:
        """The very same request, to the local address. What went wrong is an answer as well."""
        headers = {name: value for name, value in delivery.headers.items() if name.lower() not in NOT_FORWARDED}
        request = self._local.build_request(
            delivery.method, self._target, headers=headers, content=delivery.body.encode()
        )
        started = time.monotonic()
        answer: httpx.Response | None = None
        body = bytearray()
        error: str | None = None
        sent = True
        try:
            async with asyncio.timeout(max(until - started, 0.001)):
                answer = await self._local.send(request, stream=True)
                async for part in answer.aiter_raw():
                    body += part
                    if len(body) >= READ_LIMIT_BYTES:
                        break
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol) as fault:
            error, sent = f"could not connect to {self._target}: {_words(fault)}", False
        except TimeoutError:
            error = "timed out at the listener (" + ("no answer" if answer is None else "the answer did not end") + ")"
        except httpx.HTTPError as fault:
            error = f"no whole answer from {self._target}: {_words(fault)}"
        finally:
            if answer is not None:
                await answer.aclose()
        return contract.ForwardedAnswer(
            status=None if answer is None else answer.status_code,
            headers={} if answer is None else _kept(answer.headers),
            body=bytes(body[:SHOWN_CHARACTERS]).decode("utf-8", "replace"),
            error=None if error is None else error[:500],
            sent=sent,
            duration_ms=round((time.monotonic() - started) * 1_000),
            forwarded_to=self._target,
        )

    async def _answer(self, delivery: Delivered, outcome: contract.ForwardedAnswer, until: float) -> bool:
        """Tell the platform, again and again until it has heard or can make no use of it any more."""
        path = f"{self._path}/{delivery.delivery_id}/{delivery.attempt}"
        body = outcome.model_dump()
        tries = 0
        while True:
            with suppress(ToolError):
                answer = await self._studio.send("POST", path, body, {"copy": delivery.copy_number})
                if answer.is_success:
                    return contract.Forwarded.model_validate_json(answer.content).counts
                if answer.status_code < 500 and answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
                    return False
            if time.monotonic() > until:
                return False
            await asyncio.sleep(ANSWER_PAUSES_SECONDS[min(tries, len(ANSWER_PAUSES_SECONDS) - 1)])
            tries += 1


class Ready(contract.Wire):
    webhook_url: str | None = None


class Replaced(contract.Wire):
    by: str


def _words(fault: Exception) -> str:
    return " ".join(str(fault).split()) or type(fault).__name__


def _kept(headers: httpx.Headers) -> dict[str, str]:
    kept: dict[str, str] = {}
    room = HEADER_CHARACTERS
    for name, value in headers.items():
        room -= len(name) + len(value)
        if room < 0 or len(name) > 200:
            break
        kept[name] = value
    return kept
