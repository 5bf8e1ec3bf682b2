"""The language of whoever calls: what was chosen on the site, else what the caller's program asks for."""

from __future__ import annotations

import re

from starlette.requests import Request

SOURCE = "en"
LANGUAGES = {"en": "English", "de": "Deutsch"}
LANGUAGE = "oklp_language"  # the cookie with what was chosen

# A language with its region left out, and its weight, with as many digits as programs give it.
_WEIGHTED = re.compile(r"\s*([A-Za-z]{1,8})(?:-[A-Za-z0-9-]*)?\s*(?:;\s*[qQ]=([01]?(?:\.[0-9]{0,9})?)\s*)?")


def language_of(request: Request) -> str:
    """One of LANGUAGES, whatever the request says."""
    chosen = request.cookies.get(LANGUAGE, "")
    return chosen if chosen in LANGUAGES else preferred(request.headers.get("accept-language", ""))


def preferred(accept_language: str) -> str:
    """The best of our languages for an `Accept-Language` header (RFC 9110, section 12.5.4)."""
    wanted: list[tuple[float, int, str]] = []
    for place, part in enumerate(accept_language.split(",")[:20]):
        weighted = _WEIGHTED.fullmatch(part)
        if weighted is None:
            continue
        tag, quality = weighted.groups()
        weight = 1.0 if quality is None else min(float(f"0{quality}"), 1.0)
        if weight > 0:
            wanted.append((-weight, place, tag.lower()))
    return next((language for _, _, language in sorted(wanted) if language in LANGUAGES), SOURCE)
