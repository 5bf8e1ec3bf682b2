"""The sender against receivers that misbehave (contract section A3), on the loop of asyncio and on that of the server.

Time-outs are short where one is to happen and so long that none can where none is to.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest
import uvloop

from oklp import sender as sender_module
from oklp.addresses import check_webhook_url
from oklp.exchange import Exchange, Outgoing
from oklp.sender import Lookup, WebhookSender
from tests.webhooks.receivers import Receivers

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, T]], T]

SHORT_SECONDS = 0.3
LONG_SECONDS = 60.0
BODY = b'{"match_id": "600f369851f450dd3ecb0035", "participants": [], "teams": []}'


@pytest.fixture(scope="module")
def receivers() -> Iterator[Receivers]:
    with Receivers() as process:
        yield process


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Run[Any]]:
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        yield runner.run


@asynccontextmanager
async def sending(
    *,
    timeout_seconds: float = LONG_SECONDS,
    allow_loopback: bool = True,
    concurrency: int = 100,
    concurrency_per_host: int = 100,
    lookup: Lookup | None = None,
    tls: ssl.SSLContext | None = None,
    monotonic: Callable[[], float] = time.monotonic,
) -> AsyncIterator[WebhookSender]:
    sender = WebhookSender(
        timeout_seconds=timeout_seconds,
        allow_loopback=allow_loopback,
        concurrency=concurrency,
        concurrency_per_host=concurrency_per_host,
        lookup=lookup,
        tls=tls,
        monotonic=monotonic,
    )
    try:
        yield sender
    finally:
        await sender.close()


def put(url: str, **headers: str) -> Outgoing:
    return Outgoing("PUT", url, {"Content-Type": "application/json", **headers}, BODY)


async def send_once(url: str, **settings: Any) -> Exchange:
    async with sending(**settings) as sender:
        return await sender.send(put(url))


async def in_thread(function: Callable[..., T], *arguments: Any, **named: Any) -> T:
    """The receivers' answers are waited for beside the loop, not in it."""
    return await asyncio.to_thread(function, *arguments, **named)


def looks_up(answers: dict[str, list[list[str]]]) -> Lookup:
    """Each name's answers in turn; the last for good."""

    async def lookup(host: str) -> list[str]:
        turns = answers[host]
        return turns.pop(0) if len(turns) > 1 else turns[0]

    return lookup


# --- what is sent ----------------------------------------------------------------------------------------------------


def test_200_is_a_delivery_and_the_request_arrives_as_it_was_given(receivers: Receivers, run: Run[Exchange]) -> None:
    url = receivers.url("ok") + "/a%2Fb/../%7e?x=%20y&x="
    outgoing = Outgoing("DELETE", url, {"Authorization": "Bearer j.w.t", "webhook-id": "msg_1"}, BODY)

    async def deliver() -> Exchange:
        async with sending() as sender:
            return await sender.send(outgoing)

    exchange = run(deliver())

    assert (exchange.status, exchange.body, exchange.error) == (200, "{}", None)
    assert (exchange.complete, exchange.sent) == (True, True)
    assert exchange.headers == {"content-type": "application/json", "content-length": "2"}
    [request] = [one for one in receivers.wait(url) if one.method == "DELETE"]
    assert f"http://127.0.0.1:{receivers.ports['http']}{request.path}" == url
    assert request.body == BODY.decode()
    assert request.headers == {
        "host": f"127.0.0.1:{receivers.ports['http']}",
        "authorization": "Bearer j.w.t",
        "webhook-id": "msg_1",
        "content-length": str(len(BODY)),
        "accept": "*/*",
        "accept-encoding": "identity",
        "user-agent": "oklp-webhooks",
    }


