"""Style sheets, scripts and pictures, under an address that changes with their content, so that browsers keep them."""

from __future__ import annotations

import functools
import gzip
import hashlib
from pathlib import Path
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

FOLDER = Path(__file__).parent / "static"
TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
FOREVER = "public, max-age=31536000, immutable"
PREFIX = "/assets"
STYLE = "site.css"  # all files of static/css/, in the order of their names


class Asset(NamedTuple):
    media_type: str
    plain: bytes
    packed: bytes


@functools.cache
def _all() -> dict[str, Asset]:
    found = {path.name: path.read_bytes() for path in sorted(FOLDER.iterdir()) if path.suffix in TYPES}
    found[STYLE] = b"\n".join(path.read_bytes() for path in sorted((FOLDER / "css").glob("*.css")))
    return {name: Asset(TYPES[Path(name).suffix], data, gzip.compress(data, mtime=0)) for name, data in found.items()}


@functools.cache
def version() -> str:
    """One for all of them, since scripts import one another."""
    digest = hashlib.sha256()
    for name, asset in _all().items():
        digest.update(name.encode() + b"\0" + asset.plain + b"\0")
    return digest.hexdigest()[:16]


def url(name: str) -> str:
    if name not in _all():
        raise LookupError(f"there is no asset {name}")
    return f"{PREFIX}/{version()}/{name}"


async def asset(request: Request) -> Response:
    """One asset. An old version's address, from a page that was open during an update, gets today's, for a moment."""
    found = _all().get(request.path_params["name"])
    if found is None:
        return Response("There is no such file.", 404, media_type="text/plain")
    current = request.path_params["version"] == version()
    headers = {
        "Cache-Control": FOREVER if current else "no-cache",
        "Vary": "Accept-Encoding",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(found.packed, 200, {**headers, "Content-Encoding": "gzip"}, found.media_type)
    return Response(found.plain, 200, headers, found.media_type)
