"""What passes between the worker and whoever sends its webhooks: one request out, what came of it back.

It is apart from `oklp/sender.py` because that loads a client library, which a server has no use for before its first
webhook.
"""

from __future__ import annotations

import codecs
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

KEPT_BODY_BYTES = 4 * 1024
KEPT_HEADERS_LENGTH = 8 * 1024


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One request, ready to be sent: `url` as registered (it is not normalised), `headers` with JWT and signatures."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Exchange:
    """What came of a request. It was delivered if, and only if, `error` is None: a 200, read to its end or the limit.

    status       of the answer, once its whole head came
    headers      names in lower case, repeated ones joined; the first 8 K characters
    body         the first 4 KB as text that any database can store
    error        a short sentence for people
    complete     the whole head of an answer came
    sent         False only if surely no byte of the request reached the receiver
    url          where it went, when somebody else has sent it elsewhere than to the URL of the request
    """

    status: int | None
    headers: dict[str, str] | None
    body: str | None
    error: str | None
    duration_ms: int
    complete: bool
    sent: bool
    url: str | None = None


Way = Callable[[Outgoing], Awaitable[Exchange]]
"""How exchanges are made: by the sender, by way of a listener, or with a fault around them."""


def judged(status: int) -> str | None:
    """What is wrong with an answer, by its status: only 200 is a yes (contract section A3)."""
    if status == 200:
        return None
    if 300 <= status < 400:
        return f"answered {status} (redirects are not followed)"
    return f"answered {status}, not 200"


# --- what is kept of other people's words ---

# Control characters, and the lone halves of surrogate pairs by which undecodable header bytes are kept.
_UNFIT = {code: "�" for code in (*range(0x20), *range(0x7F, 0xA0), *range(0xD800, 0xE000)) if chr(code) not in "\n\t"}


def fit(text: str) -> str:
    return text if text.isprintable() else text.translate(_UNFIT)


def kept_text(text: str) -> str:
    """Of an answer's body that somebody else has read, what is kept."""
    return as_text(bytearray(text.encode("utf-8", "replace")))


def as_text(body: bytearray) -> str:
    """The first KEPT_BODY_BYTES. A character cut in half at the end is left out; what is no UTF-8 is replaced."""
    cut = len(body) > KEPT_BODY_BYTES
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return fit(decoder.decode(bytes(body[:KEPT_BODY_BYTES]), final=not cut).replace("\r\n", "\n"))


def kept_headers(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Names in lower case, repeated ones joined; the first 8 K characters."""
    kept: dict[str, str] = {}
    room = KEPT_HEADERS_LENGTH
    for raw_name, raw_value in headers:
        name, value = fit(raw_name.lower()), fit(raw_value)
        room -= len(name) + len(value)
        if room < 0:
            break
        kept[name] = f"{kept[name]}, {value}" if name in kept else value
    return kept


def brief(text: str) -> str:
    """One line of somebody else's words."""
    return " ".join(fit(text).split())[:200]