def test_https_is_verified_against_the_trusted_roots(receivers: Receivers, run: Run[list[Exchange]]) -> None:
    url = receivers.url("ok", port="https")
    misnamed = receivers.url("ok", port="https", host="game.example")

    async def deliver() -> list[Exchange]:
        lookup = looks_up({"game.example": [["127.0.0.1"]]})
        async with sending(tls=receivers.trust(), lookup=lookup) as trusting, sending() as usual:
            return [
                await sender.send(put(target))
                for sender, target in ((trusting, url), (trusting, misnamed), (usual, url))
            ]

    trusted, other_name, untrusted = run(deliver())

    assert (trusted.status, trusted.error) == (200, None)
    for refused in (other_name, untrusted):
        assert refused.error is not None
        assert refused.error.startswith("the TLS certificate is not valid: ")
        assert (refused.status, refused.complete, refused.sent) == (None, False, False)
    assert len(receivers.requests(url)) == 1
    assert receivers.requests(misnamed) == []


def test_connections_are_kept_cookies_are_not(receivers: Receivers, run: Run[None]) -> None:
    url = receivers.url("cookie")

    async def deliver() -> None:
        async with sending() as sender:
            for _ in range(3):
                assert (await sender.send(put(url))).error is None

    run(deliver())

    requests = receivers.wait(url, 3)
    assert len({request.connection for request in requests}) == 1
    assert not any("cookie" in request.headers for request in requests)


def test_proxies_of_the_environment_are_not_used(
    receivers: Receivers, run: Run[Exchange], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{receivers.ports['mute']}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)

    assert run(send_once(receivers.url("ok"))).error is None


# --- answers that are no delivery ------------------------------------------------------------------------------------

ANSWERED = [
    ("status:201", 201, "answered 201, not 200"),
    ("status:204", 204, "answered 204, not 200"),
    ("status:400", 400, "answered 400, not 200"),
    ("status:500", 500, "answered 500, not 200"),
    ("upgrade", 101, "answered 101, not 200"),
    ("redirect:301", 301, "answered 301 (redirects are not followed)"),
    ("redirect:302", 302, "answered 302 (redirects are not followed)"),
    ("redirect:307", 307, "answered 307 (redirects are not followed)"),
    ("redirect:308", 308, "answered 308 (redirects are not followed)"),
]


@pytest.mark.parametrize(("behaviour", "status", "error"), ANSWERED)
def test_every_other_status_is_an_error(
    receivers: Receivers, run: Run[Exchange], behaviour: str, status: int, error: str
) -> None:
    url = receivers.url(behaviour)

    exchange = run(send_once(url))

    assert (exchange.status, exchange.error, exchange.complete, exchange.sent) == (status, error, True, True)
    assert len(receivers.wait(url)) == 1


def test_a_redirect_leads_nowhere(receivers: Receivers, run: Run[Exchange]) -> None:
    exchange = run(send_once(receivers.url("redirect:302")))

    assert exchange.headers is not None
    assert exchange.headers["location"] == "/ok/redirected"
    assert receivers.requests("/ok/redirected") == []


BROKEN_OFF = [
    ("close", None, "the connection was closed before an answer came"),
    ("reset", None, "the connection was reset before an answer came"),
    ("close-in-head", None, "the connection was closed within the head of an answer"),
    ("reset-in-head", None, "the connection was reset within the head of an answer"),
    ("close-in-body", 200, "the connection was lost within the answer"),
    ("invalid", None, "the head of the answer is not valid HTTP, or too large"),
    ("two-lengths", None, "the head of the answer is not valid HTTP, or too large"),
    ("huge-header", None, "the head of the answer is not valid HTTP, or too large"),
    ("many-headers:1500", None, "the head of the answer is not valid HTTP, or too large"),
    ("endless-head", None, "the head of the answer is not valid HTTP, or too large"),
    ("informational-forever", None, "the head of the answer is not valid HTTP, or too large"),
]


@pytest.mark.parametrize(("behaviour", "status", "error"), BROKEN_OFF)
def test_an_answer_without_an_end_or_a_meaning_is_an_error(
    receivers: Receivers, run: Run[Exchange], behaviour: str, status: int | None, error: str
) -> None:
    url = receivers.url(behaviour)

    exchange = run(send_once(url))

    assert (exchange.status, exchange.error) == (status, error)
    assert (exchange.complete, exchange.sent) == (status is not None, True)
    # On a new connection nothing is sent twice, whatever came back.
    assert len(receivers.wait(url)) == 1


