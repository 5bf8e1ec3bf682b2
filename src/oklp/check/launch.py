"""The launch page as a browser meets it: redirects, cookies, the scripts that it loads; and what must not be there."""

from __future__ import annotations

import json
import re
import time
from collections import deque
from collections.abc import Iterable, Iterator
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
SEED_META: Final = "oklp-seed"
_IMPORTS: Final = re.compile(r"""(?:\bfrom\s*|\bimport\s*\(?\s*|\bfetch\s*\(\s*)["']([^"'\s]+)["']""")


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


class Visitor:
    """One player's browser: keeps cookies, follows redirects. An async context manager."""

    def __init__(self, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._http = httpx.AsyncClient(
            transport=transport,
            trust_env=False,
            follow_redirects=True,
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
            answer = await self._http.get(url)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return Page(url, None, "", error=f"{type(error).__name__} {error}".strip())
        page = Page(str(answer.url), answer.status_code, _text(answer))
        for response in [*answer.history, answer]:
            headers = "\n".join(f"{name}: {unquote(value)}" for name, value in response.headers.multi_items())
            page.served.append((str(response.url), f"{headers}\n{_text(response)}"))
        return page

    async def load_parts(self, page: Page) -> None:
        """What the page pulls in from its own origin: scripts, styles, and the modules and data that scripts name."""
        origin = _origin(page.url)
        waiting = deque((urljoin(page.url, link)) for link in _links(page.text))
        seen: set[str] = {page.url}
        until = time.monotonic() + PAGE_SECONDS
        while waiting and len(seen) <= MOST_FILES and time.monotonic() < until:
            url = waiting.popleft().partition("#")[0]
            if url in seen or _origin(url) != origin:
                continue
            seen.add(url)
            try:
                answer = await self._http.get(url)
            except (httpx.HTTPError, httpx.InvalidURL):
                continue
            text = _text(answer)
            page.served.append((url, text))
            if "script" in answer.headers.get("content-type", ""):
                waiting.extend(urljoin(url, link) for link in _IMPORTS.findall(text))

    async def seed(self, page: Page, url: str | None, key: str | None) -> str | None:
        """What seeds this player's match: in the page's meta element or, with `url`, what is read from there."""
        if url is None:
            return _meta(page.text, SEED_META)
        try:
            answer = await self._http.get(urljoin(page.url, url))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise CheckError(f"The seed cannot be read from {url}: {type(error).__name__} {error}") from error
        if not answer.is_success:
            raise CheckError(f"The seed cannot be read: {url} answered {answer.status_code}.")
        return _at(answer.text, key) if key else answer.text.strip()


def leaks(page: Page, hidden: Iterable[str]) -> list[str]:
    """What was served that holds a secret: as addresses, without what came after the path."""
    secrets = [secret for secret in hidden if secret]
    found = [url for url, text in page.served if any(secret in text for secret in secrets)]
    return list(dict.fromkeys(url.partition("?")[0] for url in found))


def is_blank(page: Page) -> bool:
    return not re.sub(r"<[^>]*>|\s", "", page.text) and "<script" not in page.text.lower()


def excerpt(page: Page, hidden: Iterable[str]) -> str:
    return quoted(re.sub(r"<[^>]*>", " ", page.text), hidden)


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
    reader.feed(text)
    return reader


def _links(text: str) -> Iterator[str]:
    yield from _read(text).links
    yield from _IMPORTS.findall(text)


def _meta(text: str, name: str) -> str | None:
    return _read(text).meta.get(name)


def _at(text: str, key: str) -> str:
    """The value at a dotted path of a JSON document. Raises CheckError when there is none."""
    try:
        value: Any = json.loads(text)
        for part in key.split("."):
            value = value[int(part)] if isinstance(value, list) else value[part]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise CheckError(f"The seed's address gives no JSON with {key!r}.") from error
    return json.dumps(value, sort_keys=True)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()


def _text(answer: httpx.Response) -> str:
    kind = answer.headers.get("content-type", "text/")
    readable = kind.startswith("text/") or any(word in kind for word in ("json", "script", "xml"))
    return answer.text[:LARGEST_FILE_BYTES] if readable else ""
