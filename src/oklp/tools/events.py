"""Server-sent events (WHATWG HTML, section 9.2), read from a stream of bytes as it comes."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import NamedTuple

_LINE_END = re.compile(r"\r\n|\n|\r")


class ServerEvent(NamedTuple):
    """`id` is the last one that the stream has given so far."""

    event: str
    data: str
    id: str | None = None


class EventReader:
    """Bytes in, events out. What was cut off in the middle is no event."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        self._event = ""
        self._data: list[str] = []
        self._id: str | None = None

    def feed(self, data: bytes) -> Iterator[ServerEvent]:
        text = self._rest + self._decoder.decode(data)
        # A line feed may still follow a carriage return that comes last.
        held = text.endswith("\r")
        lines = _LINE_END.split(text[:-1] if held else text)
        self._rest = lines.pop() + ("\r" if held else "")
        for line in lines:
            if line:
                self._field(line)
            elif self._data:
                yield ServerEvent(self._event or "message", "\n".join(self._data), self._id)
                self._event, self._data = "", []
            else:
                self._event = ""

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._event = value
        elif name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self._id = value