def test_interim_answers_are_skipped(receivers: Receivers, run: Run[Exchange]) -> None:
    exchange = run(send_once(receivers.url("informational")))

    assert (exchange.status, exchange.error, exchange.body) == (200, None, "{}")


def test_a_body_may_end_with_the_connection(receivers: Receivers, run: Run[Exchange]) -> None:
    exchange = run(send_once(receivers.url("until-close")))

    assert (exchange.status, exchange.error, exchange.body) == (200, None, "the end")


def test_what_was_accepted_can_be_sent_to(receivers: Receivers, run: Run[Exchange]) -> None:
    url = receivers.url("ok", host="localhost") + "/!$&'()*+,;=:@~[]?q=%5c/?"
    check_webhook_url(url, sandbox=True)

    assert run(send_once(url)).error is None
    assert len(receivers.wait(url)) == 1


# --- what is never reached -------------------------------------------------------------------------------------------


def test_a_refused_connection_is_surely_unsent(run: Run[Exchange]) -> None:
    with socket.socket() as taken:  # bound, so nobody else's, and not listening
        taken.bind(("127.0.0.1", 0))

        exchange = run(send_once(f"http://127.0.0.1:{taken.getsockname()[1]}/"))

    assert exchange.error == "connection refused"
    assert (exchange.status, exchange.headers, exchange.body) == (None, None, None)
    assert (exchange.complete, exchange.sent) == (False, False)


def test_a_name_that_is_not_known_is_surely_unsent(run: Run[Exchange]) -> None:
    exchange = run(send_once("http://no-such-game.invalid/"))

    assert exchange.error is not None
    assert exchange.error.startswith("the name no-such-game.invalid could not be looked up: ")
    assert not exchange.sent


def test_a_receiver_that_resets_at_once_is_an_error(receivers: Receivers, run: Run[Exchange]) -> None:
    exchange = run(send_once(receivers.url("any", port="reset")))

    assert exchange.error is not None
    assert (exchange.status, exchange.complete) == (None, False)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:99999/",
        "http://user:secret@127.0.0.1/",
        "http://127.0.0.1/a b",
        "http://127.0.0.1/\r\nX-Injected: 1",
        "http://[::1/",
        "http:///path",
        "ftp://127.0.0.1/",
        "",
    ],
)
def test_an_impossible_url_is_an_exchange_too(run: Run[Exchange], url: str) -> None:
    exchange = run(send_once(url))

    assert (exchange.error, exchange.sent) == ("the URL is not valid", False)


def test_a_header_cannot_smuggle_another(receivers: Receivers, run: Run[Exchange]) -> None:
    url = receivers.url("ok")

    async def deliver() -> Exchange:
        async with sending() as sender:
            return await sender.send(put(url, **{"webhook-id": "1\r\nX-Injected: 1"}))

    assert run(deliver()).error == "could not be sent: ValueError"
    assert receivers.requests(url) == []


# --- time ------------------------------------------------------------------------------------------------------------

NEVER_ENDING = [
    ("hang", None, "timed out after 0.3 s (no answer)"),
    ("hang-in-head", None, "timed out after 0.3 s (no answer)"),
    ("hang-in-body", 200, "timed out after 0.3 s (the answer did not end)"),
    ("hang-in-body:500", 500, "timed out after 0.3 s (the answer did not end)"),
    ("trickle", 200, "timed out after 0.3 s (the answer did not end)"),
]


@pytest.mark.parametrize(("behaviour", "status", "error"), NEVER_ENDING)
def test_the_time_out_covers_the_whole_exchange(
    receivers: Receivers, run: Run[Exchange], behaviour: str, status: int | None, error: str
) -> None:
    url = receivers.url(behaviour)

    exchange = run(send_once(url, timeout_seconds=SHORT_SECONDS))

    assert (exchange.status, exchange.error) == (status, error)
    assert (exchange.complete, exchange.sent) == (status is not None, True)
    assert exchange.duration_ms >= 300
    [request] = receivers.wait(url, left=True)  # the connection is dropped, not left to the receiver
    assert request.method == "PUT"


