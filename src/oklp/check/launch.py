"""The launch page as a browser meets it: redirects, cookies, the scripts that it loads; and what must not be there."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from html.parser import HTMLParser
from types import TracebackType
from typing import Any, Final
from urllib.parse import unquote, urljoin, urlsplit

import httpx

from oklp.check.wire import CheckError, quoted

PAGE_SECONDS: Final = 15.0
MOST_FILES: Final = 40
LARGEST_FILE_BYTES: Final = 4_000_000
LARGEST_HTML: Final = 1_000_000
MOST_REDIRECTS: Final = 20
SEED_META: Final = "oklp-seed"
# What these run over may have been written to keep them busy: no part of one can be matched in two ways.
_IMPORTS: Final = re.compile(r"""(?:\bfrom\s*|\bimport\s*(?:\(\s*)?|\bfetch\s*\(\s*)["']([^"'\s]+)["']""")
_TAG: Final = re.compile(r"<[^<>]*>")
_CHARSETS: Final = ("utf-", "iso-8859", "windows-", "shift", "euc-", "gb", "big5", "koi8")


@dataclass(slots=True)
class Page:
    """Where a player ended up. `status` is None when nothing answered; `served` is all text that came on the way."""

    url: str
    status: int | None
    text: str
    error: str = ""
    served: list[tuple[str, str]] = field(default_factory=list)

    @property
    def said(self) -> str:
        return f"answered {self.status}" if self.status is not None else f"gave no answer ({self.error})"


@dataclass(frozen=True, slots=True)
class _Answer:
    """What one address answered; `text` is the beginning of it, where it is text."""

    url: str
    status: int
    headers: httpx.Headers
    text: str


_UNFIT: Final = (httpx.HTTPError, httpx.InvalidURL)
"""What keeps a page from being shown: no answer, no HTTP, no end."""


class Visitor:
    """One player's browser: keeps cookies, follows redirects. An async context manager.

    Whoever answers may have every reason not to be looked at: nothing is read for longer than PAGE_SECONDS, or further
    than LARGEST_FILE_BYTES.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._http = httpx.AsyncClient(
            transport=transport,
            trust_env=False,
            follow_redirects=False,
            timeout=PAGE_SECONDS,
            headers={"accept": "text/html,application/xhtml+xml,*/*;q=0.8", "user-agent": "Mozilla/5.0 oklp-check"},
        )

    async def __aenter__(self) -> Visitor:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def open(self, url: str) -> Page:
        try:
            answers = await self._get(url)
        except _UNFIT as error:
            return Page(url, None, "", error=f"{type(error).__name__} {error}".strip())
        page = Page(answers[-1].url, answers[-1].status, answers[-1].text)
        for answer in answers:
            headers = "\n".join(f"{name}: {unquote(value)}" for name, value in answer.headers.multi_items())
            page.served.append((answer.url, f"{headers}\n{answer.text}"))
        return page

    async def _get(self, url: str) -> list[_Answer]:
        """The answer, and before it those that led there. Raises what is in _UNFIT."""
        found: list[_Answer] = []
        following: httpx.Request | None = self._http.build_request("GET", url)
        try:
            async with asyncio.timeout(PAGE_SECONDS):
                while following is not None:
                    if len(found) > MOST_REDIRECTS:
                        raise httpx.TooManyRedirects(f"more than {MOST_REDIRECTS}")
                    answer = await self._http.send(following, stream=True)
                    try:
                        text = await _text(answer)
                    finally:
                        await answer.aclose()
                    found.append(_Answer(str(answer.url), answer.status_code, answer.headers, text))
                    following = answer.next_request
        except TimeoutError:
            raise httpx.ReadTimeout(f"no whole answer within {PAGE_SECONDS:.0f} seconds") from None
        return found

    async def load_parts(self, page: Page) -> None:
        """What the page pulls in from its own origin: scripts, styles, and the modules and data that scripts name."""
        origin = _origin(page.url)
        waiting = deque(_joined(page.url, _links(page.text)))
        seen: set[str] = {page.url}
        until = time.monotonic() + PAGE_SECONDS
        while waiting and len(seen) <= MOST_FILES and time.monotonic() < until:
            url = waiting.popleft().partition("#")[0]
            if url in seen or _origin(url) != origin:
                continue
            seen.add(url)
            try:
                answer = (await self._get(url))[-1]
            except _UNFIT:
                continue
            page.served.append((url, answer.text))
            if "script" in answer.headers.get("content-type", ""):
                waiting.extend(_joined(url, _IMPORTS.findall(answer.text)))

    async def seed(self, page: Page, url: str | None, key: str | None) -> str | None:
        """What seeds this player's match: in the page's meta element or, with `url`, what is read from there."""
        if url is None:
            return _meta(page.text, SEED_META)
        try:
            answer = (await self._get(urljoin(page.url, url)))[-1]
        except (*_UNFIT, ValueError) as error:
            raise CheckError(f"The seed cannot be read from {url}: {type(error).__name__} {error}") from error
        if not 200 <= answer.status < 300:
            raise CheckError(f"The seed cannot be read: {url} answered {answer.status}.")
        return _at(answer.text, key) if key else answer.text.strip()


def leaks(page: Page, hidden: Iterable[str]) -> list[str]:
    """What was served that holds a secret: as addresses, without what came after the path."""
    secrets = [secret for secret in hidden if secret]
    found = [url for url, text in page.served if any(secret in text for secret in secrets)]
    return list(dict.fromkeys(url.partition("?")[0] for url in found))


def is_blank(page: Page) -> bool:
    return not _TAG.sub("", page.text).strip() and "<script" not in page.text.lower()


def excerpt(page: Page, hidden: Iterable[str]) -> str:
    return quoted(_TAG.sub(" ", page.text), hidden)


# --- beneath ---------------------------------------------------------------------------------------------------------


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.meta: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "script" and given.get("src"):
            self.links.append(given["src"])
        elif tag == "link" and given.get("href") and given.get("rel") != "canonical":
            self.links.append(given["href"])
        elif tag == "meta" and given.get("name"):
            self.meta[given["name"].lower()] = given.get("content", "")


def _read(text: str) -> _Reader:
    reader = _Reader()
    # On some declarations that are none it gives up; what came before them has been read.
    with suppress(AssertionError):
        reader.feed(text[:LARGEST_HTML])
    return reader


def _links(text: str) -> Iterator[str]:
    yield from _read(text).links
    yield from _IMPORTS.findall(text)


def _joined(base: str, links: Iterable[str]) -> Iterator[str]:
    """Those that are addresses."""
    for link in links:
        with suppress(ValueError):
            yield urljoin(base, link)


def _meta(text: str, name: str) -> str | None:
    return _read(text).meta.get(name)


def _at(text: str, key: str) -> str:
    """The value at a dotted path of a JSON document. Raises CheckError when there is none."""
    try:
        value: Any = json.loads(text)
        for part in key.split("."):
            value = value[int(part)] if isinstance(value, list) else value[part]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
        raise CheckError(f"The seed's address gives no JSON with {key!r}.") from error
    return json.dumps(value, sort_keys=True)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()


async def _text(answer: httpx.Response) -> str:
    """Its beginning; nothing where it is no text."""
    kind = answer.headers.get("content-type", "text/")
    if not kind.startswith("text/") and not any(word in kind for word in ("json", "script", "xml")):
        return ""
    body = bytearray()
    async for part in answer.aiter_bytes():
        body += part
        if len(body) >= LARGEST_FILE_BYTES:
            break
    charset = answer.encoding or "utf-8"
    # Python knows codecs that are no charsets of the web.
    return bytes(body[:LARGEST_FILE_BYTES]).decode(charset if charset.startswith(_CHARSETS) else "utf-8", "replace")
