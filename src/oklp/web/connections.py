"""A connection before there is a request: how large its head may be, how long it may take to arrive, and what is
answered to what is not HTTP.

uvicorn has no bounds here. The parser puts a header together anew with each piece of it, on the event loop, so that one
without an end would stop the whole server; and the rest of a request is waited for as long as the connection stands.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from oklp.errors import HeadTooLarge, MalformedRequest, OklpError, RequestTimedOut
from oklp.web import problems

# Of a head that is not complete, or of what else stands around a body: chunks' extensions, trailers. A whole head in
# one piece is at most what is read from the socket at once.
HEAD_LIMIT_BYTES = 65_536
URL_LIMIT_BYTES = 65_535  # of the parser


class Connection(HttpToolsProtocol):
    """uvicorn's, with bounds. `arrival_seconds`: how long a request may take from its first byte to its last, and how
    long a connection may stand without any.

    What an application does is not bounded here: the time ends when the request is there, whatever its answer takes.
    """

    def __init__(self, arrival_seconds: int, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._arrival_seconds = arrival_seconds
        self._timer: asyncio.TimerHandle | None = None
        self._arriving = False  # a request has begun, and its end is not there yet
        self._in_head = False
        self._steps = 0  # beginnings, and pieces of bodies
        self._between_bytes = 0  # since the last of them

    # --- what uvicorn and its parser call ---

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_longer()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._arriving = self._in_head = True
        self._steps += 1
        self._between_bytes = 0

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._in_head = False

    def on_body(self, body: bytes) -> None:
        self._steps += 1
        self._between_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._arriving = False
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        expected = self._steps if self._arriving else self._steps + 1
        super().data_received(data)
        if self._arriving:
            if expected == self._steps:  # nothing but what stands between
                self._between_bytes += len(data)
                if self._between_bytes > HEAD_LIMIT_BYTES:
                    self._refuse(HeadTooLarge(f"The head of a request is limited to {HEAD_LIMIT_BYTES} bytes."))
                    return
            self._wait()
        elif self.cycle is None or self.cycle.response_complete:
            self._wait()  # for a first byte: there were only empty lines
        else:
            self._wait_no_longer()

    def send_400_response(self, msg: str) -> None:
        """Called for whatever the parser refuses."""
        if len(getattr(self, "url", b"")) > URL_LIMIT_BYTES:
            self._refuse(HeadTooLarge(f"An address is limited to {URL_LIMIT_BYTES} bytes."))
        else:
            self._refuse(MalformedRequest("This is not a request of HTTP/1.1 that can be read."))

    def _unsupported_upgrade_warning(self) -> None:
        """Who asks for another protocol is answered in this one, as RFC 9110 (section 7.8) allows."""

    # --- bounds ---

    def _wait(self) -> None:
        if self._timer is None and not self.transport.is_closing():
            self._timer = self.loop.call_later(self._arrival_seconds, self._late)

    def _wait_no_longer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        self._timer = None
        if self._arriving:
            self._refuse(RequestTimedOut(f"The request was not complete after {self._arrival_seconds} seconds."))
        else:
            self.transport.close()

    def _refuse(self, refusal: OklpError) -> None:
        """Answer and close, unless that would be taken for another answer."""
        self._wait_no_longer()
        if self.transport.is_closing():
            return
        if self._arriving and not self._in_head:  # what is wrong is the body of a request that has begun
            if not self.pipeline and not self.cycle.response_started:
                self._answer(refusal)
        elif self.cycle is None or self.cycle.response_complete:
            self._answer(refusal)
        else:  # it came behind another, without waiting: the connection ends with the answer to that one
            self.cycle.keep_alive = False
            self.flow.pause_reading()
            return
        self.transport.close()

    def _answer(self, refusal: OklpError) -> None:
        path = getattr(self, "url", b"").decode("ascii", "replace").partition("?")[0]
        answer = problems.refused(path, refusal)
        headers = [*self.server_state.default_headers, *answer.raw_headers, (b"connection", b"close")]
        lines = [STATUS_LINE[refusal.status], *(b"%b: %b\r\n" % each for each in headers), b"\r\n"]
        self.transport.write(b"".join([*lines, bytes(answer.body)]))