def test_the_time_out_covers_the_tls_handshake(receivers: Receivers, run: Run[Exchange]) -> None:
    url = receivers.url("any", port="mute").replace("http:", "https:")

    exchange = run(send_once(url, timeout_seconds=SHORT_SECONDS))

    assert (exchange.error, exchange.sent) == ("timed out after 0.3 s (not connected)", False)


def test_the_time_out_covers_the_look_up(run: Run[Exchange]) -> None:
    async def lookup(host: str) -> list[str]:
        await asyncio.Event().wait()
        return []

    exchange = run(send_once("http://game.example/", lookup=lookup, timeout_seconds=SHORT_SECONDS))

    assert (exchange.error, exchange.sent) == ("timed out after 0.3 s (not connected)", False)


def test_the_duration_is_by_the_clock_given(receivers: Receivers, run: Run[Exchange]) -> None:
    ticks = iter([100.0, 101.2345])

    assert run(send_once(receivers.url("ok"), monotonic=lambda: next(ticks))).duration_ms == 1_234


# --- size and form of the answer -------------------------------------------------------------------------------------


@pytest.mark.parametrize("port", ["http", "https"])
def test_a_huge_body_is_cut_and_its_status_counts(receivers: Receivers, run: Run[Exchange], port: str) -> None:
    url = receivers.url("big", port=port)

    exchange = run(send_once(url, tls=receivers.trust()))

    assert (exchange.status, exchange.error, exchange.complete) == (200, None, True)
    assert exchange.body == "0123456789abcdef" * 256
    [request] = receivers.wait(url, left=True)
    # What the sockets' buffers of both sides took, of 100 MB.
    assert request.sent_bytes < 20_000_000


def test_nothing_is_read_beyond_the_limit(receivers: Receivers, run: Run[Exchange]) -> None:
    url = receivers.url("stall:65536")

    exchange = run(send_once(url))

    assert (exchange.status, exchange.error) == (200, None)
    assert len(receivers.wait(url, left=True)) == 1


def test_a_body_within_the_limit_leaves_the_connection_usable(receivers: Receivers, run: Run[None]) -> None:
    within, beyond = receivers.url("big:60000"), receivers.url("big:200000")

    async def deliver() -> None:
        async with sending() as sender:
            for url in (within, within, beyond, within):
                assert (await sender.send(put(url))).error is None

    run(deliver())

    first, second, third = (request.connection for request in receivers.wait(within, 3))
    assert first == second != third
    assert receivers.wait(beyond)[0].connection == first


def test_compressed_answers_stay_compressed(receivers: Receivers, run: Run[Exchange]) -> None:
    exchange = run(send_once(receivers.url("gzip-bomb")))

    assert (exchange.status, exchange.error) == (200, None)
    assert exchange.headers is not None
    assert exchange.headers["content-encoding"] == "gzip"
    assert exchange.body is not None
    assert "unpacked" not in exchange.body
    assert len(exchange.body) <= 4_096


def test_the_kept_text_can_be_stored_anywhere(receivers: Receivers, run: Run[Exchange]) -> None:
    exchange = run(send_once(receivers.url("text")))

    assert exchange.body == "a?b?c?d?e\tf\ng\nh?i???ü€😀".replace("?", "\ufffd")
    assert exchange.headers is not None
    assert exchange.headers["x-odd"] == "\ufffd\ufffd"
    for text in (exchange.body, *exchange.headers.values()):
        assert text.encode("utf-8").count(0) == 0


def test_a_character_is_not_cut_in_half(receivers: Receivers, run: Run[Exchange]) -> None:
    exchange = run(send_once(receivers.url("wide")))

    assert exchange.body == "xx" + "€" * 1_364  # the next begins at byte 4,094 and would end at 4,097


