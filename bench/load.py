"""The load generator: ready-made requests over kept connections, one at a time on each, from a process of its own.

It shares the processors with what it measures, so it must be cheap: the bytes of every request are made beforehand, and
an answer is only searched for its status, its length and a marker. `bench` measures it as well, against a server that
answers a fixed text (`bench.plain`), and prints how much of a processor it took in each run.
"""

from __future__ import annotations

import multiprocessing
import selectors
import socket
import time
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

STALLED_SECONDS = 20.0


class Stalled(Exception):
    """The server did not answer for a long time, or closed a connection."""


@dataclass(frozen=True)
class Plan:
    """Requests to send: each once and in order (`seconds` is None), or round and round for `seconds`.

    Before anything is counted, the first `warm_up` requests are sent, or `warm_up_seconds` pass. An answer counts as
    right when its status is 200 and its body has `marker` in it.
    """

    port: int
    requests: Sequence[bytes]
    connections: int = 32
    seconds: float | None = None
    warm_up: int = 0
    warm_up_seconds: float = 0.0
    marker: bytes = b""


@dataclass(frozen=True)
class Outcome:
    """What came back in `seconds`, `answers` of `total` with the warm-up; `cpu_seconds` is the generator's own."""

    answers: int
    total: int
    seconds: float
    cpu_seconds: float
    latencies_ms: Sequence[float] = field(repr=False)
    wrong: dict[str, int]

    @property
    def rate(self) -> float:
        return self.answers / self.seconds

    def percentile(self, share: float) -> float:
        """The latency that `share` (0 to 1) of the answers did not exceed, in milliseconds."""
        ordered = sorted(self.latencies_ms)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


class _Client:
    """One connection: the bytes of the answer so far, and when its request was sent."""

    __slots__ = ("buffer", "sent_at", "socket")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=STALLED_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.sent_at = 0.0

    def send(self, request: bytes) -> None:
        # A request is smaller than any socket buffer, and the one before it has been answered: this does not block.
        self.sent_at = time.perf_counter()
        self.socket.sendall(request)


def _complete(answer: bytes) -> bool:
    head = answer.find(b"\r\n\r\n")
    if head < 0:
        return False
    at = answer.find(b"content-length:", 0, head)  # as uvicorn spells it
    if at < 0:
        raise Stalled(f"an answer without a length: {answer[:200]!r}")
    length = int(answer[at + 15 : answer.find(b"\r", at)])
    return len(answer) >= head + 4 + length


class _Driver:
    """Sends and counts until the plan is done."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.latencies = array("d")
        self.wrong: Counter[str] = Counter()
        self.answered = 0
        self.next = 0
        self.counting_since: float | None = None
        self.cpu_before = 0.0
        self.ends_at = float("inf")

    def run(self) -> Outcome:
        clients = [_Client(self.plan.port) for _ in range(self.plan.connections)]
        self.warm_until = time.perf_counter() + self.plan.warm_up_seconds
        self._begin_counting()
        with selectors.DefaultSelector() as selector:
            for client in clients:
                selector.register(client.socket, selectors.EVENT_READ, client)
                self._send_next(client)
            open_requests = min(len(clients), self.next)
            while open_requests:
                ready = selector.select(STALLED_SECONDS)
                if not ready:
                    raise Stalled(f"no answer in {STALLED_SECONDS} s after {self.answered} answers")
                for key, _ in ready:
                    if self._read(key.data) and not self._send_next(key.data):
                        open_requests -= 1
        ended = time.perf_counter()
        for client in clients:
            client.socket.close()
        since = self.counting_since if self.counting_since is not None else ended
        return Outcome(
            answers=len(self.latencies),
            total=self.answered,
            seconds=max(ended - since, 1e-9),
            cpu_seconds=time.process_time() - self.cpu_before,
            latencies_ms=self.latencies,
            wrong=dict(self.wrong),
        )

    def _send_next(self, client: _Client) -> bool:
        requests = self.plan.requests
        if self.plan.seconds is None:
            if self.next >= len(requests):
                return False
        elif time.perf_counter() >= self.ends_at:
            return False
        client.send(requests[self.next % len(requests)])
        self.next += 1
        return True

    def _read(self, client: _Client) -> bool:
        """True when the answer is there whole."""
        data = client.socket.recv(65_536)
        if not data:
            raise Stalled(f"the server closed a connection after {self.answered} answers")
        answer = client.buffer + data if client.buffer else data
        if not _complete(answer):
            client.buffer = answer
            return False
        client.buffer = b""
        self.answered += 1
        if self.counting_since is None:
            self._begin_counting()
        else:
            self.latencies.append((time.perf_counter() - client.sent_at) * 1000)
        if not answer.startswith(b"HTTP/1.1 200") or self.plan.marker not in answer:
            self.wrong[answer[9:12].decode("latin-1", "replace")] += 1
        return True

    def _begin_counting(self) -> None:
        now = time.perf_counter()
        if self.answered >= self.plan.warm_up and now >= self.warm_until:
            self.counting_since = now
            self.cpu_before = time.process_time()
            if self.plan.seconds is not None:
                self.ends_at = now + self.plan.seconds


def _child(plan: Plan, pipe: Connection) -> None:
    try:
        pipe.send(_Driver(plan).run())
    except Exception as error:
        pipe.send(error)


def run(plan: Plan) -> Outcome:
    """Carry a plan out in a process of its own. Raises Stalled."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_child, args=(plan, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        answer = ours.recv()
    except EOFError:
        answer = Stalled("the load generator ended without a word")
    process.join()
    if isinstance(answer, Exception):
        raise answer
    if not isinstance(answer, Outcome):
        raise Stalled(f"the load generator answered {answer!r}")
    return answer


def post(path: str, body: bytes, content_type: str, authorization: str = "") -> bytes:
    """The bytes of a POST request."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
    if authorization:
        head += f"Authorization: {authorization}\r\n"
    return head.encode("ascii") + b"\r\n" + body
