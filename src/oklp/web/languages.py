"""The language of whoever calls: what was chosen on the site, else what the caller's program asks for."""

from __future__ import annotations

from starlette.requests import Request

SOURCE = "en"
LANGUAGES = {"en": "English", "de": "Deutsch"}
LANGUAGE = "oklp_language"  # the cookie with what was chosen


def language_of(request: Request) -> str:
    """One of LANGUAGES, whatever the request says."""
    chosen = request.cookies.get(LANGUAGE, "")
    return chosen if chosen in LANGUAGES else preferred(request.headers.get("accept-language", ""))


def preferred(accept_language: str) -> str:
    """The best of our languages for an `Accept-Language` header (RFC 9110, section 12.5.4)."""
    wanted: list[tuple[float, int, str]] = []
    for place, part in enumerate(accept_language.split(",")[:20]):
        tag, _, quality = part.strip().partition(";q=")
        try:
            weight = float(quality) if quality else 1.0
        except ValueError:
            continue
        if weight > 0:
            wanted.append((-weight, place, tag.split("-")[0].lower()))
    return next((language for _, _, language in sorted(wanted) if language in LANGUAGES), SOURCE)