def test_headers_are_kept_up_to_a_limit(receivers: Receivers, run: Run[list[Exchange]]) -> None:
    async def deliver() -> list[Exchange]:
        return [await send_once(receivers.url(f"many-headers:{count}")) for count in (50, 100)]

    some, many = run(deliver())

    assert some.error is None
    assert some.headers is not None
    assert len(some.headers) == 51
    assert many.error is None
    assert many.headers is not None
    assert sum(len(name) + len(value) for name, value in many.headers.items()) <= 8_192


# --- kept connections that die ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("port", ["http", "https"])
@pytest.mark.parametrize("end", ["close", "reset"])
def test_a_kept_connection_that_dies_in_silence_is_tried_once_more_on_a_new_one(
    receivers: Receivers, run: Run[Exchange], end: str, port: str
) -> None:
    url = receivers.url(f"sequence:ok,{end},ok", port=port)

    async def deliver() -> Exchange:
        async with sending(tls=receivers.trust()) as sender:
            assert (await sender.send(put(url))).error is None
            return await sender.send(put(url))

    exchange = run(deliver())

    assert (exchange.status, exchange.error, exchange.sent) == (200, None, True)
    first, second, third = (request.connection for request in receivers.wait(url, 3))
    assert first == second != third


def test_it_is_tried_once_more_and_not_again(receivers: Receivers, run: Run[Exchange]) -> None:
    url = receivers.url("sequence:ok,close,close,ok")

    async def deliver() -> Exchange:
        async with sending() as sender:
            assert (await sender.send(put(url))).error is None
            return await sender.send(put(url))

    exchange = run(deliver())

    assert exchange.error == "the connection was closed before an answer came"
    assert (exchange.status, exchange.complete, exchange.sent) == (None, False, True)
    assert len(receivers.wait(url, 3)) == 3


@pytest.mark.parametrize("end", ["close-in-head", "reset-in-head", "close-in-body", "invalid"])
def test_it_is_not_tried_again_once_a_byte_of_an_answer_came(
    receivers: Receivers, run: Run[Exchange], end: str
) -> None:
    url = receivers.url(f"sequence:ok,{end},ok")

    async def deliver() -> Exchange:
        async with sending() as sender:
            assert (await sender.send(put(url))).error is None
            return await sender.send(put(url))

    assert run(deliver()).error is not None
    assert len(receivers.requests(url)) == 2


def test_the_second_try_is_never_on_another_kept_connection(receivers: Receivers, run: Run[Exchange]) -> None:
    # Two connections are kept, for their requests were under way together; each would die in silence when used again.
    together = receivers.url("together:2")
    url = receivers.url("sequence:close,ok")

    async def deliver() -> Exchange:
        async with sending() as sender:
            await asyncio.gather(sender.send(put(together)), sender.send(put(together)))
            return await sender.send(put(url))

    exchange = run(deliver())

    assert (exchange.status, exchange.error) == (200, None)
    kept = {request.connection for request in receivers.wait(together, 2)}
    first, second = (request.connection for request in receivers.wait(url, 2))
    assert len(kept) == 2
    assert first in kept
    assert second not in kept


