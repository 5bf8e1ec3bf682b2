"""What the server does with connections that bring no request: endless ones, halves, and what is not HTTP."""

from __future__ import annotations

import contextlib
import json
import socket
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.harness import PlayerClient, Server, serving

BACKENDS = ("sqlite",)
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=30)


def answers(received: bytes) -> list[tuple[int, dict[str, object]]]:
    """Status and JSON of each answer."""
    found = []
    while received:
        head, _, received = received.partition(b"\r\n\r\n")
        first, *lines = head.decode().splitlines()
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = int(headers["content-length"])
        body, received = received[:length], received[length:]
        found.append((int(first.split()[1]), {**json.loads(body), "media_type": headers["content-type"]}))
    return found


def rest_of(connection: socket.socket) -> bytes:
    """All until the server closes."""
    received = b""
    try:
        while piece := connection.recv(65_536):
            received += piece
    except ConnectionResetError:  # it had not read all that was sent
        pass
    return received


def healthy(connection: socket.socket) -> bool:
    received = b""
    connection.sendall(HEALTH)
    while not received.endswith(b"}"):
        received += connection.recv(65_536)
    return [status for status, _ in answers(received)] == [200]


def is_problem(answer: tuple[int, dict[str, object]], status: int, code: str) -> bool:
    return answer[0] == answer[1]["status"] == status and answer[1]["type"] == f"urn:oklp:error:{code}"


CHUNKED = b"POST /auth/realms/oklp HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: ", id="header"),
        pytest.param(b"GET /", id="address"),
        pytest.param(CHUNKED + b"1;a=", id="chunk"),
        pytest.param(CHUNKED + b"0\r\nX: ", id="trailer"),
    ],
)
def test_what_has_no_end_is_refused_before_it_costs_anything(served: Server, start: bytes) -> None:
    sent = 0
    with connect(served) as connection, contextlib.suppress(ConnectionResetError, BrokenPipeError):
        connection.sendall(start)
        while sent < 50_000_000:
            connection.sendall(b"a" * 65_536)
            sent += 65_536
    assert sent < 10_000_000, "more than what fits into the sockets"


def test_who_sends_too_much_of_a_head_is_told(served: Server) -> None:
    with connect(served) as connection:
        connection.sendall(b"GET /auth/realms/oklp HTTP/1.1\r\nHost: x\r\nX: ")
        for _ in range(16):
            connection.sendall(b"a" * 4_096)
        (answer,) = answers(rest_of(connection))
    assert (answer[0], answer[1]["error"], answer[1]["media_type"]) == (431, "invalid_request", "application/json")


def test_an_address_that_is_too_long_is_refused(served: Server) -> None:
    with connect(served) as connection:
        connection.sendall(b"GET /" + b"a" * 66_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        (answer,) = answers(rest_of(connection))
    assert is_problem(answer, 431, "head-too-large"), answer


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"FOO / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n",
        b"POST /api/player/v1/sessions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_not_http_gets_a_problem(served: Server, sent: bytes) -> None:
    with connect(served) as connection:
        connection.sendall(sent)
        (answer,) = answers(rest_of(connection))
    assert is_problem(answer, 400, "malformed-request"), answer
    assert answer[1]["media_type"] == "application/problem+json"


def test_what_follows_a_request_does_not_take_its_answer(served: Server) -> None:
    with connect(served) as connection:
        connection.sendall(HEALTH + HEALTH + b"\x16\x03\x01")
        received = rest_of(connection)
    assert [status for status, _ in answers(received)] == [200, 200]


def test_another_protocol_is_not_spoken(served: Server) -> None:
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "a" * 22 + "==",
               "Sec-WebSocket-Version": "13"}  # fmt: skip
    assert httpx.get(f"{served.url}/healthz", headers=upgrade).status_code == 200
    assert httpx.get(f"{served.url}/nowhere", headers={**upgrade, "Accept": "application/json"}).status_code == 404


def test_who_does_not_go_on_is_not_waited_for(sqlite_url: str, tmp_path: Path) -> None:
    with serving(sqlite_url, tmp_path, OKLP_ARRIVAL_SECONDS="1") as server, ExitStack() as open_ones:
        player = PlayerClient(server.url)
        listening = open_ones.enter_context(connect(server))
        token = player.http.headers["Authorization"]
        listening.sendall(f"GET /api/player/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n\r\n".encode())
        assert listening.recv(65_536).startswith(b"HTTP/1.1 200")
        kept = open_ones.enter_context(connect(server))
        assert healthy(kept)
        silent, empty, head, body = (open_ones.enter_context(connect(server)) for _ in range(4))
        empty.sendall(b"\r\n")
        head.sendall(HEALTH[:-2])
        body.sendall(b"POST /api/player/v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")

        for connection in (head, body):
            (answer,) = answers(rest_of(connection))
            assert is_problem(answer, 408, "request-timed-out"), answer
        assert rest_of(silent) == rest_of(empty) == b""
        # A request that is there takes the time that its answer takes, and who had one may have another.
        assert healthy(kept)
        player.must(201, "POST", "/wallet/deposits", {"amount": 100, "currency": "XTS"})
        heard = b""
        while b"wallet" not in heard:
            piece = listening.recv(65_536)
            assert piece, "the stream has ended"
            heard += piece