def test_a_try_that_died_in_silence_counts_as_sent_when_the_second_finds_nobody(run: Run[Exchange]) -> None:
    async def deliver() -> Exchange:
        async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(BODY)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            await reader.readuntil(BODY)
            server.close()
            writer.close()

        server = await asyncio.start_server(answer_once, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with sending() as sender:
            assert (await sender.send(put(url))).error is None
            return await sender.send(put(url))

    exchange = run(deliver())

    assert (exchange.error, exchange.status, exchange.sent) == ("connection refused", None, True)


def test_an_answer_that_nobody_asked_for_is_not_taken_for_the_next(receivers: Receivers, run: Run[Exchange]) -> None:
    url = receivers.url("twice")
    afterwards = receivers.url("status:500")

    async def deliver() -> Exchange:
        async with sending() as sender:
            assert (await sender.send(put(url))).status == 500
            [request] = await in_thread(receivers.wait, url)
            await in_thread(receivers.wait_for_end, request.connection)
            return await sender.send(put(afterwards))

    assert run(deliver()).status == 500


# --- many at once ----------------------------------------------------------------------------------------------------


def test_hundreds_of_slow_receivers_do_not_hold_up_a_fast_one(receivers: Receivers, run: Run[None]) -> None:
    slow, same_host, fast = receivers.url("hang"), receivers.url("ok"), receivers.url("ok", port="other")

    async def deliver() -> None:
        async with sending(concurrency=400, concurrency_per_host=310) as sender:
            hanging = [asyncio.create_task(sender.send(put(slow))) for _ in range(300)]
            await in_thread(receivers.wait, slow, 300)
            for url in (fast, same_host):
                assert (await sender.send(put(url))).error is None
            assert not any(task.done() for task in hanging)
            for task in hanging:
                task.cancel()
            await asyncio.gather(*hanging, return_exceptions=True)
            await in_thread(receivers.wait, slow, 300, left=True)

    run(deliver())


def test_one_host_takes_no_more_than_its_share(receivers: Receivers, run: Run[None]) -> None:
    slow, fast = receivers.url("hang"), receivers.url("ok", port="other")

    async def deliver() -> None:
        async with sending(concurrency_per_host=2) as sender:
            hanging = [asyncio.create_task(sender.send(put(slow))) for _ in range(3)]
            await in_thread(receivers.wait, slow, 2)
            assert (await sender.send(put(fast))).error is None
            assert len(await in_thread(receivers.requests, slow)) == 2
            hanging[0].cancel()
            await in_thread(receivers.wait, slow, 3)
            for task in hanging:
                task.cancel()
            await asyncio.gather(*hanging, return_exceptions=True)

    run(deliver())


def test_a_turn_is_given_on_when_one_is_called_off(receivers: Receivers, run: Run[None]) -> None:
    slow, fast = receivers.url("hang"), receivers.url("ok")

    async def deliver() -> None:
        async with sending(concurrency=1, concurrency_per_host=1) as sender:
            first = asyncio.create_task(sender.send(put(slow)))
            await in_thread(receivers.wait, slow)
            second = asyncio.create_task(sender.send(put(fast)))
            await asyncio.sleep(0)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            assert (await second).error is None

    run(deliver())


def test_names_with_dead_name_servers_do_not_hold_up_others(
    receivers: Receivers, run: Run[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = threading.Event()
    asked = threading.Semaphore(0)
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, *arguments: Any, **named: Any) -> Any:
        if str(host).endswith(".example"):
            asked.release()
            answer.wait()
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return real(host, *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    async def deliver() -> None:
        async with sending(concurrency=200) as sender:
            dead = [asyncio.create_task(sender.send(put(f"http://game-{n}.example/"))) for n in range(100)]
            for _ in dead:
                await in_thread(asked.acquire)
            assert (await sender.send(put(receivers.url("ok", host="localhost")))).error is None
            answer.set()
            for exchange in await asyncio.gather(*dead):
                assert exchange.error is not None
                assert exchange.error.endswith("could not be looked up: Temporary failure in name resolution")
                assert not exchange.sent

    try:
        run(deliver())
    finally:
        answer.set()


# --- the end ---------------------------------------------------------------------------------------------------------


def test_closing_ends_what_is_under_way_and_refuses_what_follows(receivers: Receivers, run: Run[None]) -> None:
    slow, fast = receivers.url("hang"), receivers.url("ok")

    async def deliver() -> None:
        async with sending() as sender:
            task = asyncio.create_task(sender.send(put(slow)))
            await in_thread(receivers.wait, slow)
            await sender.close()
            cut = await task
            assert cut.error is not None
            assert cut.sent
            assert (await sender.send(put(fast))).error == "the sender is closed"

    run(deliver())
    assert len(receivers.wait(slow, left=True)) == 1
    assert receivers.requests(fast) == []


# --- addresses at connect --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["10.0.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "[fd00::1]", "[::ffff:10.0.0.1]"]
)
@pytest.mark.parametrize("allow_loopback", [True, False])
def test_a_literal_address_that_is_not_public_is_refused(run: Run[Exchange], host: str, allow_loopback: bool) -> None:
    exchange = run(send_once(f"http://{host}/", allow_loopback=allow_loopback))

    assert exchange.error == f"address {host.strip('[]')} is not allowed"
    assert not exchange.sent


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "0x7f000001",
        "2130706433",
        "0177.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "localhost",
    ],
)
def test_no_spelling_of_loopback_is_connected_to_outside_the_sandbox(
    receivers: Receivers, run: Run[Exchange], host: str
) -> None:
    accepted = receivers.connections("http")

    exchange = run(send_once(receivers.url("ok", host=host), allow_loopback=False))

    assert exchange.error is not None
    assert re.fullmatch(r"address \S+ is not allowed|the URL is not valid", exchange.error)
    assert not exchange.sent
    assert receivers.connections("http") == accepted


def test_the_sandbox_reaches_loopback_by_name(receivers: Receivers, run: Run[Exchange]) -> None:
    assert run(send_once(receivers.url("ok", host="localhost"))).error is None


def test_a_name_is_judged_by_its_address_at_each_connection(
    receivers: Receivers, run: Run[tuple[Exchange, Exchange]], monkeypatch: pytest.MonkeyPatch
) -> None:
    # 127.0.0.2 plays the public address, so that both answers of the name lead to a real receiver.
    monkeypatch.setattr(sender_module, "address_allowed", lambda address, allow_loopback: address == "127.0.0.2")
    url = receivers.url("ok", host="rebinding.example")
    accepted = receivers.connections("http")

    async def deliver() -> tuple[Exchange, Exchange]:
        lookup = looks_up({"rebinding.example": [["127.0.0.2"], ["127.0.0.1"]]})
        # Two senders, as two processes would be: neither has the other's look-ups or connections.
        async with sending(lookup=lookup) as sender, sending(lookup=lookup) as other:
            return await sender.send(put(url)), await other.send(put(url))

    before, after = run(deliver())

    assert before.error is None
    assert [request.local for request in receivers.wait(url)] == ["127.0.0.2"]
    assert (after.error, after.sent) == ("address 127.0.0.1 is not allowed", False)
    assert receivers.connections("http") == accepted


def test_the_socket_is_judged_whatever_the_look_up_let_pass(
    receivers: Receivers, run: Run[Exchange], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Allowed when looked up, forbidden a moment later.
    verdicts = iter([True, False])
    monkeypatch.setattr(sender_module, "address_allowed", lambda address, allow_loopback: next(verdicts))
    url = receivers.url("ok", host="rebinding.example")

    exchange = run(send_once(url, lookup=looks_up({"rebinding.example": [["127.0.0.1"]]})))

    assert (exchange.error, exchange.sent) == ("address 127.0.0.1 is not allowed", False)
    assert receivers.requests(url) == []


def test_of_several_addresses_only_allowed_ones_are_used(receivers: Receivers, run: Run[list[Exchange]]) -> None:
    answers: dict[str, list[list[str]]] = {
        "mixed.example": [["10.0.0.1", "fd00::1", "127.0.0.1", "192.168.0.1"]],
        "private.example": [["192.168.7.7", "10.0.0.1"]],
        "empty.example": [[]],
        "tricked.example": [["localhost"]],
    }

    async def deliver() -> list[Exchange]:
        async with sending(lookup=looks_up(answers)) as sender:
            return [await sender.send(put(receivers.url("ok", host=host))) for host in answers]

    mixed, private, empty, tricked = run(deliver())

    assert mixed.error is None
    assert private.error == "address 192.168.7.7 is not allowed"
    assert empty.error == "the name empty.example could not be looked up: it has no address"
    assert tricked.error == "address localhost is not allowed"


def test_a_second_address_is_tried_when_the_first_refuses(receivers: Receivers, run: Run[Exchange]) -> None:
    url = receivers.url("ok", host="two.example")
    lookup = looks_up({"two.example": [["127.0.0.3", "127.0.0.1"]]})  # nobody listens on the first

    assert run(send_once(url, lookup=lookup)).error is None
